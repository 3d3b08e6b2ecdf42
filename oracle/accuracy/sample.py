"""What measuring one function in one dtype gives: the truth and both sides' answers, element by element."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.accuracy.sides import Side
from oracle.referee import Numbers

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]


class Quantity(NamedTuple):
    """Values or derivatives of one function: flat arrays of one length.

    `at` is the input on the axis of the picture, `describe(i)` all of the input of an element. The error of an element counts
    where `counts` says so. One that is `near` a zero of the derivative may be wrong by roundoffs of `largest`, its largest term.
    """

    truth: Numbers
    ours: NDArray[Any]
    torch: NDArray[Any]
    at: Floats
    describe: Callable[[int], Any]
    counts: Marks
    near: Marks
    largest: Floats


class Sample(NamedTuple):
    """Everything a function was asked in one dtype, and by how many inputs."""

    inputs: int
    value: Quantity
    derivative: Quantity
    failures: dict[str, str]


def quantity(
    truth: Numbers,
    answers: Sequence[Any],
    at: Any,
    describe: Callable[[int], Any],
    *,
    counts: Any = True,
    near: Any = False,
    largest: Any = 0.0,
) -> Quantity:
    """A Quantity from arrays of one shape, or what broadcasts to it; `answers` are ours and torch's."""
    shape = truth.hi.shape

    def flat(array: Any, dtype: Any = None) -> Any:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(array, dtype), shape)).ravel()

    return Quantity(
        Numbers(*(part.ravel() for part in truth)),
        flat(answers[0]),
        flat(answers[1]),
        flat(at, np.float64),
        describe,
        flat(counts, bool),
        flat(near, bool),
        flat(largest, np.float64),
    )


def failures(ours: Side, torch: Side) -> dict[str, str]:
    return {name: side.failure for name, side in (("ours", ours), ("torch", torch)) if side.failure}
