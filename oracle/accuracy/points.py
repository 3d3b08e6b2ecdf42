"""Where a function of one number is measured: stratified inputs of a dtype, and the places a formula can go wrong at."""

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from oracle.regimes import neighbour

Array = NDArray[Any]
Floats = NDArray[np.float64]
#: The truth at some points: (values, derivatives).
Truths = Callable[[Floats], tuple[Floats, Floats]]

#: Shares of the inputs. All magnitudes; those where exponentials live; three intervals of uniform numbers; the rest lies around
#: the critical points.
ANYWHERE, EXPONENTIAL = 0.28, 0.2
UNIFORM = {40.0: 0.14, 8.0: 0.14, 1.0: 0.12}
#: Around a critical point, so many neighbouring floats on each side are all taken, and numbers at most so far away are drawn.
NEIGHBOURS, NEAR = 64, 0.1


def limits(dtype: np.dtype[Any]) -> Any:
    """The ends of a floating-point dtype, as np.finfo has them; of bfloat16 too."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def bits(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The unsigned integers as wide as a dtype."""
    return np.dtype(f"u{dtype.itemsize}")


def stratified(count: int, dtype: np.dtype[Any], critical: Sequence[float], rng: np.random.Generator) -> Array:
    """At least `count` different numbers of the dtype, sorted; a half precision has 65,536 in all, and from there on all of them.

    Among them the zeros, infinities, NaN, the ends of the normal and the subnormal numbers, and every critical point with the
    floats next to it.
    """
    whole = 1 << (8 * dtype.itemsize)
    if dtype.itemsize == 2 and count >= whole:
        return _sorted(np.arange(whole, dtype=np.uint16).view(dtype))
    found = np.concatenate([special(dtype), *(around(at, dtype, NEIGHBOURS) for at in critical)])
    drawn = _draw(count, dtype, critical, rng)
    while True:
        found = _distinct(np.concatenate([found, drawn]))
        if len(found) >= count:
            return _sorted(found)
        drawn = _draw(max(count - len(found), 64), dtype, critical, rng)


def special(dtype: np.dtype[Any]) -> Array:
    """Zeros, infinities, NaN, the ends of the floating-point range."""
    info = limits(dtype)
    ends = [0.0, float(info.smallest_subnormal), float(info.smallest_normal), 1.0, float(info.max), np.inf]
    return np.array([*ends, *(-end for end in ends), np.nan]).astype(dtype)


def around(at: float, dtype: np.dtype[Any], count: int) -> Array:
    """The float nearest to a number, so many below it, nearest first, and so many above it."""
    with np.errstate(over="ignore"):
        here = np.array([at]).astype(dtype)
    found = [here]
    if np.isfinite(at):
        for direction in (-1, 1):
            moved = here
            for _ in range(count):
                moved = neighbour(moved, direction)
                found.append(moved)
    return np.concatenate(found)


def _draw(count: int, dtype: np.dtype[Any], critical: Sequence[float], rng: np.random.Generator) -> Array:
    info = limits(dtype)

    def signed(low: float, high: float, share: float) -> Floats:
        size = np.exp(rng.uniform(np.log(low), np.log(high), int(count * share) + 1))
        return size * rng.choice([-1.0, 1.0], len(size))

    parts = [signed(float(info.smallest_subnormal), float(info.max), ANYWHERE), signed(1e-8, 1e3, EXPONENTIAL)]
    parts += [rng.uniform(-end, end, int(count * share) + 1) for end, share in UNIFORM.items()]
    rest = max(0, count - sum(map(len, parts)))
    centres = rng.choice(np.asarray(critical), rest) if len(critical) else np.zeros(rest)
    # An edge far out is as wide as its own ulps are: what matters there are relative distances.
    parts.append(centres + rng.uniform(-NEAR, NEAR, rest) * np.maximum(1, np.abs(centres) / 40))
    with np.errstate(over="ignore"):
        return np.concatenate(parts).astype(dtype)


def _distinct(found: Array) -> Array:
    return np.unique(found.view(bits(found.dtype))).view(found.dtype)


def _sorted(found: Array) -> Array:
    """From below upwards, NaN last."""
    return found[np.argsort(found.astype(np.float64), kind="stable")]


def zeros_of_derivative(truths: Truths) -> list[float]:
    """Where the derivative passes through 0 without a jump, to the last double: found from its signs on a grid to +-16."""
    grid = np.linspace(-16, 16, 641) + 1e-3  # never on a kink
    slopes = truths(grid)[1]
    found = []
    for at in np.flatnonzero(np.sign(slopes[:-1]) * np.sign(slopes[1:]) < 0):
        low, high = _bisect(lambda z: truths(z)[1] > 0, grid[at], grid[at + 1])
        ends = np.abs(truths(np.array([low, high]))[1])
        if ends.max() < 1e-9 * max(abs(slopes[at]), abs(slopes[at + 1])):
            found.append(low)
    return found


def edges(truths: Truths, dtype: np.dtype[Any]) -> list[float]:
    """Where value or derivative becomes infinite, subnormal or 0 in the dtype: the ends of its range, seen from the input."""
    info = limits(dtype)
    levels = [float(info.smallest_subnormal) / 2, float(info.smallest_normal), float(info.max)]
    sizes = np.exp(np.linspace(np.log(float(info.smallest_subnormal)), np.log(float(info.max) * 0.999), 600))
    found: list[float] = []
    for sign in (-1.0, 1.0):
        grid = sign * sizes
        for which, part in enumerate(truths(grid)):
            rank = _rank(part, levels)
            for at in np.flatnonzero(rank[:-1] != rank[1:]):
                first = rank[at]
                low, _ = _bisect(lambda z, w=which, f=first: _rank(truths(z)[w], levels) != f, grid[at], grid[at + 1])  # type: ignore[misc]
                found.append(low)
    return sorted(set(found))


def _rank(values: Floats, levels: Sequence[float]) -> NDArray[np.intp]:
    """0 for what is 0 or rounds to it, 1 for a subnormal number, 2 for a normal one, 3 for infinity or NaN."""
    return np.searchsorted(levels, np.abs(values), side="left")


def _bisect(above: Callable[[Floats], NDArray[np.bool_]], low: float, high: float) -> tuple[float, float]:
    """The neighbouring doubles between which `above` changes its answer."""
    start = bool(above(np.array([low]))[0])
    for _ in range(1100):
        middle = low / 2 + high / 2
        if middle in (low, high):
            break
        if bool(above(np.array([middle]))[0]) == start:
            low = middle
        else:
            high = middle
    return low, high
