"""Where a function is looked at: ordinary numbers, its kinks and their neighbours, the ends of the floating-point range."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp.domains import Interval
from oracle.case import float_info

Array = NDArray[Any]

#: Spread of ordinary numbers.
SPREAD = 3.0


def generic(rng: np.random.Generator, shape: tuple[int, ...], _dtype: np.dtype[Any], _points: Sequence[float]) -> Array:
    """Ordinary numbers of both signs."""
    return SPREAD * rng.standard_normal(shape)


def kinks(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], points: Sequence[float]) -> Array:
    """The kinks, 0 and minus 0, and the floats next to them on both sides; so few different ones that ties are frequent."""
    at = np.array([0.0, -0.0, *points]).astype(dtype)
    return rng.choice(np.concatenate([at, neighbour(at, -1), neighbour(at, 1)]).astype(np.float64), shape)


def extremes(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], _points: Sequence[float]) -> Array:
    """All orders of magnitude of both signs, subnormals, the edge of overflow, zeros, infinities, NaN."""
    info = float_info(dtype)
    smallest, largest = float(info.smallest_subnormal), float(info.max)
    size = np.exp(rng.uniform(np.log(smallest), np.log(largest), shape))
    middling = 10.0 ** rng.uniform(-3, 3, shape)  # where exponentials live
    drawn = np.where(rng.random(shape) < 0.5, size, middling) * rng.choice([-1.0, 1.0], shape)
    special = [0.0, -0.0, smallest, -smallest, float(info.smallest_normal), largest, -largest, np.inf, -np.inf, np.nan]
    return np.where(rng.random(shape) < 0.15, rng.choice(special, shape), drawn)


def extreme_vectors(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Vectors (features, *extra, m) of all lengths from 0.001 to the fifth root of the largest float, each of one magnitude.

    For functions of whole vectors: of a vector of all magnitudes only the largest number counts, and infinity less infinity
    is no distance.
    """
    info = float_info(dtype)
    length = np.exp(rng.uniform(np.log(1e-3), np.log(float(info.max)) / 5, shape[1:]))
    return rng.standard_normal(shape) * length


#: The regimes by name.
REGIMES: dict[str, Callable[..., Array]] = {draw.__name__: draw for draw in (generic, kinks, extremes)}


def neighbour(at: Array, direction: int) -> Array:
    """The next float above (direction 1) or below (-1) each number, in the array's own dtype, bfloat16 included."""
    integer = np.dtype(f"i{at.dtype.itemsize}")
    bits = at.view(integer)
    away = np.where((np.signbit(at)) == (direction < 0), 1, -1).astype(integer)
    moved = (bits + away).view(at.dtype)
    smallest = (float_info(at.dtype).smallest_subnormal * direction).astype(at.dtype)
    return np.where(at == 0, smallest, moved)


def draw(
    regime: str, rng: np.random.Generator, domain: Interval, points: Sequence[float], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """Numbers of one regime, folded into a domain; `points` are the kinks."""
    with np.errstate(over="ignore", invalid="ignore"):
        drawn = REGIMES[regime](rng, shape, dtype, points).astype(dtype)
        return fold(drawn, domain).astype(dtype)


def fold(drawn: Array, domain: Interval) -> Array:
    """Bring numbers into an interval with their magnitudes kept where they can be: mirrored at its end, or wrapped.

    Where both ends are finite there is no infinity, and torch refuses NaN: they become the upper end. Minus 0 becomes 0.
    """
    if np.isfinite(domain.low) and np.isfinite(domain.high):
        wrapped = domain.low + (domain.high - domain.low) * np.abs(np.sin(drawn.astype(np.float64)))
        return np.where(np.isfinite(drawn), np.where(domain.outside(drawn), wrapped, drawn + 0), domain.high)
    if np.isfinite(domain.low):
        return domain.low + np.abs(drawn)
    if np.isfinite(domain.high):
        return domain.high - np.abs(drawn)
    return drawn
