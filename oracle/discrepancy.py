"""How far one array is from another: one row of numbers and a verdict. This is tested before anything it compares.

A number passes only by being found close (`distance <= allowed`), so NaN can never pass by failing to be found far.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manualbp import Quantity
from oracle.case import float_info
from oracle.roundoff import unit_roundoff
from oracle.verdict import TOLERANCE, Verdict

#: Gives the true values of an array as (hi, lo) where it is asked, or None where nobody knows.
Referee = Callable[[NDArray[np.bool_]], Any]
#: Gives an array in float64 that is right but for rounding.
Witness = Callable[[], Any]
#: Gives an array as it is when comparisons of equal numbers fall either way, along a leading axis of the ways.
Sides = Callable[[], Any]

#: How many ulps a candidate may be from the truth to be in the right where torch is not.
CLOSE = 8.0

#: What a note says of elements that agree without being numbers.
NOT_FINITE = "NaN or infinity on both sides"


class Row(NamedTuple):
    """One comparison of one array; the columns of the table."""

    case: str
    comparison: str
    position: int
    layer: int
    module: str
    quantity: str
    symbol: str
    shape: str
    dtype: str
    max_abs: float
    max_rel: float
    normwise: float
    max_ulp: float
    worst_index: str
    candidate: float
    reference: float
    allowed: float
    sigmas: float
    margin: float
    verdict: str
    note: str


class Discrepancy(NamedTuple):
    """The numbers of a row. `worst_index` is the worst element, `sigmas` how many rounding scales it is off, `margin` how much
    of the allowance that is.
    """

    max_abs: float = np.nan
    max_rel: float = np.nan
    normwise: float = np.nan
    max_ulp: float = np.nan
    worst_index: str = ""
    candidate: float = np.nan
    reference: float = np.nan
    allowed: float = np.nan
    sigmas: float = np.nan
    margin: float = np.nan
    verdict: Verdict = Verdict.MISSING
    note: str = ""


def ulps(candidate: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float64]:
    """Distance of two finite arrays of one dtype in units in the last place: the steps from float to float between them.

    -0.0 and 0.0 are no step apart.
    """
    integer = f"i{candidate.dtype.itemsize}"
    rank, other = (np.abs(x).view(integer) for x in (candidate, reference))  # consecutive floats, consecutive integers
    apart = np.abs(rank - other).astype(np.float64)
    through_zero = rank.astype(np.float64) + other
    return np.where(np.signbit(candidate) == np.signbit(reference), apart, through_zero)


def measure(
    candidate: Any,
    reference: Any,
    scale: Any,
    referee: Referee | None = None,
    witness: Witness | None = None,
    sides: Sides | None = None,
    *,
    close: bool = False,
) -> Discrepancy:
    """Compare two arrays; `scale` broadcasts against them and the allowance is TOLERANCE scales.

    The referee is asked about the elements outside the allowance; with `close` about all that are more than CLOSE ulps apart.
    Where it does not decide, the candidate may be as close to the witness as rounding allows, and torch not; or the number lies
    on a kink, which its sides tell.
    """
    if candidate is None or reference is None:
        absent = "the candidate" if candidate is None else "the reference"
        return Discrepancy(note=f"{absent} does not give it")
    found, wanted = np.asarray(candidate), np.asarray(reference)
    if found.shape != wanted.shape:
        return Discrepancy(note=f"shape {found.shape}, the reference has {wanted.shape}")
    if found.dtype != wanted.dtype:
        return Discrepancy(note=f"dtype {found.dtype}, the reference has {wanted.dtype}")

    with np.errstate(over="ignore"):
        allowed = np.broadcast_to(TOLERANCE * np.asarray(scale, dtype=np.float64), found.shape)
    finite = np.isfinite(found) & np.isfinite(wanted)
    if finite.all():
        result, outside = _measure_finite(found, wanted, allowed, "")
    else:
        result, outside = _measure_any(found, wanted, allowed, finite)
    asked = np.full(found.shape, outside.any())  # where torch is wrong in one, the candidate may share its other wrong numbers
    if close and found.size and not outside.any():
        zero = found.dtype.type(0)
        asked = finite & (ulps(np.where(finite, found, zero), np.where(finite, wanted, zero)) > CLOSE)
    if referee is not None and asked.any():
        result = _judged(result, found, wanted, allowed, outside, referee(asked))
    if witness is not None and Verdict(result.verdict).fails and outside.any():
        result = _as_witnessed(result, found, allowed, outside, np.asarray(witness()))
    if sides is not None and outside.any() and result.verdict != Verdict.REFERENCE:
        result = _on_kinks(result, found, allowed, outside, sides())
    return result


def _as_witnessed(
    result: Discrepancy, found: NDArray[Any], allowed: NDArray[np.float64], outside: NDArray[np.bool_], right: NDArray[Any]
) -> Discrepancy:
    """The result, or `reference` where every element that is outside is as close to the witness as rounding allows."""
    with np.errstate(all="ignore"):
        near = np.abs(found.astype(np.float64) - right) <= np.maximum(
            allowed, CLOSE * 2 * unit_roundoff(found.dtype) * np.abs(right)
        )
    if not near[outside].all():
        return result
    at = tuple(map(int, np.unravel_index(int(np.argmax(outside)), found.shape)))
    return result._replace(
        verdict=Verdict.REFERENCE,
        note=f"operation by operation in float64 torch itself gives {float(right[at])!r} at {_index(at)}, as the candidate does; "
        f"its own run is outside at {np.count_nonzero(outside)} of {found.size} elements",
    )


def _on_kinks(
    result: Discrepancy, found: NDArray[Any], allowed: NDArray[np.float64], outside: NDArray[np.bool_], ways: NDArray[np.float64]
) -> Discrepancy:
    """The result, or `kink` where every element that is outside lies between what the sides of a kink give.

    A maximum hands its upstream gradient to one of several equal numbers, or divides it among them, but never keeps it: what is
    the same in all ways when it is added up must be so in the candidate.
    """
    numbers, (low, high) = found.astype(np.float64), (ways.min(axis=0), ways.max(axis=0))
    with np.errstate(all="ignore"):
        rounded = np.maximum(allowed, CLOSE * 2 * unit_roundoff(found.dtype) * (high - low))  # torch's number may be exactly 0
        jumps = high - low > 2 * allowed
        between = jumps & (numbers >= low - rounded) & (numbers <= high + rounded)
    if not between[outside].all() or not all(_adds_up(numbers, ways, rounded, jumps, axis) for axis in range(-1, numbers.ndim)):
        return result
    at = tuple(map(int, np.unravel_index(int(np.argmax(outside)), found.shape)))
    return result._replace(
        verdict=Verdict.KINK,
        note=f"a kink: from {float(low[at]):.6g} to {float(high[at]):.6g} all are subgradients at {_index(at)}; the candidate "
        f"takes another than torch at {np.count_nonzero(outside)} of {found.size} elements",
    )


def _adds_up(
    numbers: NDArray[np.float64], ways: NDArray[np.float64], rounded: NDArray[np.float64], jumps: NDArray[np.bool_], axis: int
) -> bool:
    """Whether the sums along an axis, all of it for -1, that jump in no way are the candidate's too."""
    axes = tuple(range(numbers.ndim)) if axis < 0 else axis
    with np.errstate(all="ignore"):
        slack, sums = rounded.sum(axis=axes), np.array([way.sum(axis=axes) for way in ways])
        kept = jumps.any(axis=axes) & (np.ptp(sums, axis=0) <= slack)
        lost = np.abs(numbers.sum(axis=axes) - sums[0]) > 2 * slack
    return not (kept & lost).any()


