"""How far rounding alone can move each element of each quantity: a measured scale, not a chosen tolerance.

A gradient that is a small difference of large terms moves much and is allowed much; one that is not is held to its last
digits. No layer needs a formula for it.
"""

import zlib
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manualbp import Quantity, Trace
from oracle.case import Case, float_info
from oracle.rounding.chain import Chain
from oracle.rounding.decisions import Decisions
from oracle.rounding.noise import SMALL, STRONG, Format, RoundingNoise
from oracle.rounding.replicas import Groups, Replicas, halves
from oracle.roundoff import Scale, Scales, size, unit_roundoff
from oracle.verdict import TOLERANCE

#: Copies of a computation, one of them exact: for the noise, and for comparisons that fall otherwise. Primes: a case takes
#: the first that divides none of its sizes, so that no other tensor looks like one with replicas.
NOISY, OTHERWISE = (17, 19, 23, 29, 31), (11, 13, 17, 19, 23)

#: How often the largest jump that was seen is allowed: several may come together, but not TOLERANCE of them.
JUMPS = 3.0
#: Noise of STRONG unit roundoffs moves nothing further than so many scales; what goes further has fallen on the other side.
USUAL = 3 * STRONG

#: Up to so many smallest normal numbers may come of one that was flushed to 0.
FLUSHED = 2.0**12


def format_of(dtype: np.dtype[Any]) -> Format:
    """How a dtype rounds; half precisions compute in float32 inside an operation.

    Vector units flush what is below the smallest normal number to 0; float16 is computed in float32, and has its subnormals.
    """
    inside = dtype if dtype.itemsize > 2 else np.dtype(np.float32)
    smallest = float(float_info(dtype).smallest_normal)
    tiny = smallest if dtype == np.float16 else smallest / unit_roundoff(dtype)
    return Format(unit_roundoff(dtype), unit_roundoff(inside), tiny)


def seed(name: str) -> int:
    """Where the coins begin that a case of this name takes."""
    return zlib.crc32(name.encode())


def distances(exact: Any, copies: Any) -> NDArray[np.float64]:
    """How far each element of each replica moved; what is not finite did not move."""
    with np.errstate(invalid="ignore", over="ignore"):
        moved = np.abs(copies - exact)
    return np.where(np.isfinite(moved), moved, 0.0)


def furthest(exact: Any, copies: Any) -> NDArray[np.float64]:
    """How far each element moved in the replica in which it moved most."""
    found: NDArray[np.float64] = distances(exact, copies).max(axis=0)
    return found


def movement(exact: Any, copies: Any) -> NDArray[np.float64]:
    """The root mean square, over the replicas that are finite, of how far each element moved; 0 where none is."""
    moved, finite = distances(exact, copies), np.isfinite(copies).sum(axis=0)
    most = moved.max(axis=0)
    share = moved / np.where(most > 0, most, 1.0)  # whose squares neither overflow nor underflow
    return most * np.sqrt(np.sum(share * share, axis=0) / np.maximum(finite, 1))


def response(exact: Any, copies: Any) -> NDArray[np.float64]:
    """How far a unit roundoff after each operation moves each element, as the replicas of `RoundingNoise` show it."""
    with np.errstate(all="ignore"):
        weak, strong = halves(np.square(copies - exact), 0)
        found: NDArray[np.float64] = np.sqrt(np.maximum(weak.mean(axis=0), strong.mean(axis=0) / STRONG**2))
    again = ~((found > SMALL) & (found < np.inf))  # squares over- or underflow, or nothing moved
    if again.any():
        exact = exact[again]
        weak, strong = (movement(exact, half[:, again]) for half in halves(copies, 0))
        found[again] = np.maximum(weak, strong / STRONG)
    return found


def jumps(scale: Any, fallen: Any, free: Any) -> NDArray[np.float64]:
    """What is added to a scale where comparisons may fall otherwise.

    `fallen` is how far each element moved where they were made to, without noise; `free` how far where every replica decided for
    itself, of which what noise alone does is no jump.
    """
    found: NDArray[np.float64] = np.maximum(fallen, free - USUAL * scale) * (JUMPS / TOLERANCE)
    return found


def lost(copies: Any) -> NDArray[np.bool_]:
    """Where rounding may make no number of what is one in the exact copy, the first: how far it moves there nobody knows."""
    found: NDArray[np.bool_] = np.isfinite(copies[0]) & ~np.isfinite(copies[1])
    return found & ~np.isfinite(copies[1:]).any(axis=0) if found.any() else found


def anything(exact: Any) -> float:
    """The scale of what is `lost`: any number of the array's size is allowed, and any that is left of the largest there are."""
    return max(size(exact) * (JUMPS / TOLERANCE), float(np.finfo(np.float64).max) * unit_roundoff(np.dtype(np.float64)))


