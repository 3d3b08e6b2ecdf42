"""Evaluate a function of arrays in pieces that fit the cache, in a precision that holds the result.

A formula such as e / (1 + e)^2 makes an array for every operation. On a million elements each of them travels to main memory
and back; on a few thousand they stay in the cache. And a result that has to be right to its last bit is computed in more
bits than it has, and rounded once.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

#: Bytes of one array's piece: 32768 elements of float64. Half as many save little in the cache and cost twice as many calls.
BLOCK = 1 << 18
# glibc gives freed memory back to the system, and each new array takes its pages anew, unless a block of this size has once been
# freed: from then on it keeps twice as much. Without this line a pass over arrays of some 100 kB takes up to three times as long.
np.empty(31 << 20, np.uint8)
#: For fewer elements than this a call of NumPy costs more than what it does.
FEW = 512


def is_floating(dtype: np.dtype[Any]) -> bool:
    """True for NumPy's floating-point dtypes and for bfloat16, which NumPy knows only as a registered type."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def widened(dtype: np.dtype[Any], *, wide: bool = True) -> np.dtype[Any]:
    """The dtype to compute in: float32 for the half precisions, and twice the bits of float32 where a formula is `wide`."""
    if wide and dtype.itemsize < 8:
        return np.dtype(np.float64)
    return dtype if dtype.itemsize > 2 else np.dtype(np.float32)


def blockwise(function: Callable[..., Array], *arrays: Array, wide: bool = True, whole: bool = False) -> Array:
    """function(*arrays) for a function that acts on each element alone, in pieces; all arrays have one shape.

    The function is handed pieces in the wider dtype of the first array and may return any; the result has the first array's own.
    `whole` is for functions with so little to do that pieces cost more than they save: one piece, unless it is widened.
    """
    first = arrays[0]
    dtype, working = first.dtype, widened(first.dtype, wide=wide)
    if working == dtype and (whole or first.nbytes <= BLOCK):
        return function(*arrays).astype(dtype, copy=False)
    if first.size * working.itemsize <= BLOCK:
        return function(*(array.astype(working, copy=False) for array in arrays)).astype(dtype, copy=False)
    return _in_pieces(lambda *pieces: (function(*pieces),), arrays, working, (dtype,))[0]


def blockwise_pair(
    function: Callable[..., tuple[Array, Array]], *arrays: Array, wide: bool = True, second: np.dtype[Any] | None = None
) -> tuple[Array, Array]:
    """The same for a function that returns two arrays; the second result may be of another dtype."""
    first = arrays[0]
    dtypes, working = (first.dtype, second or first.dtype), widened(first.dtype, wide=wide)
    if first.size * working.itemsize <= BLOCK:
        one, two = function(*(array.astype(working, copy=False) for array in arrays))
        return one.astype(dtypes[0], copy=False), two.astype(dtypes[1], copy=False)
    one, two = _in_pieces(function, arrays, working, dtypes)
    return one, two


def _in_pieces(
    function: Callable[..., tuple[Array, ...]],
    arrays: Sequence[Array],
    working: np.dtype[Any],
    dtypes: Sequence[np.dtype[Any]],
) -> list[Array]:
    order: Literal["C", "F"] = "F" if all(array.flags.f_contiguous for array in arrays) else "C"
    flat = [array.ravel(order) for array in arrays]  # views, unless an array has gaps or another order
    size, step = arrays[0].size, BLOCK // working.itemsize
    results = [np.empty(size, dtype) for dtype in dtypes]
    for start in range(0, size, step):
        piece = slice(start, start + step)
        for result, part in zip(results, function(*(array[piece].astype(working, copy=False) for array in flat)), strict=True):
            result[piece] = part
    return [result.reshape(arrays[0].shape, order=order) for result in results]


def choose(condition: NDArray[np.bool_], x: Array | float, y: Array | float, dtype: DTypeLike) -> Array:
    """New array: x where the condition holds, y elsewhere. It is np.where on the bits of the numbers.

    np.where branches for every element, and a condition that is random to the processor costs it more than an exponential.
    Only for a few elements is it faster.
    """
    if condition.size < FEW:
        return np.where(condition, np.asarray(x, dtype), np.asarray(y, dtype))
    bits = _integers(np.dtype(dtype))
    x_bits, y_bits = (np.asarray(number, dtype).view(bits) for number in (x, y))
    chosen = np.negative(condition.view(np.int8)).astype(bits)  # all bits 1 where the condition holds, 0 elsewhere
    chosen &= x_bits ^ y_bits
    chosen ^= y_bits
    return chosen.view(dtype)


def cleared(x: Array, condition: NDArray[np.bool_]) -> Array:
    """x, but exactly 0 where the condition holds, also in place of an infinity or NaN; a new array."""
    if x.size < FEW:
        return np.where(condition, x.dtype.type(0), x)
    bits = _integers(x.dtype)
    kept = (condition.view(np.int8) - 1).astype(bits)  # all bits 0 where the condition holds, 1 elsewhere
    kept &= x.view(bits)
    return kept.view(x.dtype)


def unknown_at_nan(slope: Array, z: Array) -> Array:
    """The slope itself, with NaN put in place where z is NaN: what comes from no number has no slope."""
    if z.size and np.isnan(z.max()):  # NaN is the largest of all
        slope[np.isnan(z)] = np.nan
    return slope


def _integers(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"i{dtype.itemsize}")


def positive_part(z: Array) -> Array:
    """The larger of z and 0, as a new array: by clip, which takes half the time of np.maximum with a number."""
    return z.clip(0, np.inf)


def negative_part(z: Array) -> Array:
    """The smaller of z and 0, as a new array."""
    return z.clip(-np.inf, 0)


def doubled(z: Array) -> tuple[Array, bool]:
    """Return z in float64, and whether it comes from fewer bits: then its square is exact, and 1e-9 far below its rounding."""
    return z.astype(np.float64, copy=False), z.itemsize < 8


def polynomial(s: Array, coefficients: Sequence[float]) -> Array:
    """c_0 + c_1 s + c_2 s^2 + ..., from the inside out (Horner's scheme), as a new array."""
    *lower, second, last = coefficients
    total = last * s
    total += second
    for coefficient in reversed(lower):
        total *= s
        total += coefficient
    return total
