"""What the referee answers in: pairs of doubles, and the distance from them in ulps."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike, NDArray

from oracle.referee.balls import Enclosure, doubles

Floats = NDArray[np.float64]
NAN = float("nan")


class Numbers(NamedTuple):
    """True numbers, each to 80 bits or more: hi is the nearest double, infinite on overflow, and lo = truth - hi.

    Where the truth is a set, the slopes at a kink, hi is NaN and the set reaches from low to high; elsewhere low = high = hi.
    Four float64 arrays of one shape.
    """

    hi: Floats
    lo: Floats
    low: Floats
    high: Floats

    @property
    def at_kink(self) -> NDArray[np.bool_]:
        return np.isnan(self.hi) & ~np.isnan(self.low)


class Truth(NamedTuple):
    """A function's value and its derivative, gradient or vector-Jacobian product."""

    value: Numbers
    derivative: Numbers


Row = tuple[float, float, float, float]
NOTHING: Row = (NAN, NAN, NAN, NAN)


def value_row(found: Enclosure) -> Row:
    hi, lo = doubles(found.value)
    return hi, lo, hi, hi


def slope_row(found: Enclosure) -> Row:
    if found.at_kink:
        return NAN, NAN, float(found.slope.lower()), float(found.slope.upper())
    hi, lo = doubles(found.slope)
    return hi, lo, hi, hi


def numbers(rows: Iterable[Row], shape: tuple[int, ...]) -> Numbers:
    table = np.array(list(rows), dtype=np.float64).reshape(-1, 4).T
    return Numbers(*(np.ascontiguousarray(row).reshape(shape) for row in table))


def ulp_error(found: Any, truth: Numbers | tuple[Any, Any], dtype: DTypeLike) -> Floats:
    """|found - truth| in ulps of the truth in this dtype, a float64 array of found's shape.

    `truth` is Numbers or a plain (hi, lo). An ulp is never below the dtype's smallest subnormal. At a kink every number between
    low and high counts 0. Found infinity counts 0 where the truth rounds to that infinity, and infinity elsewhere; NaN counts
    0 where the truth is NaN, and infinity elsewhere.
    """
    given = np.asarray(found).astype(np.float64)
    hi, lo = (np.broadcast_to(np.asarray(part, np.float64), given.shape) for part in truth[:2])
    if isinstance(truth, Numbers):
        low, high = (np.broadcast_to(part, given.shape) for part in (truth.low, truth.high))
        kink = np.isnan(hi) & ~np.isnan(low)
        inside = kink & (low <= given) & (given <= high)
        hi = np.where(inside, given, np.where(kink, np.where(given < low, low, high), hi))
        lo = np.where(kink, 0.0, lo)
    info = ml_dtypes.finfo(np.dtype(dtype))  # type: ignore[no-untyped-call]
    digits, largest = int(info.nmant), float(info.max)
    finite = np.where(np.isinf(hi), largest, np.where(hi == 0, float(info.smallest_subnormal), hi))
    mantissa, exponent = np.frexp(finite)
    exponent = exponent - ((np.abs(mantissa) == 0.5) & (lo * np.sign(hi) < 0))  # hi is a power of 2 that the truth does not reach
    with np.errstate(all="ignore"):
        ulp = np.maximum(np.ldexp(1.0, exponent - 1 - digits), float(info.smallest_subnormal))
        error = np.abs(given - hi - lo) / ulp
        overflow = (
            np.abs(hi) - largest >= np.spacing(largest) / 2
            if digits == 52
            else np.abs(hi) >= largest * (1 + 2.0 ** (-digits - 2))
        )
    error = np.where(np.isinf(given), np.where(overflow & (np.sign(given) == np.sign(hi)), 0.0, np.inf), error)
    nan = np.isnan(given), np.isnan(hi)
    return np.where(nan[0] | nan[1], np.where(nan[0] & nan[1], 0.0, np.inf), error)
