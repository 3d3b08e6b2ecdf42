"""What a rounding scale is, apart from how it is measured: whoever only reads scales needs no torch."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manualbp import Quantity
from oracle.case import float_info

Scale = dict[Quantity, NDArray[np.float64]]


class Scales(NamedTuple):
    """The scale of every quantity of a run from end to end, and of each layer on given numbers; and the exact copies of both.

    The exact copies are torch's operations in float64, one by one. For a narrower dtype, and where torch has a kernel of its own
    for several of them, they are a witness of what is right.
    """

    through: Scale
    own: Scale
    exact_through: Scale
    exact_own: Scale


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """The largest relative error of one rounding to nearest: half the gap between 1 and the next number."""
    return float(float_info(dtype).eps) / 2


def size(array: Any) -> float:
    """The largest finite magnitude."""
    magnitudes = np.abs(np.asarray(array, np.float64))
    return float(magnitudes.max(where=np.isfinite(magnitudes), initial=0.0))
