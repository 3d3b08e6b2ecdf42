"""torch's own run with the truth in the place of what it gets wrong: what a right gradient is where the network has no referee.

A network may be too large for ball arithmetic, or lie on a kink. But where one layer of torch's is inaccurate, the referee has
proved that on the layer alone. This run goes through the network in float64, layer by layer, by torch, and in those layers by
the referee, so that what follows from the inaccuracy is told from a mistake.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np
import torch

from manualbp import Activation, Linear, Network, Quantity, Trace
from manualbp.domains import REALS
from oracle import judge
from oracle.alone import UPSTREAM
from oracle.case import Case, float_info
from oracle.diagnosis.evidence import Slot, named_slots
from oracle.discrepancy import NOT_FINITE, Row, measure
from oracle.inputs import generator
from oracle.rounding import JUMPS, Scales, floor, furthest, unit_roundoff
from oracle.roundoff import size
from oracle.tables import module_names
from oracle.twins import batch_last, call, call_loss, for_terms, to_numpy, to_torch
from oracle.verdict import TOLERANCE, Verdict


class UnknownTruthError(ValueError):
    """The referee cannot say what the truth is on the numbers that come up."""


#: With the truth in the place of torch's numbers, rounding is measured by so many runs in which all that is handed on is rounded,
#: or so many where some number is outside, but by no more than so many times what is allowed: a few coins may fall alike.
AGAIN, OFTEN, CHANCE = 3, 16, 100.0
#: And by runs in which this share of the numbers within rounding of a kink has fallen on its other side.
SIDES = (1.0, 0.5, 0.5, 0.25)
#: What becomes of the numbers of a node, "values" or "gradients" with its place: nothing, or a rounding, which is no finer than
#: the last argument.
Disturb = Callable[[Any, str, int, float], Any]


def corrected_run(case: Case, inaccurate: Collection[int], disturb: Disturb = lambda array, *_: array) -> Trace:
    """Values and gradients in float64, by the referee at these positions and by torch at all others.

    `disturb` is what happens to numbers that a layer hands on. Raises UnknownTruthError where the referee does not know.
    """
    layers, count = case.network.layers, len(case.network.layers)
    params = [{name: array.astype(np.float64) for name, array in own.items()} for own in case.params]
    values: list[Any] = [case.x.astype(np.float64)]
    with np.errstate(all="ignore"):
        for at, (layer, own) in enumerate(zip(layers, params, strict=False)):
            if at in inaccurate:
                shape = Network((layer,), UPSTREAM).output_shape(values[-1].shape)
                by_torch = batch_last(_forward(case, layer, own, values[-1])[0])
                value = _truth(_alone(layer, own, values[-1], np.ones(shape)), by_torch, "value", 1)
            else:
                value = batch_last(_forward(case, layer, own, values[-1])[0])
            reach = layer.range if isinstance(layer, Activation) else REALS
            handed_on = disturb(value, "values", at + 1, 0.0)  # but rounding is monotonic, and the end of a range a number
            values.append(_overflown(np.clip(handed_on, reach.low, reach.high), case.dtype))
        of_loss = params[count] if len(params) > count else {}
        loss, gradient, own_gradients = _through_loss(case, of_loss, values[-1], referee=count in inaccurate)
        gradients = [_overflown(disturb(gradient, "gradients", count, 0.0), case.dtype)]
        parameter_gradients = [own_gradients] if of_loss else []
        for at in reversed(range(count)):
            layer, own, upstream = layers[at], params[at], gradients[-1]
            output, given, leaves = _forward(case, layer, own, values[at])
            found = torch.autograd.grad(output, [given, *leaves.values()], to_torch(upstream), materialize_grads=True)
            gradient, own_gradients = batch_last(found[0]), dict(zip(leaves, map(to_numpy, found[1:]), strict=True))
            if at in inaccurate:
                alone = _alone(layer, own, values[at], upstream)
                gradient = _truth(alone, gradient, "gradient")
                own_gradients = {name: _truth(alone, array, "parameter", 0, name) for name, array in own_gradients.items()}
            # a slope near the smallest normal number has few digits, or none, whatever it is multiplied with
            finest = 0.0 if isinstance(layer, Linear) else _smallest(case.dtype) * float(np.max(np.abs(upstream), initial=0.0))
            gradients.append(_overflown(disturb(gradient, "gradients", at, finest), case.dtype))
            parameter_gradients.append(own_gradients)
    return Trace(case.network, loss, tuple(values), tuple(gradients[::-1]), tuple(parameter_gradients[::-1]))


def _smallest(dtype: Any) -> float:
    """The smallest normal number inside a computation: half precisions compute in float32."""
    return float(float_info(max(dtype, np.dtype(np.float32), key=lambda kind: kind.itemsize)).smallest_normal)


def _overflown(numbers: Any, dtype: Any) -> Any:
    """The same numbers, infinite where this dtype has none so large."""
    return np.where(np.isinf(numbers.astype(dtype)), np.copysign(np.inf, numbers), numbers)


def _alone(layer: Any, own: dict[str, Any], value: Any, upstream: Any) -> Case:
    return Case("", Network((layer,), UPSTREAM), (own,), value, upstream)


def _truth(case: Case, by_torch: Any, *place: Any) -> Any:
    """The true values at a place of a case, rounded to float64; torch's where the truth is a set, on a kink."""
    from oracle.referee import Place

    found = judge.truths(case, judge.MOST_OF_A_LAYER).get(Place(*place))
    if found is None:
        raise UnknownTruthError(f"no truth of {place} for {case.network}")
    return np.where(np.isnan(found[0]), by_torch, found[0])


