"""Column by column: what the softmax, its logarithm and the losses built on them share.

A column is one sample at one position; its features share out a probability of 1. Three things make every share right to its
last bits, however far apart the logits z lie, and here they are written once.

* exp(z_i - max z): the difference is rounded, and exp makes an error of |z_i - max z| units in the last place of it. So
  what the subtraction lost is kept (`two_sum`), and exp(d + lost) = exp(d) (1 + lost).
* 1 - p of a class that is nearly certain: never the difference, always the sum of the others.
* A sum over a thousand features is rounded a thousand times if it is added up from the top, ten times by halves.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from manualbp.blocks import Array, widened

#: exp of anything up to here, and any sum of such, is far from overflowing; and of its negative, from underflowing.
_SAFE = 300.0

#: Elements of one piece, more than in manualbp.blocks since pieces of rows are slow to read; and below so many columns a row is
#: too short for the vector units.
_PIECE, _COLUMNS = 1 << 17, 128


def columnwise(
    function: Callable[..., tuple[Array, ...]], *arrays: Array, dtypes: Sequence[np.dtype[Any]] = ()
) -> tuple[Array, ...]:
    """function(*arrays) for a function that acts on each column alone, in pieces that fit the cache.

    The arrays have one shape (features, *extra, m). The function is handed pieces (features, columns) in float64 and returns
    a tuple of such arrays, or of arrays with one row. The results have the arrays' axes and these `dtypes`; unless given they
    stay in float64, for a caller that has more to do.
    """
    shape, working = arrays[0].shape, widened(arrays[0].dtype)
    if len(shape) == 2 and 0 < arrays[0].size <= _PIECE and all(array.dtype == working for array in arrays):
        return _cast(function(*arrays), dtypes)
    if not arrays[0].size:  # nothing to compute, but how many results there are
        return _cast(tuple(np.empty(shape) for _ in function(*(np.ones((1, 1)) for _ in arrays))), dtypes)
    flat = [array.reshape(len(array), -1) for array in arrays]
    columns, width = flat[0].shape[1], max(_COLUMNS, _PIECE // len(flat[0]))
    results: tuple[Array, ...] = ()
    for start in range(0, columns, width):
        piece = slice(start, start + width)
        parts = function(*(np.ascontiguousarray(array[:, piece], working) for array in flat))
        if columns <= width:
            results = _cast(parts, dtypes)
            break
        kinds = dtypes or [working] * len(parts)
        results = results or tuple(np.empty((len(part), columns), kind) for part, kind in zip(parts, kinds, strict=True))
        for result, part in zip(results, parts, strict=True):
            result[:, piece] = part
    return tuple(result.reshape(len(result), *shape[1:]) for result in results)


def _cast(arrays: tuple[Array, ...], dtypes: Sequence[np.dtype[Any]]) -> tuple[Array, ...]:
    return tuple(array.astype(kind, copy=False) for array, kind in zip(arrays, dtypes, strict=True)) if dtypes else arrays


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The sum as it is rounded and what the rounding lost, exactly; 0 where the sum is no finite number.

    Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B.
    """
    rounded = a + b
    of_b = rounded - a
    lost = rounded - of_b
    np.subtract(a, lost, out=lost)
    lost += b - of_b
    np.copyto(lost, 0, where=lost != lost)
    return rounded, lost


def total(rows: Array) -> Array:
    """The sum over the features, by halves: every element meets some log2 n roundings on its way, and not n."""
    while len(rows) > 16:
        half = len(rows) // 2
        folded = rows[:half] + rows[half : 2 * half]
        if len(rows) % 2:
            folded[0] += rows[-1]
        rows = folded
    return np.add.reduce(rows, axis=0)


def exponentials(z: Array) -> Array:
    """exp(z), every column divided by whatever keeps it from overflowing.

    With +inf or NaN in a column, or nothing but -inf, all of it is NaN: as in torch.
    """
    if np.abs(z).max() <= _SAFE:  # not true of NaN
        return np.exp(z)
    d, lost = two_sum(z, -z.max(axis=0))
    e = np.exp(d)
    lost *= e
    e += lost
    return e


def softmax(z: Array) -> tuple[Array]:
    """(p,): the shares e / sum e."""
    e = exponentials(z)
    e /= total(e)
    return (e,)


def softmax_and_log(z: Array) -> tuple[Array, Array, Array]:
    """(p, z_t, r): with t the largest, log p_i = (z_i - z_t) - r,  r = log(1 + sum of the other e / e_t), a row each.

    Both parts have one sign, so that nothing cancels, and log1p takes the sum as it is, also where it is far below 1.
    """
    columns = z.shape[1]
    e, top = exponentials(z), z.argmax(axis=0) * columns + np.arange(columns)  # as indices of the flat array
    of_top = e.take(top)
    e.put(top, 0)
    others = total(e)
    e.put(top, of_top)
    e /= of_top + others
    others /= of_top
    return e, z.take(top)[None], np.log1p(others, out=others)[None]


def log_softmax(z: Array) -> tuple[Array, Array]:
    """(log p, p)."""
    p, of_top, rest = softmax_and_log(z)
    log_p = z - of_top
    log_p -= rest
    return log_p, p


def softmax_vjp(p: Array, grad: Array) -> tuple[Array]:
    """(dC/dz,) for g = dC/dp: p_j (g_j - sum_i p_i g_i).

    Since the p add up to 1, only differences of the g matter: so count them from their mean, as far as it is known.
    """
    out = grad - np.einsum("ij,ij->j", p, grad)
    known = total(p * out)
    out -= np.where(np.isfinite(known), known, 0)
    out *= p
    return (_balanced(p, out),)


def log_softmax_vjp(p: Array, grad: Array) -> tuple[Array]:
    """(dC/dz,) for g = dC/d log p: g_j - p_j sum_i g_i."""
    return (_balanced(p, grad - p * total(grad)),)


def _balanced(p: Array, slopes: Array) -> Array:
    """The slopes of a column add up to 0: a class with more than half of the probability gets minus the sum of the others.

    Its own slope has a factor 1 - p, and would have lost its digits in the difference.
    """
    columns = p.shape[1]
    (likely,) = (p > 0.5).ravel().nonzero()  # as indices of the flat array
    likely = likely[np.isfinite(slopes.take(likely))]
    if likely.size:
        slopes.put(likely, 0)
        slopes.put(likely, -total(slopes).take(likely % columns))
    return slopes
