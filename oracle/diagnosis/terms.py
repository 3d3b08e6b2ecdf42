"""Likenesses of an array from which a term is missing, or that has one too many; or of a sum that is not added up."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from oracle.diagnosis.beside import Beside, Look
from oracle.diagnosis.evidence import apart, furthest

#: How much better than everything it leaves unexplained a rank-one term has to be.
CLEAR = 1e-3


def not_summed(b: Beside) -> Iterator[Look]:
    """The shares of a sum that was not added up, or an average of them in place of it."""
    if b.found.shape != b.wanted.shape and b.found.ndim >= b.wanted.ndim:
        for axes in _reductions(b.found.shape, b.wanted.shape):
            total = b.found.sum(axis=axes).reshape(b.wanted.shape)
            far = furthest(total, b.wanted, b.unit(b.wanted) * max(b.found.size / max(b.wanted.size, 1), 1))
            yield Look("the right gradient, not summed over what shares it", far, "A broadcast operand collects from all.")


def _reductions(shape: tuple[int, ...], to: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The axes whose removal, or reduction to 1, leaves this shape."""
    wanted = tuple(size for size in to if size > 1)
    for count in range(1, len(shape) + 1):
        for axes in combinations(range(len(shape)), count):
            if tuple(size for at, size in enumerate(shape) if at not in axes and size > 1) == wanted:
                yield axes


def shifted(b: Beside) -> Iterator[Look]:
    """Off by one number in each row, or in each column."""
    if b.found.shape != b.wanted.shape or b.found.ndim < 2 or not np.isfinite(b.found).all():
        return
    for axis, name in enumerate(b.axes):
        if b.found.shape[axis] > 2:
            term = (b.found - b.wanted).mean(axis=axis, keepdims=True)
            yield Look(
                f"the right gradient plus a number that is the same in all its {name}",
                b.sigmas(b.wanted + term),
                "A sum or mean over them is left out, or one too many.",
            )


def multiple(b: Beside) -> Iterator[Look]:
    """Off, in each row or column, by a multiple of what it is computed from, and a constant."""
    if b.found.shape != b.wanted.shape or b.found.ndim < 2 or not np.isfinite(b.found).all():
        return
    for name, array in b.given:
        for axis, places in enumerate(b.axes):
            count = b.found.shape[axis]
            if array.shape != b.wanted.shape or count < 4:
                continue
            off, base = (np.moveaxis(each, axis, -1) for each in (b.found - b.wanted, array.astype(np.float64)))
            centred = base - base.mean(axis=-1, keepdims=True)
            slope = (off * centred).sum(axis=-1, keepdims=True) / (centred * centred).sum(axis=-1, keepdims=True)
            term = off.mean(axis=-1, keepdims=True) + slope * centred
            yield Look(
                f"the right gradient plus, along its {places}, a multiple of {name} and a constant",
                b.sigmas(b.wanted + np.moveaxis(term, -1, axis)),
                "What goes back through a mean or a variance is left out.",
            )


def constant(b: Beside) -> Iterator[Look]:
    if b.found.shape != b.wanted.shape or b.found.size < 3:
        return
    difference = b.found - b.wanted
    constant = float(np.mean(difference))
    if constant and np.isfinite(constant):
        yield Look(f"the right gradient plus a constant, {constant:.4g}", b.sigmas(b.wanted + constant), "A term added to all.")


def rank_one(b: Beside) -> Iterator[Look]:
    """Where found - wanted is one column times one row."""
    if b.found.shape != b.wanted.shape or b.found.ndim != 2 or min(b.found.shape) < 3:
        return
    difference = b.found - b.wanted
    wrong = apart(b.found, b.wanted, b.unit(b.wanted)) > b.allowed
    if not np.isfinite(difference).all() or min(wrong.any(axis=0).sum(), wrong.any(axis=1).sum()) < 2:
        return
    left, singular, right = np.linalg.svd(difference, full_matrices=False)
    term = singular[0] * np.outer(left[:, 0], right[0])
    if singular[1] <= CLEAR * singular[0]:
        yield Look(
            "the right gradient and one term too many or too few, a column times a row",
            b.sigmas(b.wanted + term),
            "One outer product of the sum is missing, or counted twice: one sample, say.",
        )
