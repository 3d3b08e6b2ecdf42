"""What a loss is: a record like a layer, whose passes end in one number, and begin the way back."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from manualbp.blocks import Array, widened
from manualbp.domains import REALS, Domain, Interval, common
from manualbp.layer import Params, Record


@dataclass(frozen=True)
class LossKink:
    """A sample at which the gradient of a loss's term jumps, and the gradient that torch takes there (a convention).

    For a loss with a term per element, `input` has one number for each of the loss's inputs and `target` is a number; for one
    with a term per sample they are a sample's columns, of 3 rows for each input. The gradient has the input's form.
    """

    where: str
    input: tuple[float, ...]
    target: Any
    gradient: tuple[float, ...]


class Loss(Record, ABC):
    """The last step: one number C from the network's output and a target.

    A loss is a sum or a mean over *terms*: one per element, or one per sample. Subclasses give the terms and their
    gradient; splitting the output into the loss's inputs, and the reduction, are written here once. Everything is computed in
    float64 and rounded once, to the dtype that came in.

        forward(params, input, target)            -> (C, residuals)
        backward(params, residuals, grad_output)  -> (grad_input, grad_params)

    `params` is empty but for a loss that holds a matrix of its own. C is a scalar, or for the reduction "none" the array of
    terms, and grad_output, dC'/dC of whatever C is part of, has its shape.
    """

    formula: ClassVar[str]
    derivative_formula: ClassVar[str]
    #: The domain of each input. A loss of several takes the features of the network's output in so many equal blocks.
    inputs: ClassVar[tuple[Interval, ...]] = (REALS,)
    target_domain: Domain = REALS
    #: The activation that maps any real output into `domain`.
    link: ClassVar[str] = "Identity"
    #: True where there is one term per sample, (*extra, m), and not one per element, (features, *extra, m).
    per_sample: ClassVar[bool] = False
    #: Over which axis torch's twin takes what we take over features, for inputs with extra axes: 1, or the last.
    features_last: ClassVar[bool] = False
    #: The letter for each parameter, as for a layer.
    symbols: ClassVar[Mapping[str, str]] = {}
    centres: Mapping[str, float] = {}
    #: "mean" divides the sum of the terms by their number, "batchmean" by that of the samples, "sum" by 1; "none" adds nothing.
    reduction: str

    @property
    def domain(self) -> Interval:
        """Where the network's output has to lie: in the domain of every input."""
        return common(self.inputs)

    @property
    def kinks(self) -> tuple[LossKink, ...]:
        """The samples at which the gradient of a term jumps."""
        return ()

    @abstractmethod
    def terms(self, *arrays: Any) -> tuple[Array, Any]:
        """Return (terms, saved) from the inputs and the target: the terms, and what `gradient` needs."""

    @abstractmethod
    def gradient(self, saved: Any, scale: Array) -> Array | tuple[Array, ...]:
        """dC/d input, one array for each input, when dC/d term is `scale`: a number, or an array of the terms' shape."""

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by torch's name for it."""
        return {}

    def block_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of each input for an output of this shape. Raises ValueError when the rows do not split."""
        blocks = len(self.inputs)
        if shape[0] % blocks:
            raise ValueError(
                f"{self} takes {blocks} inputs, equal blocks of the output's rows; got {shape[0]} rows. "
                f"Let the last layer have a multiple of {blocks}."
            )
        return (shape[0] // blocks, *shape[1:])

    def target_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape (classes, *extra, m) that `target_domain` checks and samples for, for an output of this shape."""
        return self.block_shape(shape)

    def terms_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the terms for a network's output of this shape (features, *extra, m)."""
        compared = self.target_shape(shape)
        return compared[1:] if self.per_sample else compared

    def count(self, terms: Array, saved: Any) -> Any:
        """What the sum of the terms is divided by."""
        return {"mean": terms.size, "batchmean": terms.shape[-1]}.get(self.reduction, 1)

    def forward(self, params: Params, input: Array, target: Array) -> tuple[Any, Any]:
        """Return (C, residuals) for the network's output (features, *extra, m) and its target."""
        dtype, working = input.dtype, widened(input.dtype)
        blocks = np.split(input.astype(working, copy=False), len(self.inputs)) if len(self.inputs) > 1 else [input]
        blocks = [block.astype(working, copy=False) for block in blocks]
        if target.dtype == dtype:
            target = target.astype(working, copy=False)
        terms, saved = self.terms(*blocks, target)
        count = self.count(terms, saved)
        total = terms if self.reduction == "none" else terms.sum() / count
        return total.astype(dtype, copy=False), (saved, count, dtype)

    def backward(self, params: Params, residuals: Any, grad_output: Any = 1.0) -> tuple[Array, dict[str, Array]]:
        """Return (dC/d input, dC/d parameters by name); `grad_output` is the upstream gradient of C itself."""
        saved, count, dtype = residuals
        upstream = np.asarray(grad_output, dtype).astype(widened(dtype))  # it has the precision of C
        grad = self.gradient(saved, upstream / count)
        if isinstance(grad, tuple):
            grad = np.concatenate(grad)
        return grad.astype(dtype, copy=False), {}


#: The reductions of nearly every loss of torch.
REDUCTIONS = ("mean", "sum", "none")


@dataclass(frozen=True)
class ReducedLoss(Loss):
    """A loss whose terms are averaged, added up or left alone, as the option says. Raises ValueError for another reduction."""

    reductions: ClassVar[tuple[str, ...]] = REDUCTIONS

    reduction: str = "mean"

    def __post_init__(self) -> None:
        if self.reduction not in self.reductions:
            raise ValueError(
                f"{type(self).__name__} takes reduction {' or '.join(map(repr, self.reductions))}; got {self.reduction!r}."
            )

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return tuple(cls(**options, reduction=reduction) for options in cls.choices(rows) for reduction in cls.reductions)

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        """The sets of the other options that `examples` crosses with every reduction."""
        return ({},)
