"""What a mistake is: one step of backpropagation done wrong, and everything else done right."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manualbp import Network, Quantity, Trace
from oracle.case import Case
from oracle.manual_run import manual_run
from oracle.mistakes.sameness import in_float64, same
from oracle.mistakes.step import Gradients, Step, behind, moved, step_of
from oracle.roundoff import unit_roundoff


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
    def equivalent(self, case: Case, position: int, reference: Trace | None = None) -> bool:
        """True where the mistake changes nothing that the case's dtype can show: decided in float64, and not by a verdict.

        What cannot show is also what changes a number by less than `reference`, autograd's trace in this dtype, is itself off.
        """


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
            step = Step(case, position, given.values, behind(given.gradients, position))
            _put(gradients, parameters, position, self._spoilt(step))
            for at in reversed(before):
                _put(gradients, parameters, at, Step(case, at, honest.values, tuple(gradients)).right)
        return replace(honest, gradients=tuple(gradients), parameter_gradients=tuple(parameters))

    def _spoilt(self, step: Step) -> Gradients:
        """What the step returns, in the case's dtype: a mistake changes numbers and shapes, not the type of all of them."""
        gradient, parameters = self.wrong(step)
        dtype = step.case.dtype
        return np.asarray(gradient).astype(dtype), {name: np.asarray(own).astype(dtype) for name, own in parameters.items()}

    def equivalent(self, case: Case, position: int, reference: Trace | None = None) -> bool:
        judged = case if self.loses_digits else in_float64(case)
        steps = [step_of(judged, position, manual_run(judged))]
        if reference is not None and not any(
            array is None for array in (reference.values[position], *reference.gradients[position + 1 :][:1])
        ):
            steps.append(step_of(judged, position, reference))
        with np.errstate(all="ignore"):
            return all(self._hidden(step, case.dtype, reference) for step in steps)

    def _hidden(self, step: Step, dtype: np.dtype[Any], reference: Trace | None) -> bool:
        """Whether what the step returns is right as far as this dtype can show.

        Moving each number that the step is given by a unit roundoff may not move the right result by less; nor may autograd
        be further off.
        """
        found, wanted = _by_name(self._spoilt(step)), _by_name(step.right)
        if found.keys() != wanted.keys():
            return False
        near = [_by_name(other.right) for other in moved(step, unit_roundoff(dtype))]
        if reference is not None:
            held = reference.parameter_gradients
            own = held[step.position] if step.position < len(held) else {}
            near.append(_by_name((reference.gradients[step.position], own)))

        def blur(name: str) -> Any:
            others = [each[name] for each in near if each.get(name) is not None]
            return np.max([np.abs(np.asarray(other, np.float64) - wanted[name]) for other in others], axis=0)

        return all(same(found[name], right, dtype, blur(name)) for name, right in wanted.items())


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

    def equivalent(self, case: Case, position: int, reference: Trace | None = None) -> bool:
        exact = in_float64(case)
        honest = manual_run(exact)
        found, wanted = self.run(exact, position, honest).quantities(), honest.quantities()
        known = {} if reference is None else {q: array for q, array in reference.quantities().items() if array is not None}

        def blur(quantity: Quantity) -> Any:
            return np.abs(np.asarray(known[quantity], np.float64) - wanted[quantity]) if quantity in known else 0.0

        with np.errstate(all="ignore"):
            return found.keys() == wanted.keys() and all(same(found[q], wanted[q], case.dtype, blur(q)) for q in wanted)


def _by_name(found: Gradients) -> dict[str, Any]:
    """What a step returns, the gradient that flows on under the name of none."""
    return {"": found[0], **found[1]}


def _put(gradients: list[Any], parameters: list[dict[str, Any]], position: int, found: Gradients) -> None:
    gradients[position] = found[0]
    if position < len(parameters):
        parameters[position] = found[1]