def _forward(case: Case, layer: Any, own: dict[str, Any], value: Any) -> tuple[Any, Any, dict[str, Any]]:
    """A layer by torch in float64: its output, and the leaves of its graph."""
    drawn = layer.noise(value.shape, case.dtype) if isinstance(layer, Activation) else None
    extra = () if drawn is None else (to_torch(drawn).double(),)
    leaves = {name: torch.from_numpy(array).requires_grad_() for name, array in own.items()}
    given = to_torch(value).requires_grad_()
    return call(layer, leaves, given, *extra), given, leaves


def _through_loss(case: Case, own: dict[str, Any], value: Any, *, referee: bool) -> tuple[Any, Any, dict[str, Any]]:
    """The loss, and its gradients with respect to its input and its parameters."""
    target = case.target if case.target.dtype.kind in "iu" else case.target.astype(np.float64)
    grad_loss = np.asarray(case.grad_loss, dtype=np.float64)
    leaves = {name: torch.from_numpy(array).requires_grad_() for name, array in own.items()}
    given = to_torch(value).requires_grad_()
    loss = call_loss(case.network.loss, leaves, given, to_torch(target))
    found = torch.autograd.grad(loss, [given, *leaves.values()], for_terms(to_torch(grad_loss), loss), materialize_grads=True)
    total, gradient = batch_last(loss), batch_last(found[0])
    own_gradients = dict(zip(leaves, map(to_numpy, found[1:]), strict=True))
    if referee:
        number = grad_loss if grad_loss.ndim else float(grad_loss)
        alone = Case("", Network((), case.network.loss), (own,) if own else (), value, target, number)
        total, gradient = _truth(alone, total, "loss"), _truth(alone, gradient, "gradient")
        own_gradients = {name: _truth(alone, array, "parameter", 0, name) for name, array in own_gradients.items()}
    return total, gradient, own_gradients


def inherited(
    case: Case, reference: Trace, scale: Scales, through: list[Row], by_layer: list[Row], candidate: Trace
) -> list[Row]:
    """The rows end to end, with `reference` where torch's inaccuracy in a layer, proved there, explains all that differs."""
    proved = {row.position for row in by_layer if row.verdict == Verdict.REFERENCE}
    if not proved or all(row.verdict in (Verdict.AGREE, Verdict.REFERENCE) for row in through):
        return through
    chain = (*case.network.layers, case.network.loss)
    unseen = {row.position for row in by_layer if row.note.endswith(NOT_FINITE)}  # how accurate torch is there nobody has seen
    before = {at - 1 for at in proved if at}  # what an inaccurate record made of its input, nobody has seen either
    inaccurate = proved | {at for at in unseen | before if not isinstance(chain[at], Linear)}
    rows = through
    while True:
        try:
            rows = _explained(case, reference, scale, rows, candidate, inaccurate, proved)
        except UnknownTruthError:
            return rows
        left = {row.position for row in rows if Verdict(row.verdict).fails and not isinstance(chain[row.position], Linear)}
        if left <= inaccurate:
            return rows
        inaccurate |= left  # where the way there was wrong, what torch makes of it looked right


