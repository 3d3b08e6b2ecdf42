"""The L2 term, lambda / 2 |W|^2 of every weight matrix: added to what is compared, or found where nobody told of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manualbp import Linear, Trace
from oracle.case import Case
from oracle.diagnosis import Diagnosis, Location, Match, Part
from oracle.diagnosis.evidence import Slot, apart, named_slots
from oracle.doors.errors import DoorError
from oracle.roundoff import Scales, unit_roundoff
from oracle.verdict import TOLERANCE

#: A number, or one for a batch of so many samples.
L2 = float | Callable[[int], float]
FORMULA = "dC/dW[l] = delta[l] a[l-1]^T + lambda W[l], with the lambda of the cost and no other"


def factor(l2: L2, case: Case) -> float:
    """The lambda of this case."""
    try:
        found = l2(case.x.shape[-1]) if callable(l2) else l2
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
        raise DoorError(
            f"l2 takes a number, or a function of the batch size that gives one; calling it raises {raised}."
        ) from error
    if isinstance(found, bool) or not isinstance(found, int | float | np.number) or not np.isfinite(found):
        raise DoorError(f"l2 takes a number, or a function of the batch size that gives one; got {found!r}.")
    return float(found)


def without(trace: Trace, case: Case, factor: float) -> Trace:
    """The trace of a candidate less its L2 term, in the gradients of weights and in the loss."""
    if not factor:
        return trace
    held = [dict(own) for own in trace.parameter_gradients]
    square = 0.0
    for slot, W in _weights(case).items():
        square += float((W * W).sum())
        found = held[slot.at].get(slot.name)
        if found is not None and found.shape == W.shape:
            held[slot.at][slot.name] = (found.astype(np.float64) - factor * W).astype(found.dtype)
    loss = trace.loss if trace.loss is None else (np.float64(trace.loss) - factor / 2 * square).astype(case.dtype)
    return replace(trace, loss=loss, parameter_gradients=tuple(held))


def widened(scale: Scales, case: Case, reference: Trace, factor: float) -> Scales:
    """The scales of a gradient to which the L2 term is added and from which it is subtracted: each is rounded."""
    if not factor:
        return scale
    through, names = dict(scale.through), named_slots(case.network)
    for slot, W in _weights(case).items():
        through[names[slot]] = through[names[slot]] + _rounded(case, slot.of(reference), factor * W)
    loss = named_slots(case.network)[Slot("loss", len(case.network.layers))]
    square = sum(float((W * W).sum()) for W in _weights(case).values())
    through[loss] = through[loss] + _rounded(case, reference.loss, factor / 2 * square)
    return scale._replace(through=through)


def _rounded(case: Case, array: Any, term: Any) -> Any:
    return unit_roundoff(case.dtype) * (np.abs(np.float64(array) + term) + 2 * np.abs(term))


def _weights(case: Case) -> Mapping[Slot, Any]:
    """The weight matrices, in float64."""
    return {
        Slot("parameter", at, "weight"): case.params[at]["weight"].astype(np.float64)
        for at, layer in enumerate(case.network.layers)
        if isinstance(layer, Linear)
    }


@dataclass(frozen=True)
class _Decay:
    factor: float
    sigmas: float
    everything: bool


def diagnosed(case: Case, reference: Trace, candidate: Trace, scale: Scales, told: float) -> Diagnosis | None:
    """The diagnosis of a candidate that is right but for an L2 term, of which `told` is taken off already; None for another."""
    found = _found(case, reference, candidate, scale, told)
    if found is None:
        return None
    total = told + found.factor
    name, strength = "weight decay added", f"{total:.6g} W, or {total * case.x.shape[-1]:.6g} / m times W,"
    why = f"The gradient holds {strength} besides that of the loss. If it is meant, say so: l2=."
    if told and not total:
        name, why = "weight decay left out", f"The L2 term, {told:.6g} W, is in the cost and not in the gradient."
    elif told:
        name, why = (
            "weight decay of another strength",
            f"It holds {total:.6g} W and should hold {told:.6g} W: 1/m, or the 2 of 1/2?",
        )
    elif found.everything:
        name, why = (
            "weight decay everywhere",
            f"Every parameter's gradient, of biases too, holds {total:.6g} times the parameter.",
        )
    names, slots = named_slots(case.network), list(_weights(case))
    parts = tuple(Part(name, slot.at, why, f"{total:.6g} W for {told:.6g} W", FORMULA) for slot in slots)
    symbols = tuple(names[slot].symbol for slot in slots)
    reason = "What is wrong in each weight's gradient is one number times the weight itself."
    location = Location(tuple(slot.at for slot in reversed(slots)), symbols, inferred=True, assembly=True, reason=reason)
    return Diagnosis(case, location, (Match(parts, found.sigmas),))


def _found(case: Case, reference: Trace, candidate: Trace, scale: Scales, told: float) -> _Decay | None:
    """The one number c for which candidate - reference = c W in every weight; and in every other parameter, or nothing there.

    It is what was told of, with the other sign, where that fits: then the term is left out.
    """
    names, weights = named_slots(case.network), _weights(case)
    others = {
        slot: case.params[slot.at][slot.name].astype(np.float64)
        for slot in names
        if slot.what == "parameter" and slot not in weights and slot.of(candidate) is not None
    }
    pairs = {slot: (slot.of(candidate), np.float64(slot.of(reference))) for slot in [*weights, *others]}
    if not weights or any(np.shape(found) != wanted.shape or not np.isfinite(found).all() for found, wanted in pairs.values()):
        return None
    differences = {slot: np.float64(found) - wanted for slot, (found, wanted) in pairs.items()}
    squares = sum((W * W).sum() for W in weights.values())
    c = float(sum((differences[slot] * W).sum() for slot, W in weights.items()) / squares)

    def off(slot: Slot, term: Any) -> float:
        unit = scale.through[names[slot]] + _rounded(case, slot.of(reference), term)
        return float(apart(differences[slot], term, unit).max(initial=0.0))

    def furthest(c: float) -> float:
        return max(off(slot, c * W) for slot, W in weights.items())

    c = -told if told and furthest(-told) <= TOLERANCE else c
    worst = furthest(c)
    if not worst <= TOLERANCE or furthest(0.0) <= TOLERANCE:
        return None
    plain, decayed = (max((off(slot, share * own) for slot, own in others.items()), default=0.0) for share in (0.0, c))
    if not min(plain, decayed) <= TOLERANCE:
        return None
    return _Decay(c, max(worst, min(plain, decayed)), not plain <= TOLERANCE)
