"""The worst error in each slice of the inputs: what the pictures show."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The axis is linear up to LINEAR and logarithmic up to BEYOND; what lies farther out is in the last slice.
LINEAR, BEYOND = 1e-3, 1e4
HALF = 80


class Slices(NamedTuple):
    """Slices from left to right, 0 .. 2 HALF, that hold an input; and the worst error in each, infinite ones among them."""

    at: list[int]
    worst: list[float]


def position(x: Floats) -> Floats:
    """Where an input lies on the axis, from -1 to 1."""
    size = np.log10(1 + np.minimum(np.abs(x), BEYOND) / LINEAR) / np.log10(1 + BEYOND / LINEAR)
    return np.sign(x) * size


def sliced(x: Floats, errors: Floats, counts: NDArray[np.bool_]) -> Slices:
    """The worst of the errors that count, slice by slice."""
    kept = counts & ~np.isnan(x)
    at = np.rint((position(x[kept]) + 1) * HALF).astype(int)
    worst = np.full(2 * HALF + 1, -1.0)
    np.maximum.at(worst, at, errors[kept])
    held = np.flatnonzero(worst >= 0)
    return Slices(held.tolist(), worst[held].tolist())
