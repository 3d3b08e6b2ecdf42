"""Evaluate a function of arrays in pieces that fit the cache, in a precision that holds the result.

A formula such as e / (1 + e)^2 makes an array for every operation. On a million elements each of them travels to main memory
and back; on a few thousand they stay in the cache. And a result that has to be right to its last bit is computed in more
bits than it has, and rounded once.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Elements of one piece: in float64 128 KiB for each array, so that half a dozen fit a cache of 1 MiB.
BLOCK = 1 << 14


def is_floating(dtype: np.dtype[Any]) -> bool:
    """True for NumPy's floating-point dtypes and for bfloat16, which NumPy knows only as a registered type."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def widened(dtype: np.dtype[Any], *, wide: bool = True) -> np.dtype[Any]:
    """The dtype to compute in: float32 for the half precisions, and twice the bits of float32 where a formula is `wide`."""
    if wide and dtype.itemsize < 8:
        return np.dtype(np.float64)
    return dtype if dtype.itemsize > 2 else np.dtype(np.float32)


def blockwise(function: Callable[..., Array], *arrays: Array, wide: bool = True) -> Array:
    """function(*arrays) for a function that acts on each element alone, in pieces; all arrays have one shape and dtype.

    The function is handed pieces in the wider dtype and may return any; the result has the arrays' own dtype.
    """
    first = arrays[0]
    dtype, working = first.dtype, widened(first.dtype, wide=wide)
    if first.size <= BLOCK:
        return function(*(array.astype(working, copy=False) for array in arrays)).astype(dtype, copy=False)
    order: Literal["C", "F"] = "F" if all(array.flags.f_contiguous for array in arrays) else "C"
    flat = [array.ravel(order) for array in arrays]  # views, unless an array has gaps or another order
    out = np.empty(first.size, dtype)
    for start in range(0, first.size, BLOCK):
        piece = slice(start, start + BLOCK)
        out[piece] = function(*(array[piece].astype(working, copy=False) for array in flat))
    return out.reshape(first.shape, order=order)
