"""What a mistake is: one step of backpropagation done wrong, and everything else done right."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from manualbp import Network, Trace
from manualbp.layer import Array
from oracle.case import Case, float_info
from oracle.manual_run import manual_run

#: What a backward step returns: dC/d input, and dC/d parameters by name.
Gradients = tuple[Array, dict[str, Array]]

#: Numbers that differ by less than this part of themselves in float64 are the same number, computed in another order.
SAME = 2.0**-30
#: And so are those that differ by so many unit roundoffs of the case's own dtype: there the difference cannot show.
ROUNDING = 16.0


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


@dataclass(frozen=True)
class Mistake(ABC):
    """A mistake people make.

    name         short and unique: "W not transposed"
    explanation  one sentence that a student understands
    effect       in the notes' symbols what is computed and what should be: "W delta for W^T delta"
    formula      the right formula, the one to look at: "dC/da[l-1] = W[l]^T delta[l]"
    """

    name: str
    explanation: str
    effect: str
    formula: str

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def places(self, network: Network) -> Iterator[int]:
        """Every position at which the mistake can be made; the length of the chain stands for the loss."""

    @abstractmethod
    def run(self, case: Case, position: int, honest: Trace) -> Trace:
        """The trace of a network with the mistake at this position; `honest` is that of the right one."""

    def layerwise(self, case: Case, position: int, honest: Trace, reference: Trace) -> Trace:
        """The same layer by layer, each on the reference's numbers; `honest` is the right one's layerwise trace."""
        return honest

    @abstractmethod
    def equivalent(self, case: Case, position: int) -> bool:
        """True where the mistake changes nothing that the case's dtype can show: decided in float64, and not by a verdict."""


@dataclass(frozen=True)
class StepMistake(Mistake):
    """A mistake in one backward step: `wrong` gives what it returns, `applies` says at which layers it can be made.

    With `loses_digits` it is the dtype that makes it wrong: the mistake is judged in the case's own, not in float64.
    """

    applies: Callable[[Network, int], bool]
    wrong: Callable[[Step], Gradients]
    loses_digits: bool = False
    #: Where torch and the mistake only follow different conventions: such a case is shown, and does not fail.
    convention: bool = False

    def places(self, network: Network) -> Iterator[int]:
        return (position for position in range(len(network.layers) + 1) if self.applies(network, position))

    def run(self, case: Case, position: int, honest: Trace) -> Trace:
        return honest if honest.failure else self._made(case, position, honest, honest, range(position))

    def layerwise(self, case: Case, position: int, honest: Trace, reference: Trace) -> Trace:
        return honest if honest.failure or reference.failure else self._made(case, position, honest, reference, range(0))

    def _made(self, case: Case, position: int, honest: Trace, given: Trace, before: range) -> Trace:
        """The honest trace with the step done wrong on the given numbers; the layers before it go on from what comes out."""
        gradients, parameters = list(honest.gradients), list(honest.parameter_gradients)
        with np.errstate(all="ignore"):
            step = Step(case, position, given.values, _behind(given.gradients, position))
            _put(gradients, parameters, position, self._spoilt(step))
            for at in reversed(before):
                _put(gradients, parameters, at, Step(case, at, honest.values, tuple(gradients)).right)
        return replace(honest, gradients=tuple(gradients), parameter_gradients=tuple(parameters))

    def _spoilt(self, step: Step) -> Gradients:
        """What the step returns, in the case's dtype: a mistake changes numbers and shapes, not the type of all of them."""
        gradient, parameters = self.wrong(step)
        dtype = step.case.dtype
        return np.asarray(gradient).astype(dtype), {name: np.asarray(own).astype(dtype) for name, own in parameters.items()}

    def equivalent(self, case: Case, position: int) -> bool:
        judged = case if self.loses_digits else in_float64(case)
        honest = manual_run(judged)
        with np.errstate(all="ignore"):
            step = Step(judged, position, honest.values, _behind(honest.gradients, position))
            (gradient, parameters), (right, others) = self._spoilt(step), step.right
        pairs = [(gradient, right), *((parameters[name], others[name]) for name in others.keys() & parameters.keys())]
        return parameters.keys() == others.keys() and all(same(found, wanted, case.dtype) for found, wanted in pairs)


@dataclass(frozen=True)
class AssemblyMistake(Mistake):
    """Every layer is right and they are put together wrongly: `wrong` changes the trace of the whole network."""

    applies: Callable[[Network], bool]
    wrong: Callable[[Case, Trace], Trace]

    def places(self, network: Network) -> Iterator[int]:
        return iter((len(network.layers),) if self.applies(network) else ())

    def run(self, case: Case, position: int, honest: Trace) -> Trace:
        with np.errstate(all="ignore"):
            return honest if honest.failure else self.wrong(case, honest)

    def equivalent(self, case: Case, position: int) -> bool:
        exact = in_float64(case)
        honest = manual_run(exact)
        found, wanted = self.run(exact, position, honest).quantities(), honest.quantities()
        return found.keys() == wanted.keys() and all(same(found[quantity], wanted[quantity], case.dtype) for quantity in wanted)


def in_float64(case: Case) -> Case:
    """The case with the same numbers in float64."""

    def wide(array: Any) -> Any:
        return array.astype(np.float64) if array.dtype == case.dtype else array

    params = tuple({name: wide(own) for name, own in given.items()} for given in case.params)
    return replace(
        case, params=params, x=wide(case.x), target=wide(case.target), grad_loss=np.asarray(case.grad_loss, np.float64)
    )


def same(found: Any, wanted: Any, dtype: Any = np.float64) -> bool:
    """Whether two arrays have one shape, and no element so far apart that numbers of this dtype could show it.

    NaN is like NaN.
    """
    if found is None or wanted is None or np.shape(found) != np.shape(wanted):
        return found is None and wanted is None
    found, wanted = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    info = float_info(np.dtype(dtype))
    share, step = max(SAME, ROUNDING * float(info.eps) / 2), ROUNDING * float(info.smallest_subnormal)
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(found), np.abs(wanted))
        near = np.isfinite(size) & (np.abs(found - wanted) <= share * size + step)  # next to infinity nothing is near
    return bool((near | (found == wanted) | (np.isnan(found) & np.isnan(wanted))).all())


def _behind(gradients: tuple[Any, ...], position: int) -> tuple[Any, ...]:
    return (*(None,) * (position + 1), *gradients[position + 1 :])


def _put(gradients: list[Any], parameters: list[dict[str, Any]], position: int, found: Gradients) -> None:
    gradients[position] = found[0]
    if position < len(parameters):
        parameters[position] = found[1]
