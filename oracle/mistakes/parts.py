"""What the entries of the catalogue share: where they apply, and numbers in float64."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from manualbp import Network
from manualbp.blocks import is_floating
from manualbp.layer import Array
from oracle.mistakes.step import Gradients, Step, record

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


class Terms(NamedTuple):
    """A step back through a loss, in float64: its inputs, the target, and dC/d term, which broadcasts against the inputs."""

    loss: Any
    inputs: list[Array]
    y: Array
    scale: Array

    @property
    def a(self) -> Array:
        """The first input."""
        return self.inputs[0]

    def weight(self, name: str = "weight") -> Any:
        """The weights of this name with as many axes as the input; 1 where there are none."""
        return self.loss.per_row(name, self.a)


def of_terms(gradient: Callable[[Terms], Array | tuple[Array, ...]]) -> Wrong:
    """Another gradient of the terms: of one input, or one for each; it is multiplied by dC/d term here."""

    def spoilt(step: Step) -> Gradients:
        loss, inputs, target = step.layer, wide(step.input), step.case.target
        y = wide(target) if is_floating(target.dtype) else target
        _, (_, count, _) = loss.forward(step.params, inputs, y)
        terms = Terms(
            loss, np.split(inputs, len(loss.inputs)), y if y.dtype.kind in "iu" else wide(y), wide(step.upstream) / count
        )
        found = gradient(terms)
        every = found if isinstance(found, tuple) else (found,)
        return np.concatenate([np.broadcast_to(each * terms.scale, terms.a.shape) for each in every]), {}

    return spoilt
