"""Likenesses of an array from which a term is missing, or that has one too many; or of a sum that is not added up."""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

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
            yield Look(f"the right {b.what}, not summed over what shares it", far, "A broadcast operand collects from all.")


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
                f"the right {b.what} plus a number that is the same in all its {name}",
                b.sigmas(b.wanted + term),
                "A sum or mean over them is left out, or one too many."
                if b.what == "gradient"
                else "A term that they share is another.",
            )


#: What a number of each slice may be, of the numbers in it.
STATISTICS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "the standard deviation": lambda x: x.std(axis=-1),
    "the variance": lambda x: x.var(axis=-1),
    "the root mean square": lambda x: np.sqrt((x * x).mean(axis=-1)),
    "the norm": lambda x: np.sqrt((x * x).sum(axis=-1)),
    "the sum": lambda x: x.sum(axis=-1),
    "the mean": lambda x: x.mean(axis=-1),
}
#: How close to one of them it has to be: what is computed has a small number in it against division by 0.
NEAR = 1e-3


def scaled(b: Beside) -> Iterator[Look]:
    """Off by a factor of its own in each row, or in each column; in most of them, since of few it is said which they are."""
    if b.found.shape != b.wanted.shape or b.found.ndim < 2 or not (np.isfinite(b.found) & np.isfinite(b.wanted)).all():
        return
    for axis, name in enumerate(b.axes):
        count = b.found.shape[axis]
        found, wanted = (np.moveaxis(each, axis, 0).reshape(count, -1) for each in (b.found, b.wanted))
        if count < 2 or found.shape[1] < 2 or not wanted.any(axis=1).all() or not np.ptp(wanted, axis=1).any():
            continue  # of numbers that are all equal any others are multiples
        factors = (found * wanted).sum(axis=1) / (wanted * wanted).sum(axis=1)
        if (np.abs(factors - 1) > NEAR).mean() <= 0.5 or not factors.all():
            continue
        predicted = np.moveaxis((factors[:, None] * wanted).reshape(np.moveaxis(b.wanted, axis, 0).shape), 0, axis)
        what = next(_statistics(factors, b, axis), "")
        yield Look(
            f"the right {b.what} times a number of its own in each of its {name}" + f", {what}" * bool(what),
            b.sigmas(predicted),
            "A factor that belongs to each of them, such as the 1/sigma of a norm, is missing or one too many.",
        )


def _statistics(factors: NDArray[np.float64], b: Beside, axis: int) -> Iterator[str]:
    """Of which array the factors are which statistics, or one divided by them."""
    for name, array in b.given:
        if array.ndim < 2 or array.ndim <= axis or array.shape[axis] != len(factors):
            continue
        slices = np.moveaxis(array.astype(np.float64), axis, 0).reshape(len(factors), -1)
        for what, of in STATISTICS.items():
            number = of(slices)
            for told, value in ((what, number), (f"1 / {what}", 1 / number)):
                if (np.abs(factors - value) <= NEAR * np.abs(value)).all():
                    yield f"about {told} of {name} there"


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
                f"the right {b.what} plus, along its {places}, a multiple of {name} and a constant",
                b.sigmas(b.wanted + np.moveaxis(term, -1, axis)),
                "What goes back through a mean or a variance is left out, or wrong."
                if b.what == "gradient"
                else "A mean, a variance or what is added to it is another.",
            )


def constant(b: Beside) -> Iterator[Look]:
    if b.found.shape != b.wanted.shape or b.found.size < 3:
        return
    difference = b.found - b.wanted
    constant = float(np.mean(difference))
    if constant and np.isfinite(constant):
        yield Look(f"the right {b.what} plus a constant, {constant:.4g}", b.sigmas(b.wanted + constant), "A term added to all.")


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
            f"the right {b.what} and one term too many or too few, a column times a row",
            b.sigmas(b.wanted + term),
            "One outer product of the sum is missing, or counted twice: one sample, say.",
        )
