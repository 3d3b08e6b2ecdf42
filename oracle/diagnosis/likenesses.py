"""What a wrong array looks like beside the right one, whatever computes it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from oracle.diagnosis.beside import Beside, Factor, Look, Other
from oracle.diagnosis.evidence import furthest
from oracle.diagnosis.terms import constant, multiple, not_summed, rank_one, scaled, shifted
from oracle.roundoff import size, unit_roundoff

#: Of errors that are rounding at least such a share goes up, and as many down.
EITHER_WAY = 0.25
#: Rows or columns beyond which nobody looks for a permutation.
MOST = 512


def likenesses(
    found: Any,
    wanted: Any,
    sigma: Any,
    dtype: np.dtype[Any],
    axes: Sequence[str],
    factors: Sequence[Factor] = (),
    others: Sequence[Other] = (),
    given: Sequence[tuple[str, Any]] = (),
    what: str = "gradient",
) -> list[Look]:
    """Everything that the array found looks like, best first, of what says most: the first kind of likeness that holds."""
    if found is None:
        return [Look("not given", 0.0, "The array is not returned at all, or the code that computes it raised.")]
    with np.errstate(all="ignore"):
        other_dtype = np.asarray(found).dtype != np.asarray(wanted).dtype
        found, wanted, sigma = (np.asarray(array, np.float64) for array in (found, wanted, sigma))
        beside = Beside(found, wanted, sigma, dtype, tuple(axes), tuple(factors), tuple(others), tuple(given), what)
        for kind in (_same_numbers, *_KINDS) if other_dtype else _KINDS:
            holding = [look for look in kind(beside) if look.sigmas <= beside.allowed]
            if holding:
                return sorted(holding, key=lambda look: look.sigmas)
    return []


def _same_numbers(b: Beside) -> Iterator[Look]:
    if b.found.shape == b.wanted.shape:
        distance = furthest(b.found, b.wanted, b.sigma)
        yield Look("the right numbers in another dtype", distance, "The numbers agree; convert the array.")


def _zero(b: Beside) -> Iterator[Look]:
    if b.found.shape == b.wanted.shape and b.found.size and not b.found.any():
        yield Look("zero everywhere", 0.0, "It was allocated and never filled, or nothing flows back to it.")


def _nearly(b: Beside) -> Iterator[Look]:
    if b.found.shape == b.wanted.shape:
        yield Look(
            "right to the rounding of its largest elements",
            b.sigmas(b.wanted),
            "Only small elements are off: a question of accuracy, such as a difference of numbers that are nearly equal.",
        )


def _factor(b: Beside) -> Iterator[Look]:
    if b.found.shape != b.wanted.shape or b.wanted.size < 2 or not (np.isfinite(b.found) & np.isfinite(b.wanted)).all():
        return
    largest = size(b.wanted)
    if not largest or not size(b.found):
        return
    share = b.wanted / largest
    factor = float((b.found / largest * share).sum() / (share * share).sum())
    sigmas, uncertain = b.sigmas(factor * b.wanted), b.allowed * size(b.unit(share))
    named = [(name, why) for name, value, why in b.factors if abs(factor - value) <= uncertain * abs(value)]
    for name, why in named:
        yield Look(f"the right {b.what} times {name}", sigmas, why)
    if not named:
        shown = f"{factor:.4g}" if abs(factor - 1) > 1e-3 else f"1 {'-' if factor < 1 else '+'} {abs(factor - 1):.3g}"
        yield Look(f"the right {b.what} times a constant, {shown}", sigmas, "A constant factor is missing, or one too many.")


def usual_factors(counts: Mapping[str, int]) -> Iterator[Factor]:
    """A sign, a 2, and what one may or may not divide by: the counts, by their names."""
    yield "-1", -1.0, "A sign is flipped: prediction minus target, or the target minus the prediction?"
    yield "2", 2.0, "The 2 of a square's derivative, where the cost has 1/2 or the derivative is counted twice."
    yield "1/2", 0.5, "The 2 of a square's derivative is missing, or a 1/2 is one too many."
    for name, value in counts.items():
        if value > 1:
            yield f"{value}, {name}", float(value), f"A sum where the mean is meant, or 1/{value} is missing: {name}."
            yield f"1/{value}, {name}", 1 / value, f"A mean where the sum is meant, or divided once too often: {name}."
            yield f"-{value}, {name}", -float(value), f"The sign, and a sum where the mean is meant: {name}."
            yield f"-1/{value}, {name}", -1 / value, f"The sign, and a mean where the sum is meant: {name}."


def _arranged(b: Beside) -> Iterator[Look]:
    """The right numbers in another order."""
    found, wanted = b.found, b.wanted
    if wanted.ndim == 2:
        yield Look(f"the right {b.what}, transposed", b.sigmas(wanted.T), "Transpose it, or swap the two factors of the product.")
    if found.shape != wanted.shape:
        if found.size == wanted.size:
            yield Look("the right numbers in another shape", b.sigmas(wanted.reshape(found.shape)), "Reshape it.")
        return
    for axis, name in enumerate(b.axes):
        if wanted.shape[axis] > 1:
            flipped = np.flip(wanted, axis)
            yield Look(f"the right {b.what} with its {name} in reverse order", b.sigmas(flipped), "The loop runs backwards.")
    for axis, name in enumerate(b.axes):
        order = _permutation(found, wanted, axis)
        if order is not None:
            moved = np.take(wanted, order, axis)
            shown = ", ".join(map(str, order[:8])) + (", ..." if len(order) > 8 else "")
            yield Look(
                f"the right {b.what} with its {name} in another order ({shown})", b.sigmas(moved), f"An index of the {name}."
            )


def _permutation(found: NDArray[Any], wanted: NDArray[Any], axis: int) -> NDArray[np.intp] | None:
    """The order of slices along an axis in which `wanted` comes closest to `found`; None where it is no permutation."""
    count = wanted.shape[axis]
    if not 1 < count <= MOST or not np.isfinite(found).all() or not np.isfinite(wanted).all():
        return None
    ours, right = (np.moveaxis(array, axis, 0).reshape(count, -1) for array in (found, wanted))
    # the nearest slice of each: |a - b|^2 = |a|^2 - 2ab + |b|^2, but without its cancellation
    order = np.array([int(np.abs(right - row).max(axis=1).argmin()) for row in ours])
    return order if len(set(order)) == count and (order != np.arange(count)).any() else None


def _kept(b: Beside) -> Iterator[Look]:
    """One slice right and the others 0, or one slice everywhere."""
    if b.found.shape != b.wanted.shape:
        return
    for axis, name in enumerate(b.axes):
        count = b.wanted.shape[axis]
        held = np.nonzero(np.moveaxis(b.found, axis, 0).reshape(count, -1).any(axis=1))[0]
        if count > 1 and len(held) == 1:
            at = int(held[0])
            kept = np.zeros_like(b.wanted)
            np.moveaxis(kept, axis, 0)[at] = np.moveaxis(b.wanted, axis, 0)[at]
            yield Look(f"right in one of its {name} ({at}) and 0 in all others", b.sigmas(kept), "The loop stops after one.")
        if count > 1:
            for at in {0, count - 1}:
                spread = np.broadcast_to(np.take(b.wanted, [at], axis), b.wanted.shape)
                yield Look(
                    f"the same in all {name}: the right one of number {at}",
                    b.sigmas(spread),
                    "One slice is used for all of them.",
                )


def _elsewhere(b: Beside) -> Iterator[Look]:
    """What has its place elsewhere: the true value of another quantity, say."""
    for name, array, why in b.others:
        if array.ndim == 0 or not array.any():
            continue
        if array.shape == b.found.shape:
            yield Look(f"equal to {name}", b.sigmas(array), why)
        if array.ndim == 2 and array.T.shape == b.found.shape:
            yield Look(f"equal to {name}, transposed", b.sigmas(array.T), f"{why} And it is transposed.")


def _rounded(b: Beside) -> Iterator[Look]:
    """Right to the digits of a narrower dtype."""
    if b.found.shape != b.wanted.shape or not (np.isfinite(b.found) & np.isfinite(b.wanted)).all() or not b.found.any():
        return
    own, few = unit_roundoff(b.dtype), b.found.size < 3
    for name, dtype in (("float32", np.float32), ("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        unit = unit_roundoff(np.dtype(dtype))
        if unit < 8 * own:
            continue
        grown = np.asarray(b.unit(b.wanted)) * (unit / own)
        error = np.abs(b.found - b.wanted)
        held = bool(np.array_equal(b.found, b.found.astype(dtype).astype(np.float64)))
        off = (b.found - b.wanted) / np.where(b.wanted == 0, np.inf, b.wanted)
        typical, share = float(np.median(np.abs(off))), float((off > 0).mean())
        if held and (error <= np.maximum(grown, unit * np.abs(b.wanted)) * 4).all():
            yield Look(f"rounded to {name}", 0.0, f"Every number of it is one that {name} has: an array or a cast of that dtype.")
        elif few or name == "bfloat16" or not EITHER_WAY <= share <= 1 - EITHER_WAY:
            continue
        elif (
            unit / 64 <= typical <= unit
            and (np.abs(off) <= 16 * unit).mean() > 0.9
            and (error <= 4 * unit * size(b.wanted)).all()
        ):
            yield Look(f"computed in {name}", 0.0, f"Right to about {unit:.0e} everywhere: it looks like accumulation in {name}.")


def _overflow(b: Beside) -> Iterator[Look]:
    """Right wherever it is finite."""
    if b.found.shape != b.wanted.shape:
        return
    bad = ~np.isfinite(b.found) & np.isfinite(b.wanted)
    what = "NaN" if np.isnan(b.found[bad]).all() else "NaN or infinity"
    if bad.all() and bad.size:
        yield Look(f"{what} everywhere", 0.0, "0 is divided by 0, infinity by infinity, or a root or logarithm taken below 0.")
    elif bad.any():
        sigmas = b.sigmas(np.where(bad, b.found, b.wanted))
        yield Look(
            f"right, but {what} at {int(bad.sum())} of {bad.size} elements",
            sigmas,
            "An exponential overflows there, or 0 is divided by 0 or multiplied by infinity.",
        )


#: Kinds of likeness, those first that say most with least freedom.
_KINDS: tuple[Callable[[Beside], Iterator[Look]], ...] = (
    _zero, _overflow, _nearly, _factor, _arranged, not_summed, _kept, _elsewhere, constant, shifted, scaled,
    multiple, rank_one, _rounded,
)  # fmt: skip
