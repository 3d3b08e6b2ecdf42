"""What the entries of the catalogue share: where they apply, and numbers in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np

from manualbp import Network
from manualbp.layer import Array
from oracle.mistakes.mistake import Gradients, Step, record

Applies = Callable[[Network, int], bool]
Wrong = Callable[[Step], Gradients]


def on(*classes: type, when: Callable[[Any], bool] = lambda _: True) -> Applies:
    """The positions that hold a record of one of these classes for which `when` holds."""
    return lambda network, position: isinstance(found := record(network, position), classes) and when(found)


def wide(x: Any) -> Array:
    """The numbers in float64, in a new array."""
    return np.array(x, dtype=np.float64)


def columns(x: Any) -> Array:
    """(features, *extra, m) in float64 as a matrix with one column for each position and sample."""
    return wide(x).reshape(len(x), -1)


def grad_input(wrong: Callable[[Step], Array]) -> Wrong:
    """Only the gradient that goes further back is wrong."""
    return lambda step: (wrong(step).reshape(step.input.shape), step.right[1])


def grad_params(wrong: Callable[[Step, Array], Array], *names: str) -> Wrong:
    """Only the gradients of these parameters are wrong, or of all; `wrong` is told the right one."""

    def spoilt(step: Step) -> Gradients:
        gradient, parameters = step.right
        return gradient, parameters | {name: wrong(step, wide(parameters[name])) for name in names or parameters}

    return spoilt


def times(factor: Callable[[Step], Any]) -> Wrong:
    """Every gradient of the step is multiplied by a number."""

    def spoilt(step: Step) -> Gradients:
        gradient, parameters = step.right
        by = factor(step)
        return wide(gradient) * by, {name: wide(own) * by for name, own in parameters.items()}

    return spoilt
