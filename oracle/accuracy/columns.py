"""Where a function of several numbers is measured: small columns whose numbers are equal, close, far apart or huge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp.domains import Interval
from oracle.accuracy.points import limits
from oracle.regimes import fold

Array = NDArray[Any]
Floats = NDArray[np.float64]

#: The widest gap between two logits; exp(-745) is the smallest double.
WIDEST = 800.0


def reals(shape: tuple[int, int], dtype: np.dtype[Any], rng: np.random.Generator, *, powers: bool = False) -> Array:
    """Columns (rows, count) of real numbers: ordinary ones; apart by gaps of all sizes; with ties; tiny or huge.

    The numbers of a column are about as large as each other, but for the gaps. With `powers`, their cubes fit the dtype too,
    and none is tiny, as 1e-6 or 1e-12 that a loss adds to a distance would be all that is left.
    """
    rows, count = shape
    largest = float(limits(dtype).max) ** (0.3 if powers else 0.98)
    sign = rng.choice([-1.0, 1.0], shape)
    ordinary = rng.standard_normal(shape) * np.array([0.5, 3.0, 30.0])[rng.integers(3, size=count)]
    gaps = sign * np.exp(rng.uniform(np.log(1e-3), np.log(WIDEST), shape)) + rng.choice([0.0, -3.0, 5.0], count)
    gaps[rng.integers(rows, size=count), np.arange(count)] = 0.0
    tied = rng.choice([0.0, 0.0, 1.0, -1.0, 40.0, 80.0, WIDEST], shape) * rng.choice([-1.0, 1.0], count)
    if powers:  # no margin is met by chance up to a rounding; that it is met exactly is the business of the kinks
        tied *= rng.uniform(1, 1.1, count)
    scale = np.exp(rng.uniform(-4 if powers else -np.log(largest) * 0.8, np.log(largest), count))
    kind = rng.choice(4, count, p=[0.35, 0.35, 0.15, 0.15])
    drawn = np.select([kind == 0, kind == 1, kind == 2], [ordinary, gaps, tied], sign * scale * rng.uniform(0.01, 1, shape))
    return np.clip(drawn, -largest, largest).astype(dtype)


def probabilities(shape: tuple[int, int], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    """Columns of numbers from 0 to 1: anywhere, close to an end, next to it, at it."""
    info = limits(dtype)
    small = np.exp(rng.uniform(np.log(float(info.smallest_subnormal)), 0, shape))
    beside = 1 - float(info.eps) / 2 * rng.integers(1, 9, shape)
    close = 1 - np.exp(rng.uniform(np.log(float(info.eps)), 0, shape))
    ends = rng.choice([0.0, 1.0, float(info.smallest_subnormal), float(info.smallest_normal)], shape)
    kind = rng.choice(5, shape, p=[0.3, 0.25, 0.15, 0.1, 0.2])
    drawn = np.select([kind == 0, kind == 1, kind == 2, kind == 3], [rng.random(shape), small, close, beside], ends)
    return drawn.astype(dtype)


def blocks(
    domains: Sequence[Interval], shape: tuple[int, int], dtype: np.dtype[Any], rng: np.random.Generator, *, huge: bool = True
) -> list[Array]:
    """For each input of a loss, columns of numbers from its domain; those of one column are drawn together.

    Without `huge` ones none is larger than the widest gap.
    """
    rows, count = shape
    drawn = np.split(reals((rows * len(domains), count), dtype, rng, powers=True), len(domains))
    if not huge:
        drawn = [np.where(np.abs(block) > WIDEST, block % 40, block) for block in drawn]
    found = []
    for domain, block in zip(domains, drawn, strict=True):
        if np.isfinite(domain.low) and np.isfinite(domain.high):
            span = domain.high - domain.low
            found.append((domain.low + span * probabilities(shape, dtype, rng).astype(np.float64)).astype(dtype))
        else:
            found.append(fold(block, domain).astype(dtype))
    return found


def above_the_others(x: Floats) -> Floats:
    """How far each number of a column (axis 0) is above the largest of the others: what a softmax depends on."""
    rows = np.arange(len(x))
    with np.errstate(invalid="ignore"):
        return np.stack([x[i] - x[rows != i].max(axis=0, initial=-np.inf) for i in rows])


def listed(column: Array) -> list[Any]:
    """A column as plain numbers, nested where it has more axes."""
    plain: list[Any] = column.astype(np.float64 if column.dtype.kind not in "iu" else column.dtype).tolist()
    return plain


def joined(parts: Sequence[Any]) -> Any:
    """Numbers of one shape on a new first axis."""
    return type(parts[0])(*(np.stack(own) for own in zip(*parts, strict=True)))