def _judged(
    result: Discrepancy,
    found: NDArray[Any],
    wanted: NDArray[Any],
    allowed: NDArray[np.float64],
    outside: NDArray[np.bool_],
    truth: Any,
) -> Discrepancy:
    """The result, or `reference` where torch is wrong and the candidate is right at every element that is outside.

    Right is within CLOSE ulps of the truth, or within the allowance, which is wide where a number is ill-conditioned; or, where
    torch's numbers tell nothing of that, right in the first half of its digits and to a roundoff of the array's largest.
    """
    if truth is None:
        return result
    from oracle.referee import ulp_error

    ours, theirs = (ulp_error(array, truth, found.dtype) for array in (found, wanted))
    with np.errstate(all="ignore"):  # what torch's number is allowed is too much where that is too large
        size, of_torch = np.abs(truth[0] + truth[1]), np.abs(wanted.astype(np.float64))
        allowed = np.where(size < of_torch, allowed * (size / of_torch), allowed)
        within = [np.abs(array.astype(np.float64) - truth[0] - truth[1]) <= allowed for array in (found, wanted)]
    with np.errstate(all="ignore"):
        error, high = np.abs(found.astype(np.float64) - truth[0] - truth[1]), np.abs(truth[0])
        far = error > np.sqrt(float(float_info(found.dtype).eps)) * high
        cancelled = (error <= unit_roundoff(found.dtype) * np.max(high, initial=0.0, where=np.isfinite(high))) & ~far
    right, torch_is_off = (ours <= CLOSE) | within[0] | cancelled, theirs > CLOSE
    shared = torch_is_off & far & np.isfinite(found) & np.isfinite(wanted)  # the candidate has torch's wrong number
    if ((outside | shared) & ~right).any():
        return result
    shown = np.where(outside, right & torch_is_off & ~within[1], (ours <= CLOSE) & torch_is_off)
    if not shown.any():
        return result._replace(verdict=Verdict.AGREE) if outside.any() else result
    at = tuple(map(int, np.unravel_index(int(np.argmax(np.where(shown, theirs, -1.0))), theirs.shape)))
    high, low = (float(np.broadcast_to(part, found.shape)[at]) for part in truth[:2])
    return result._replace(
        verdict=Verdict.REFERENCE,
        worst_index=_index(at),
        candidate=float(found[at]),
        reference=float(wanted[at]),
        note=f"the truth at {_index(at)} is {high!r} {low:+.2e}: torch is {theirs[at]:.3g} ulp off, "
        f"the candidate {ours[at]:.2g}; torch is off at {np.count_nonzero(shown)} of {found.size} elements",
    )


