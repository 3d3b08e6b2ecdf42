"""Where the gradient of a loss passes through 0, and how large the terms are that cancel there.

In the tails, where one probability is nearly 1 and the others nearly 0, there is no zero: a gradient p - y has to be right there
to its last bits. Near a zero p and y are numbers of one size, and each of them is rounded.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Loss
from manualbp.domains import REALS, Interval
from oracle.accuracy.sample import Floats, Marks
from oracle.accuracy.sides import Params, guarded, ours_of_loss

Array = NDArray[Any]

#: How close to a zero is near; where the input is a probability; and, relative to it, where it is a number from 0 on.
NEAR, NEAR_OF_UNIT, NEAR_OF_SIZE = 1.0, 0.1, 0.5
#: What is left where unit vectors have cancelled.
CANCELLED = 0.5


def near_zero(loss: Loss, params: Params, x: Floats, target: Array, size: Floats) -> tuple[Marks, Floats]:
    """The elements whose gradient, now of this size, is near a zero; and how large the terms are that cancel in it.

    The gradient changes its sign when one number of the column moves to what is near it. In a loss between vectors it is a sum
    of unit vectors, which may cancel anywhere: there it is near 0 where its size is half of the sample's largest gradient, or
    less, and two terms of that size, each of them rounded, have cancelled.
    """
    if loss.per_sample and len(loss.inputs) > 1:
        whole = np.broadcast_to(np.where(np.isfinite(size), size, 0.0).max(axis=0, keepdims=True), size.shape)
        return size <= CANCELLED * whole, 2 * whole
    near, largest = np.zeros(x.shape, bool), _at_other_targets(loss, params, x, target, size)
    rows = len(x) // len(loss.inputs)
    for i in np.ndindex(x.shape[:-1]):
        domain = loss.inputs[i[0] // rows]
        signs = []
        for direction in (-1, 1):
            moved = x.copy()
            moved[i] = _moved(domain, x[i], direction)
            gradient = _gradient(loss, params, moved, target)
            signs.append(np.sign(gradient))
            if domain == REALS:  # p - y one step away from its zero is about as large as p
                largest[i] = np.fmax(largest[i], np.abs(gradient[i]))
        near |= signs[0] * signs[1] < 0
    return near, np.where(np.isfinite(largest), largest, 0.0)


def _moved(domain: Interval, x: Floats, direction: int) -> Floats:
    ends = np.isfinite(domain.low), np.isfinite(domain.high)
    step = NEAR_OF_UNIT if all(ends) else np.maximum(NEAR, NEAR_OF_SIZE * np.abs(x)) if any(ends) else NEAR
    return np.clip(x + direction * step, domain.low, domain.high)


def _at_other_targets(loss: Loss, params: Params, x: Floats, target: Array, size: Floats) -> Floats:
    """What may cancel in p - y is as large as the gradient for another target, or those for each row of it alone, added up."""
    found = size
    for other in _other_targets(loss, x, target):
        found = np.fmax(found, np.abs(_gradient(loss, params, x, other)))
    if target.dtype.kind not in "iu" and target.size and target.ndim == x.ndim:
        alone = [np.where(np.indices(target.shape)[0] == row, target, 0) for row in range(len(target))]
        found = np.fmax(found, sum(np.abs(_gradient(loss, params, x, rows)) for rows in alone))
    return found.copy()


def _other_targets(loss: Loss, x: Floats, target: Array) -> Iterator[Array]:
    """The opposite; the other classes; the first input itself."""
    classes = loss.target_shape(x.shape)[0]
    if target.size:
        yield np.asarray(loss.target_domain.elsewhere(target, classes))
    if target.dtype.kind in "iu" and target.ndim == x.ndim - 1:
        yield from (np.full_like(target, label) for label in range(classes))
    elif target.shape == loss.block_shape(x.shape):
        yield x[: len(target)]


def _gradient(loss: Loss, params: Params, x: Floats, target: Array) -> Floats:
    """Our own, in float64; NaN where it cannot be had."""
    wide = target if target.dtype.kind in "iu" else target.astype(np.float64)
    own = {name: value.astype(np.float64) for name, value in params.items()}
    return guarded(lambda: ours_of_loss(loss, own, x, wide), (), x.shape).derivative