def _explained(
    case: Case,
    reference: Trace,
    scale: Scales,
    rows: list[Row],
    candidate: Trace,
    inaccurate: Collection[int],
    proved: Collection[int],
) -> list[Row]:
    """The rows, with `reference` where the candidate is right when the truth takes torch's place at these positions.

    Raises UnknownTruthError where the referee does not know it.
    """
    rng, shares = generator(0, case.name), _shares(case, reference, scale, inaccurate)

    def disturb(array: Any, what: str, at: int, finest: float) -> Any:
        return array + np.maximum(np.abs(array) * shares[what, at], finest) * rng.choice([-1.0, 1.0], np.shape(array))

    near = _near_kinks(case, reference, scale)

    def fall(share: float, array: Any, what: str, at: int, _: float) -> Any:
        for kink, reach in near.get(at, ()) if what == "values" else ():
            other = (np.abs(array - kink) <= reach) & (rng.random(array.shape) < share)
            array = np.where(other, 2 * kink - array, array)
        return array

    def noisy(runs: int) -> list[dict[Quantity, Any]]:
        return [corrected_run(case, inaccurate, disturb).quantities() for _ in range(runs)]

    truth = corrected_run(case, inaccurate).quantities()
    moved = noisy(AGAIN)
    sides = SIDES if near else ()
    fallen = [corrected_run(case, inaccurate, partial(fall, share)).quantities() for share in sides]
    where = ", ".join(module_names(case.network)[at] for at in sorted(proved))
    named, given, wanted = {quantity.symbol: quantity for quantity in truth}, candidate.quantities(), reference.quantities()

    def explained(row: Row) -> tuple[Row, bool]:
        """The row, and whether more runs might say something else."""
        if row.symbol not in named or row.verdict in (Verdict.AGREE, Verdict.REFERENCE):
            return row, False
        quantity = named[row.symbol]
        with np.errstate(all="ignore"):
            right = np.asarray(truth[quantity]).astype(case.dtype)
            through = furthest(truth[quantity], np.array([run[quantity] for run in moved]))
            own = np.maximum(through, scale_of(right, truth[quantity], wanted[quantity], scale.through[quantity]))
            if fallen:
                own = own + furthest(truth[quantity], np.array([run[quantity] for run in fallen])) * (JUMPS / TOLERANCE)
            if quantity.position in proved:
                right = _where_known(case, reference, scale, quantity, given.get(quantity), right)
            found = measure(given.get(quantity), right, own)
        if found.verdict != Verdict.AGREE:
            return row, found.sigmas <= CHANCE * TOLERANCE
        note = f"torch is inaccurate in {where}; with the truth there the candidate is within {found.sigmas:.2g} sigmas"
        return row._replace(verdict=str(Verdict.REFERENCE), note=note), False

    once = [explained(row) for row in rows]
    if any(again for _, again in once):
        moved += noisy(OFTEN - AGAIN)
        once = [explained(row) for row, _ in once]
    return [row for row, _ in once]


def _where_known(case: Case, reference: Trace, scale: Scales, quantity: Quantity, found: Any, right: Any) -> Any:
    """What is right, or what was found where rounding leaves nothing of what a record is given, not even its sign.

    In front of an inaccurate record there is no more to say: 1 / a may be anything where a may be 0.
    """
    at = quantity.position
    sigma = _sigma_of_value(case, reference, scale, at)
    if sigma is None or not np.shape(found) == np.shape(right) == np.shape(sigma):
        return right
    return np.where((sigma > 0) & (TOLERANCE * sigma >= np.abs(np.asarray(reference.values[at], np.float64))), found, right)


def _sigma_of_value(case: Case, reference: Trace, scale: Scales, node: int) -> Any:
    """The rounding scale of a node, end to end; None for the input, which nobody has rounded, and where there is none."""
    return scale.through.get(named_slots(case.network, reference.parameter_gradients)[Slot("values", node)]) if node else None


def _near_kinks(case: Case, reference: Trace, scale: Scales) -> dict[int, list[tuple[float, Any]]]:
    """By the position of an activation its kinks that rounding may take some of its inputs across, and how far it reaches."""
    found: dict[int, list[tuple[float, Any]]] = {}
    for at, layer in enumerate(case.network.layers):
        value, sigma = reference.values[at], _sigma_of_value(case, reference, scale, at)
        if isinstance(layer, Activation) and layer.rows_in(1) == 1 and value is not None and sigma is not None:
            reach = TOLERANCE * sigma
            for kink in layer.kinks:
                if (np.abs(np.asarray(value, np.float64) - kink.at) <= reach).any():
                    found.setdefault(at, []).append((kink.at, reach))
    return found


def _shares(case: Case, reference: Trace, scale: Scales, inaccurate: Collection[int]) -> dict[tuple[str, int], Any]:
    """By node, the part of itself by which rounding in the layer that makes it moves a number: at least a unit roundoff.

    Where torch is inaccurate its own rounding is no guide.
    """
    least = unit_roundoff(case.dtype)
    found: dict[tuple[str, int], Any] = {}
    for slot, quantity in named_slots(case.network, reference.parameter_gradients).items():
        array = slot.of(reference)
        if slot.what in ("values", "gradients"):
            found[slot.what, slot.at] = least
            if array is not None and quantity in scale.own and quantity.position not in inaccurate:
                with np.errstate(all="ignore"):
                    share = scale.own[quantity] / np.abs(np.asarray(array, np.float64))
                found[slot.what, slot.at] = np.clip(np.where(np.isfinite(share), share, least), least, 1.0)
    return found


def scale_of(right: Any, exact: Any, reference: Any, scale: Any) -> Any:
    """The rounding scale of an array that stands in the reference's place, and may be larger where torch is wrong."""
    largest = size(reference)
    share = np.max(scale, initial=0.0) / largest if largest else 0.0
    return np.maximum(np.maximum(scale, floor(right, exact, right.dtype)), share * np.abs(right.astype(np.float64)))