def _measure_any(
    found: NDArray[Any], wanted: NDArray[Any], allowed: NDArray[np.float64], finite: NDArray[np.bool_]
) -> tuple[Discrepancy, NDArray[np.bool_]]:
    """Arrays of which some elements are NaN or infinite: the result and which elements fail."""
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    apart = ~finite & ~same
    zero = wanted.dtype.type(0)
    note = f"{np.count_nonzero(~finite)} of {finite.size} elements are the same {NOT_FINITE}"
    result, outside = Discrepancy(verdict=Verdict.AGREE, note=note), apart
    if finite.any():
        one, other = (np.where(finite, array, zero) for array in (found, wanted))
        result, outside = _measure_finite(one, other, np.where(finite, allowed, 0.0), note)  # elsewhere there need be no scale
    if apart.any():
        at = np.unravel_index(int(np.argmax(apart)), apart.shape)
        result = Discrepancy(
            worst_index=_index(at),
            candidate=float(found[at]),
            reference=float(wanted[at]),
            verdict=Verdict.NONFINITE,
            note=f"{np.count_nonzero(apart)} of {apart.size} elements are not finite on one side only, or differ in sign",
        )
    return result, outside | apart


def _measure_finite(
    found: NDArray[Any], wanted: NDArray[Any], allowed: NDArray[np.float64], note: str
) -> tuple[Discrepancy, NDArray[np.bool_]]:
    """Arrays of numbers: the result and which elements fail."""
    if found.size == 0:
        return Discrepancy(0.0, 0.0, 0.0, 0.0, verdict=Verdict.AGREE, note="no elements"), np.zeros(found.shape, bool)
    wide, other = wanted.astype(np.float64, copy=False), found.astype(np.float64, copy=False)
    with np.errstate(all="ignore"):  # a difference of float64 may overflow to inf
        distance = np.abs(other - wide)
        apart = distance != 0
        if apart.any():
            size = np.abs(wide)
            furthest, largest = float(distance.max()), float(size.max())
            relative, normwise = float((distance[apart] / size[apart]).max()), float(np.divide(furthest, largest))
            share = np.where(apart, distance / allowed, 0.0)
            at = tuple(map(int, np.unravel_index(int(share.argmax()), share.shape)))
            margin, steps = float(share[at]), float(ulps(found, wanted).max())
        else:
            furthest = relative = normwise = margin = steps = 0.0
            at = (0,) * distance.ndim
    agrees = distance <= allowed
    return Discrepancy(
        max_abs=furthest,
        max_rel=relative,
        normwise=normwise,
        max_ulp=steps,
        worst_index=_index(at),
        candidate=float(found[at]),
        reference=float(wanted[at]),
        allowed=float(allowed[at]),
        sigmas=margin * TOLERANCE,
        margin=margin,
        verdict=Verdict.AGREE if agrees.all() else Verdict.DIFFER,
        note=note,
    ), ~agrees


@lru_cache
def _dtype_name(dtype: np.dtype[Any]) -> str:
    return str(dtype)  # numpy builds it anew each time, for longer than a comparison of small arrays takes


def _index(at: tuple[Any, ...]) -> str:
    return f"({', '.join(str(int(i)) for i in at)})" if at else "()"


def compare(
    case: str,
    comparison: str,
    modules: tuple[str, ...],
    dtype: np.dtype[Any],
    candidate: Mapping[Quantity, Any],
    reference: Mapping[Quantity, Any],
    scale: Mapping[Quantity, Any],
    failure: str = "",
    referee: Callable[[Quantity, NDArray[np.bool_]], Any] | None = None,
    witness: Callable[[Quantity], Any] | None = None,
    sides: Callable[[Quantity], Any] | None = None,
    *,
    close: bool = False,
) -> Iterator[Row]:
    """One row for every quantity that either side has, in the reference's order; what only the candidate has comes last.

    `modules` names the layer at each position, the loss last. `failure` says why one of them lacks what it lacks. The referee
    is asked for true values, `witness` and `sides` for theirs as in `measure`, with the quantity first.
    """
    for quantity in {**reference, **candidate}:
        wanted = reference.get(quantity)
        ask, see, reach = (partial(give, quantity) if give else None for give in (referee, witness, sides))
        result = measure(candidate.get(quantity), wanted, scale.get(quantity, 0.0), ask, see, reach, close=close)
        if failure and (wanted is None or candidate.get(quantity) is None):
            result = result._replace(note=failure)
        shown = candidate.get(quantity) if wanted is None else wanted
        shown = np.empty(0, dtype) if shown is None else np.asarray(shown)
        shape = "x".join(map(str, shown.shape)) or "scalar"
        yield Row(
            case,
            comparison,
            quantity.position,
            quantity.layer,
            modules[quantity.position],
            quantity.name,
            quantity.symbol,
            shape,
            _dtype_name(shown.dtype),
            **{**result._asdict(), "verdict": str(result.verdict)},
        )
