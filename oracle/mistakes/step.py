"""One backward step of a case, with everything that code at this place has at hand."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from manualbp import Network, Trace
from manualbp.layer import Array
from oracle.case import Case

#: What a backward step returns: dC/d input, and dC/d parameters by name.
Gradients = tuple[Array, dict[str, Array]]

#: How often the numbers that a step is given are moved.
MOVED = 8


@dataclass(frozen=True)
class Step:
    """One backward step, with everything that code at this place has at hand.

    `position` is the layer's place in the chain, and the length of the chain for the loss. values[i] is the input of layer i and
    gradients[i] is dC/d values[i]; of those, the ones behind this step are known, the others None.
    """

    case: Case
    position: int
    values: tuple[Any, ...]
    gradients: tuple[Any, ...]

    @property
    def layer(self) -> Any:
        """The layer, or the loss."""
        return record(self.case.network, self.position)

    @property
    def is_loss(self) -> bool:
        """True for the first step back."""
        return self.position == len(self.case.network.layers)

    @property
    def params(self) -> dict[str, Array]:
        """The layer's own parameters."""
        return self.case.params[self.position] if self.position < len(self.case.params) else {}

    @property
    def input(self) -> Array:
        """What the layer or the loss was given, (features, *extra, m)."""
        return self.values[self.position]

    @property
    def output(self) -> Array:
        """What the layer made of it."""
        return self.values[self.position + 1]

    @property
    def upstream(self) -> Any:
        """dC/d output; for the loss the upstream gradient of C itself."""
        return self.case.grad_loss if self.is_loss else self.gradients[self.position + 1]

    @property
    def m(self) -> int:
        """The batch size."""
        return self.case.x.shape[-1]

    @cached_property
    def right(self) -> Gradients:
        """What the step should return."""
        return self.through()

    def through(self, layer: Any = None, input: Any = None, upstream: Any = None, target: Any = None) -> Gradients:
        """The backward pass with this step's parameters, where the layer or loss, or one of its arrays, is another."""
        layer = self.layer if layer is None else layer
        given = (self.input if input is None else input, self.case.target if target is None else target)
        _, residuals = layer.forward(self.params, *given[: 1 + self.is_loss])
        return layer.backward(self.params, residuals, self.upstream if upstream is None else upstream)


def record(network: Network, position: int) -> Any:
    """The layer at this position, or the loss behind the last."""
    return (*network.layers, network.loss)[position]


def step_of(case: Case, position: int, given: Trace) -> Step:
    """The step on the numbers of a trace, in the case's dtype."""

    def own(array: Any) -> Any:
        return None if array is None else np.asarray(array).astype(case.dtype)

    return Step(case, position, tuple(map(own, given.values)), behind(tuple(map(own, given.gradients)), position))


def moved(step: Step, share: float) -> Iterator[Step]:
    """The step with every number that it is given moved by this share of itself, up or down; whole numbers stay."""
    at, case, rng = step.position, step.case, np.random.default_rng(0)

    def move(array: Any) -> Any:
        array = np.asarray(array)
        labels = np.array_equal(array, np.round(array), equal_nan=True)  # or other whole numbers, which are what they are
        return array if labels else array * (1 + share * rng.choice([-1.0, 1.0], array.shape))

    for _ in range(MOVED):
        values = (*step.values[:at], move(step.values[at]), *step.values[at + 1 :])
        gradients = tuple(move(array) if place == at + 1 else array for place, array in enumerate(step.gradients))
        params = tuple(
            {name: move(own) for name, own in given.items()} if i == at else given for i, given in enumerate(case.params)
        )
        yield Step(replace(case, params=params, target=move(case.target)), at, values, gradients)


def behind(gradients: tuple[Any, ...], position: int) -> tuple[Any, ...]:
    return (*(None,) * (position + 1), *gradients[position + 1 :])
