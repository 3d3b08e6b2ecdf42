"""Which elements of a wrong array are wrong, where that is clear-cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.diagnosis.evidence import Evidence, Slot, apart

#: A statement, and where it is true.
Condition = tuple[str, NDArray[np.bool_]]


def region(evidence: Evidence, slot: Slot, found: Any, wanted: Any, *, own: bool = False) -> str:
    """One phrase: how many elements are wrong, and what they have in common. Empty where there is nothing to count."""
    if found is None or np.shape(found) != np.shape(wanted):
        return "it is not given" if found is None else f"its shape is {np.shape(found)}, and should be {np.shape(wanted)}"
    wrong = ~(apart(found, wanted, evidence.sigma(slot, own=own)) <= evidence.allowed)
    if not wrong.any():
        return ""
    axes = ("row", "column") if wrong.ndim == 2 else ("row", *("position",) * (wrong.ndim - 2), "column")
    last = "" if slot.what == "parameter" else " (sample)"
    return told(wrong, _conditions(evidence, slot, wrong.shape), (*axes[:-1], axes[-1] + last))


def told(wrong: NDArray[np.bool_], conditions: Sequence[Condition], axes: Sequence[str]) -> str:
    """How many elements are wrong, and what they have in common: one of the conditions, or a place along an axis."""
    bad, total = int(wrong.sum()), wrong.size
    if bad == total:
        return f"all {total} elements are wrong"
    shared = _shared(wrong, conditions, axes)
    return f"{bad} of {total} elements {'is' if bad == 1 else 'are'} wrong" + (f": {shared}" if shared else "")


def _shared(wrong: NDArray[np.bool_], conditions: Sequence[Condition], axes: Sequence[str]) -> str:
    """What exactly the wrong elements have in common; where several things, the first that one would check."""
    if wrong.sum() == 1:
        return f"the one at {tuple(int(i) for i in np.argwhere(wrong)[0])}"
    for name, where in conditions:
        if where.shape == wrong.shape and (where == wrong).all():
            return name
    for axis in range(wrong.ndim if wrong.ndim > 1 else 0):
        others = tuple(other for other in range(wrong.ndim) if other != axis)
        slices = np.asarray(wrong.any(axis=others))
        if (slices == wrong.all(axis=others)).all():
            held = np.nonzero(slices)[0]
            kind = axes[axis]
            if len(held) == 1:
                return f"exactly those of {kind} {int(held[0])}"
            if len(held) == len(slices) - 1:
                return f"all but those of {kind} {int(np.nonzero(~slices)[0][0])}"
    for name, where in conditions:
        if where.shape == wrong.shape and not (wrong & ~where).any() and where.mean() < 0.75:
            return f"{name}, though not all of those"
    return ""


def about(name: str, value: NDArray[Any]) -> list[Condition]:
    """Simple statements about an array."""
    found = [(f"only where {name} < 0", value < 0), (f"only where {name} > 0", value > 0), (f"only where {name} = 0", value == 0)]
    for edge in (1.0, 2.0, 3.0):
        found += [
            (f"only where |{name}| > {edge:g}", np.abs(value) > edge),
            (f"only where |{name}| < {edge:g}", np.abs(value) < edge),
        ]
    return found


def _conditions(evidence: Evidence, slot: Slot, shape: tuple[int, ...]) -> list[Condition]:
    """Simple statements about the numbers that a backward step had at hand, each with where it is true."""
    if slot.what != "gradients":
        return []
    reference, case, at = evidence.reference, evidence.case, slot.at
    value = np.asarray(reference.values[at], np.float64)
    name = evidence.slots.get(Slot("values", at))
    sign = name.symbol if name else "x"
    found = about(sign, value)
    if at < evidence.count and reference.gradients[at + 1] is not None:
        above = np.asarray(reference.gradients[at + 1], np.float64)
        found += [
            ("only where the upstream gradient is negative", above < 0),
            ("only where the upstream gradient is positive", above > 0),
        ]
    if at == evidence.count:
        target = np.asarray(case.target)
        if target.shape == shape:
            difference = value - target
            found += [("only where input > target", difference > 0), ("only where input < target", difference < 0)]
            found += [("only where the target is 0", target == 0), ("only where the target is not 0", target != 0)]
        elif target.dtype.kind in "iu" and target.shape == shape[1:]:
            classes = np.arange(shape[0]).reshape(-1, *(1,) * target.ndim)
            ignored = np.broadcast_to(target == getattr(case.network.loss, "ignore_index", -100), shape)
            found += [
                ("only in the samples that are ignored", ignored),
                ("only at the target's class", classes == target),
                ("only at classes that are not the target's", classes != target),
            ]
    return found
