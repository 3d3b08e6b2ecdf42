"""What a layer and an activation are: immutable records of hyperparameters with two pure passes.

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

from manualbp.blocks import Array, blockwise, blockwise_pair, widened
from manualbp.domains import REALS, Interval

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
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        """Instances that together use every option, for inputs of so many rows; tests and sweeps run over them."""
        return (cls(),)

    #: How many axes the input must have between features and batch, where a record does not take any number.
    extra_axes: ClassVar[int | None] = None

    def check_axes(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless an input of this shape (features, *extra, m) has the axes this record takes."""
        if self.extra_axes is not None and len(shape) != self.extra_axes + 2:
            names = ", ".join(f"d{i + 1}" for i in range(self.extra_axes))
            raise ValueError(
                f"{self} takes inputs of {self.extra_axes + 2} axes, (features{', ' + names if names else ''}, m); got {shape}. "
                "Reshape the input."
            )


def _fields(record: Record) -> tuple[Field[Any], ...]:
    return fields(record)  # type: ignore[arg-type]  # every final record is a dataclass


def catalogue(base: type[R]) -> dict[str, type[R]]:
    """All final classes below `base` that exist at this moment, by name, in alphabetical order.

    A new class is listed as soon as it is defined; nothing has to be registered. A class below a final one is not
    listed: it is somebody's variation, such as a mistake planted by a test. Nor is a private one, with an underscore.
    """
    found: dict[str, type[R]] = {}
    waiting = list(base.__subclasses__())
    while waiting:
        cls = waiting.pop()
        if inspect.isabstract(cls):
            waiting.extend(cls.__subclasses__())
        elif not cls.__name__.startswith("_"):
            found[cls.__name__] = cls
    return dict(sorted(found.items()))


class Layer(Record, ABC):
    """One step of a network: an affine map or an activation."""

    #: The notes' letter for each parameter: weight is W, bias is b.
    symbols: ClassVar[Mapping[str, str]] = {}

    #: Where each parameter starts when it is drawn at random; 0 unless given.
    centres: Mapping[str, float] = {}

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

    def rows_in(self, rows_out: int) -> int:
        """Rows of the input that give so many rows of output: what the Linear before it has to make."""
        return rows_out

    def fitted(self, rows: int) -> "Activation":
        """The same activation for an input of so many rows; itself unless it has a number for each row."""
        return self

    def noise(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """The random numbers that g uses on an input of this shape; None for nearly all, which use none."""
        return None


class Elementwise(Activation):
    """An activation that acts on each element alone, so its Jacobian is diagonal: delta = dC/da * g'(z).

    `value` and `derivative` are handed pieces of the input, in a dtype of at least 32 bits (`manualbp.blocks`), and may return
    any floating dtype; the result is rounded once, to the dtype that came in.
    """

    #: Compute in float64 also for narrower inputs. Off where no digits can be lost: lines, and lines that are bent.
    wide: ClassVar[bool] = True
    #: Too little to do for the array to be worth cutting into pieces.
    whole: ClassVar[bool] = False
    #: Leave the widening to the class: its methods get at least 32 bits and can tell short numbers from long ones.
    widens_itself: ClassVar[bool] = False

    @property
    def hands_wide(self) -> bool:
        """What `blockwise` is told."""
        return self.wide and not self.widens_itself

    @abstractmethod
    def value(self, z: Array) -> Array:
        """g(z), of the same shape."""

    @abstractmethod
    def derivative(self, z: Array) -> Array:
        """g'(z) as a new array of the same shape."""

    def vjp(self, z: Array, grad_output: Array) -> Array:
        """g'(z) * grad_output, the product of the upstream gradient with a diagonal Jacobian."""
        grad = self.derivative(z)
        grad *= grad_output  # in place: derivative() made this array for us
        return grad

    def value_and_vjp(self, z: Array, grad_output: Array) -> tuple[Array, Array]:
        """The results of both passes."""
        return self.value(z), self.vjp(z, grad_output)

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        return blockwise(self.value, x, wide=self.hands_wide, whole=self.whole), x

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        return blockwise(self.vjp, residuals, grad_output, wide=self.hands_wide, whole=self.whole), {}


class SharedElementwise(Elementwise):
    """An elementwise activation whose value and derivative share most of their work, an exponential.

    Forward does the work of both, and its residual is the derivative, in at least 32 bits; backward only multiplies.
    """

    @abstractmethod
    def both(self, z: Array) -> tuple[Array, Array]:
        """g(z) and g'(z), each as a new array of the same shape."""

    def value(self, z: Array) -> Array:
        return self.both(z)[0]

    def derivative(self, z: Array) -> Array:
        return self.both(z)[1]

    def value_and_vjp(self, z: Array, grad_output: Array) -> tuple[Array, Array]:
        value, slope = self.both(z)
        slope *= grad_output
        return value, slope

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        return blockwise_pair(self.both, x, wide=self.hands_wide, second=widened(x.dtype, wide=False))

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        return (residuals * grad_output).astype(grad_output.dtype, copy=False), {}