def floor(array: Any, exact: Any, dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """The rounding of the result itself: a unit roundoff of each element.

    About the smallest normal number there are fewer digits, or none where a vector unit flushes what is below it to 0 before it
    is multiplied with something, as float64's and float32's do (float16 is computed in float32): there all numbers are one, and 0
    is one of them. Elsewhere, where `exact`, the same in float64, is 0 too, nothing is rounded and the floor is 0.
    """
    info = float_info(dtype)
    size = np.abs(np.asarray(array, dtype=np.float64))
    size = np.where(size > 0, size, np.abs(np.asarray(exact, dtype=np.float64)))
    size = np.where(np.isfinite(size), size, 0.0)
    least = float(info.smallest_subnormal)
    relative = np.where(size > 0, np.maximum(unit_roundoff(dtype) * size, least), 0.0)
    if dtype == np.float16:
        return relative
    smallest = float(info.smallest_normal) * FLUSHED
    return np.where(size < smallest, np.maximum(relative, smallest / TOLERANCE), relative)


def groups_of(case: Case, copies: Sequence[int], groups: int = 2) -> Groups:
    """Groups whose number of copies cannot be mistaken for anything else in this case."""
    arrays = [case.x, case.target, *(array for own in case.params for array in own.values())]
    sizes = {size for array in arrays for size in np.shape(array)}
    return Groups(groups, next((p for p in copies if not any(size % p == 0 for size in sizes)), copies[-1]) - 1)


def scales(case: Case, reference: Trace) -> Scales:
    """The rounding scale of every element of every quantity that the reference gives, in the case's dtype."""
    wanted = {quantity: np.asarray(array) for quantity, array in reference.quantities().items() if array is not None}
    numbers, u = _in_a_row(list(wanted.values())), unit_roundoff(case.dtype)

    def run(mode: Replicas) -> list[Any]:
        trace = Chain(case, mode.groups, reference).run(mode).quantities()
        copies = _in_a_row([trace[quantity] for quantity in wanted], 1)
        return np.split(copies, mode.groups.groups)

    mode = RoundingNoise(groups_of(case, NOISY), format_of(case.dtype), TOLERANCE, seed(case.name))
    with np.errstate(all="ignore"):
        moved = run(mode)
        sigma = [np.maximum(floor(numbers, copies[0], case.dtype), response(copies[0], copies[1:])) for copies in moved]
        undecided = any(each is not None for each in mode.reach)
        if undecided:
            groups = groups_of(case, OTHERWISE)
            free_mode = RoundingNoise(groups, format_of(case.dtype), 0.0, seed(case.name) + 1)
            fallen, free = (
                [furthest(copies[0], copies[1:]) for copies in run(each)] for each in (Decisions(groups, mode.reach), free_mode)
            )
            for scale, *both in zip(sigma, fallen, free, strict=True):
                scale += jumps(scale, *both)
            anywhere = _apart(free[0], wanted)
    through, own, exact_through, exact_own = (_apart(row, wanted) for row in (*sigma, *(copies[0] for copies in moved)))
    for quantity, array in wanted.items():
        largest, scale = size(array), through[quantity]
        least = u * u * largest  # rounding errors times rounding errors, where all else is exactly 0
        if undecided and scale.max(initial=0.0) / JUMPS > largest / TOLERANCE:
            # what falls otherwise moves this array by more than all that is in it, and may do so anywhere
            least = max(largest, anywhere[quantity].max(initial=0.0)) * (JUMPS / TOLERANCE)
        np.maximum(scale, least, out=scale)
    for found, exact, copies in ((through, exact_through, moved[0]), (own, exact_own, moved[-1])):
        gone = lost(copies)
        if gone.any():
            for quantity, nowhere in _apart(gone, wanted).items():
                found[quantity] = np.where(nowhere, anything(exact[quantity]), found[quantity])
    return Scales(through, own, exact_through, exact_own)


def _in_a_row(arrays: Sequence[Any], axes: int = 0) -> Any:
    """The numbers of all arrays one behind the other; the first axes stay."""
    return np.concatenate([array.reshape(*array.shape[:axes], prod(array.shape[axes:])) for array in arrays], axis=axes)


def _apart(row: Any, arrays: dict[Quantity, Any]) -> Scale:
    """What `_in_a_row` has put together, as arrays of these shapes."""
    ends = np.cumsum([array.size for array in arrays.values()])
    parts = np.split(row, ends[:-1])
    return {quantity: part.reshape(array.shape) for (quantity, array), part in zip(arrays.items(), parts, strict=True)}


class Sides(NamedTuple):
    """What each quantity is when comparisons of equal numbers fall either way: arrays with a leading axis of the ways tried."""

    through: Scale
    own: Scale


def sides(case: Case, reference: Trace) -> Sides:
    """What a gradient may be where an input lies exactly on a kink: the other values between the one-sided ones."""
    groups = groups_of(case, OTHERWISE)
    with np.errstate(all="ignore"):
        tried = _by_group(Chain(case, groups, reference).run(Decisions(groups, ties=True)), groups)
    return Sides(*tried)


def _by_group(trace: Trace, groups: Groups) -> list[Scale]:
    """The quantities of each group, with a leading axis of its copies."""
    arrays = trace.quantities().items()
    return [
        {quantity: array[start : start + groups.copies] for quantity, array in arrays}
        for start in range(0, groups.count, groups.copies)
    ]
