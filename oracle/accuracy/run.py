"""Measuring one function, and many of them on all cores."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from manualbp import Loss
from oracle.accuracy import elementwise, features, losses
from oracle.accuracy.measured import Measured, allowed, figures
from oracle.accuracy.subject import Subject
from oracle.referee.registry import NoDefinition, definition
from oracle.workers import workers

_MEASURES = {"elementwise": elementwise.measure, "features": features.measure, "loss": losses.measure}


def measure(subject: Subject, inputs: int, seed: int) -> Measured:
    """The figures of one function in one dtype.

    A function that the referee does not know is `unmeasured`; one that cannot be measured for another reason misses the
    criterion, without numbers, and its note says why.
    """
    kind = "loss" if isinstance(subject.record, Loss) else "unknown"
    try:
        kind = definition(subject.record).kind
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # at infinities NumPy's casts warn, and torch about what it will change
            return figures(subject, kind, _MEASURES[kind](subject, inputs, seed))
    except Exception as error:  # one function's trouble is not the others'
        value_limit, limit = allowed(kind, subject)
        return Measured(
            subject.function, kind, subject.dtype, 0, value_limit=value_limit, derivative_limit=limit,
            note=f"{type(error).__name__}: {error}", unmeasured=isinstance(error, NoDefinition),
        )  # fmt: skip


def measure_all(
    wanted: Sequence[Subject], inputs: int, seed: int, *, jobs: int = 1, progress: Callable[[int], None] | None = None
) -> list[Measured]:
    """Measure all of them, in their order; `progress` is told each time how many were finished.

    `jobs` is the number of processes, 1 means this one. The result does not depend on it.
    """
    with workers(jobs) as run:
        return run(measure, [(subject, inputs, seed) for subject in wanted], lambda _: progress and progress(1))
