"""Where the gradient of a loss passes through 0, and how large the terms are that cancel there.

In the tails, where one probability is nearly 1 and the others nearly 0, there is no zero: a gradient p - y has to be right there
to its last bits. Near a zero p and y are numbers of one size, and each of them is rounded.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Loss
from manualbp.domains import Interval
from oracle.accuracy.sample import Floats, Marks
from oracle.accuracy.sides import Params, guarded, ours_of_loss

Array = NDArray[Any]

#: How close to a zero is near; where the input is a probability; and, relative to it, where it is a number from 0 on.
NEAR, NEAR_OF_UNIT, NEAR_OF_SIZE = 1.0, 0.1, 0.5
#: What is left where unit vectors have cancelled.
CANCELLED = 0.5


def near_zero(loss: Loss, params: Params, x: Floats, target: Array, size: Floats) -> Marks:
    """Elements whose gradient changes its sign when one number of their column moves to what is near it.

    The gradient of a loss between vectors is a sum of unit vectors, which may cancel anywhere: there it is near 0 where its size
    is half of the sample's largest gradient, or less.
    """
    if _between_vectors(loss):
        return size <= CANCELLED * largest_term(loss, params, x, target, size)
    found = np.zeros(x.shape, bool)
    rows = len(x) // len(loss.inputs)
    for i in np.ndindex(x.shape[:-1]):
        signs = []
        for direction in (-1, 1):
            moved = x.copy()
            moved[i] = _moved(loss.inputs[i[0] // rows], x[i], direction)
            signs.append(np.sign(_gradient(loss, params, moved, target)))
        found |= signs[0] * signs[1] < 0
    return found


def _moved(domain: Interval, x: Floats, direction: int) -> Floats:
    ends = np.isfinite(domain.low), np.isfinite(domain.high)
    step = NEAR_OF_UNIT if all(ends) else np.maximum(NEAR, NEAR_OF_SIZE * np.abs(x)) if any(ends) else NEAR
    return np.clip(x + direction * step, domain.low, domain.high)


def _between_vectors(loss: Loss) -> bool:
    return loss.per_sample and len(loss.inputs) > 1


def largest_term(loss: Loss, params: Params, x: Floats, target: Array, size: Floats) -> Floats:
    """What may cancel in a gradient such as p - y is as large as the gradient, of this size, becomes for another target.

    Or as the gradients for each row of the target alone, added up; in a loss between vectors, as the sample's largest gradient.
    """
    if _between_vectors(loss):
        finite = np.where(np.isfinite(size), size, 0.0)
        return np.broadcast_to(finite.max(axis=0, keepdims=True), size.shape)
    found = size
    for other in _other_targets(loss, x, target):
        found = np.fmax(found, np.abs(_gradient(loss, params, x, other)))
    if target.dtype.kind not in "iu" and target.size and target.ndim == x.ndim:
        alone = [np.where(np.indices(target.shape)[0] == row, target, 0) for row in range(len(target))]
        found = np.fmax(found, sum(np.abs(_gradient(loss, params, x, rows)) for rows in alone))
    return np.where(np.isfinite(found), found, 0.0)


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
