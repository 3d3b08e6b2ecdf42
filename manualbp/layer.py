"""What a layer, an activation and a loss are: immutable records of hyperparameters with two pure passes.

    forward(params, x)                        -> (output, residuals)
    backward(params, residuals, grad_output)  -> (grad_input, grad_params)

*Residuals* are what backward needs from forward. They are handed over explicitly and never kept on the record, so a
layer can be used twice, and replayed on somebody else's numbers. Neither pass changes an argument in place.

Every array is (features, *extra, m): one column per sample. What backward owes is one identity, for every small change
dx of the input and dp of a parameter and the change d(output) that follows from them:

    <grad_output, d(output)> = <grad_input, dx> + sum over parameters <grad_params[p], dp>
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from manualbp.domains import REALS, Domain, Interval

Array = NDArray[Any]
Params = Mapping[str, Array]
R = TypeVar("R", bound="Record")


class Record:
    """What layers, activations and losses share: a name, options, a twin in torch.nn, examples.

    Subclasses are frozen dataclasses whose fields carry the names of the twin's constructor keywords, so that
    `twin_options` can be read off. A class is either abstract or final; the final ones are the catalogue.
    """

    @classmethod
    def twin(cls) -> str:
        """Name of the class in torch.nn that computes the same: that of the final class, also for what is derived of it."""
        final = [base for base in cls.__mro__ if base is not Record and issubclass(base, Record) and not inspect.isabstract(base)]
        return final[-1].__name__

    def options(self) -> dict[str, Any]:
        """The hyperparameters by name."""
        return {field.name: getattr(self, field.name) for field in _fields(self)}

    def twin_options(self) -> dict[str, Any]:
        """Constructor keywords of the twin; the hyperparameters unless a record says otherwise."""
        return self.options()

    def __str__(self) -> str:
        """The call that makes this record, with the options that differ from their defaults: GELU(approximate='tanh')."""
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in _fields(self)
            if field.default is MISSING or getattr(self, field.name) != field.default
        ]
        return type(self).__name__ + (f"({', '.join(shown)})" if shown else "")

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Instances that together use every option; tests and sweeps run over them."""
        return (cls(),)


def _fields(record: Record) -> tuple[Field[Any], ...]:
    return fields(record)  # type: ignore[arg-type]  # every final record is a dataclass


def catalogue(base: type[R]) -> dict[str, type[R]]:
    """All final classes below `base` that exist at this moment, by name, in alphabetical order.

    A new class is listed as soon as it is defined; nothing has to be registered. A class below a final one is not
    listed: it is somebody's variation, such as a mistake planted by a test.
    """
    found: dict[str, type[R]] = {}
    waiting = list(base.__subclasses__())
    while waiting:
        cls = waiting.pop()
        if inspect.isabstract(cls):
            waiting.extend(cls.__subclasses__())
        else:
            found[cls.__name__] = cls
    return dict(sorted(found.items()))


class Layer(Record, ABC):
    """One step of a network: an affine map or an activation."""

    #: The notes' letter for each parameter: weight is W, bias is b.
    symbols: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        """Return (output, residuals) for the input x (features, *extra, m)."""

    @abstractmethod
    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        """Return (dC/d input, dC/d parameters by name) from the upstream gradient dC/d output."""

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by torch's name for it."""
        return {}

    def rows_out(self, rows_in: int) -> int:
        """Rows (features) of the output for an input of `rows_in` rows; raises ValueError when it does not fit."""
        return rows_in


@dataclass(frozen=True)
class Kink:
    """A point where the derivative jumps, and the value that torch takes there (a convention, not mathematics)."""

    at: float
    derivative: float


class Activation(Layer):
    """A layer without a matrix: a = g(z). Subclasses state what a student and a test need to know of g."""

    formula: ClassVar[str]
    derivative_formula: ClassVar[str]
    domain: ClassVar[Interval] = REALS
    range: ClassVar[Interval] = REALS

    @property
    def kinks(self) -> tuple[Kink, ...]:
        """The points where g' jumps."""
        return ()


class Elementwise(Activation):
    """An activation that acts on each element alone, so its Jacobian is diagonal: delta = dC/da * g'(z)."""

    @abstractmethod
    def value(self, z: Array) -> Array:
        """g(z), the same shape and dtype."""

    @abstractmethod
    def derivative(self, z: Array, a: Array) -> Array:
        """g'(z) as a new array; a = g(z) is at hand for the functions whose derivative is simpler in terms of it."""

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        a = self.value(x)
        return a, (x, a)

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        grad = self.derivative(*residuals)
        grad *= grad_output  # in place: derivative() made this array for us
        return grad, {}


class Loss(Record, ABC):
    """The last step: one number C from the network's output and a target.

    A loss is a sum or a mean over *terms*: one per element, or one per sample. Subclasses give the terms and their
    gradient; the reduction is written here once.
    """

    formula: ClassVar[str]
    derivative_formula: ClassVar[str]
    #: Where the input, the network's output, has to lie.
    domain: ClassVar[Interval] = REALS
    target_domain: ClassVar[Domain] = REALS
    #: The activation that maps any real output into `domain`.
    link: ClassVar[str] = "Identity"
    #: "mean" divides the sum of the terms by their number, "sum" does not.
    reduction: str

    @abstractmethod
    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        """Return (terms, saved): the terms whose sum or mean is C, and what `gradient` needs."""

    @abstractmethod
    def gradient(self, saved: Any, scale: float) -> Array:
        """dC/d input, when dC/d term is `scale` for every term."""

    def forward(self, input: Array, target: Array) -> tuple[np.floating[Any], Any]:
        """Return (C, residuals) for the network's output (features, *extra, m) and its target."""
        terms, saved = self.terms(input, target)
        count = terms.size if self.reduction == "mean" else 1
        return terms.sum() / count, (saved, count)

    def backward(self, residuals: Any, grad_output: float = 1.0) -> Array:
        """dC/d input; `grad_output` is the upstream gradient of C itself, 1 unless the loss is part of something larger."""
        saved, count = residuals
        return self.gradient(saved, float(grad_output) / count)


@dataclass(frozen=True)
class ReducedLoss(Loss):
    """A loss whose terms are averaged or added up, as the option says. Raises ValueError for another reduction."""

    reduction: str = "mean"

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"{type(self).__name__} takes reduction 'mean' or 'sum'; got {self.reduction!r}.")

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(), cls(reduction="sum")
