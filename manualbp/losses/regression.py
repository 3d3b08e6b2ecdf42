"""Losses on the distance between output a and target y, element by element."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manualbp.blocks import Array
from manualbp.loss import Loss, LossKink, ReducedLoss


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """The notes' cost, half the squared distance: C = 1/2 ||a - y||^2, with no 1/m.

    Shapes
        output a and target y (features, *extra, m); C a scalar.
    Forward
        C = sum (a - y)^2 / 2
    Backward
        dC/da = a - y; the 1/2 is there to cancel the 2.
    References
        The notes, Version 1. It has no twin in torch.nn; the oracle writes it as a torch expression.
    """

    formula: ClassVar[str] = "sum (a - y)^2 / 2"
    derivative_formula: ClassVar[str] = "a - y"
    reduction = "sum"

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        difference = input - target
        return difference * difference / 2, difference

    def gradient(self, saved: Any, scale: Array) -> Array:
        return saved * scale


@dataclass(frozen=True)
class MSELoss(ReducedLoss):
    """The squared distance.

    Shapes
        output a and target y (features, *extra, m); a term for each element.
    Forward
        C = sum (a - y)^2, divided for "mean" by the number of elements, features times batch (not by m alone).
    Backward
        dC/da = 2 (a - y), divided likewise.
    References
        torch.nn.MSELoss.
    """

    formula: ClassVar[str] = "sum (a - y)^2 / N"
    derivative_formula: ClassVar[str] = "2 (a - y) / N"

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        difference = input - target
        return difference * difference, difference

    def gradient(self, saved: Any, scale: Array) -> Array:
        return saved * (2 * scale)


#: The corner of |a - y|.
_CORNER = LossKink("a = y", (0.5,), 0.5, (0.0,))


@dataclass(frozen=True)
class L1Loss(ReducedLoss):
    """The distance itself: an outlier pulls no harder than any other.

    Shapes
        output a and target y (features, *extra, m); a term for each element.
    Forward
        C = sum |a - y|, divided for "mean" by the number of elements.
    Backward
        dC/da = sign(a - y), divided likewise.
    Conventions
        At the kink a = y torch takes 0, and so do we. For a NaN torch's gradient is 0 (2.13); ours is NaN.
    References
        torch.nn.L1Loss.
    """

    formula: ClassVar[str] = "sum |a - y| / N"
    derivative_formula: ClassVar[str] = "sign(a - y) / N"

    @property
    def kinks(self) -> tuple[LossKink, ...]:
        return (_CORNER,)

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        difference = input - target
        return np.abs(difference), difference

    def gradient(self, saved: Any, scale: Array) -> Array:
        return np.sign(saved) * scale


@dataclass(frozen=True)
class SmoothL1Loss(ReducedLoss):
    """The distance, with its corner at 0 replaced by a parabola of half-width beta.

    Shapes
        output a and target y (features, *extra, m); a term for each element.
    Forward
        With d = a - y, a term is d^2 / (2 beta) where |d| < beta, and |d| - beta / 2 elsewhere.
    Backward
        d / beta inside, sign(d) outside: no step where the pieces meet.
    Conventions
        With beta = 0 there is no parabola, and this is L1Loss. It is HuberLoss(delta=beta) divided by beta.
    Raises
        ValueError for a negative beta.
    References
        torch.nn.SmoothL1Loss; Girshick 2015, Fast R-CNN, arXiv 1504.08083.
    """

    formula: ClassVar[str] = "sum (d^2 / (2 beta) if |d| < beta else |d| - beta/2) / N, d = a - y"
    derivative_formula: ClassVar[str] = "(d / beta if |d| < beta else sign(d)) / N"

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta >= 0:
            raise ValueError(f"SmoothL1Loss takes a beta from 0 on, the half-width of its parabola; got {self.beta}.")

    @property
    def kinks(self) -> tuple[LossKink, ...]:
        return () if self.beta else (_CORNER,)

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"beta": 0.25}, {"beta": 0.0}

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        difference = input - target
        distance = np.abs(difference)
        inside = distance < self.beta
        fraction = distance / self.beta if self.beta else inside  # inside is nowhere when beta is 0
        terms = np.where(inside, distance * fraction / 2, distance - self.beta / 2)
        return terms, np.sign(difference) * np.where(inside, fraction, 1.0)

    def gradient(self, saved: Any, scale: Array) -> Array:
        return saved * scale


@dataclass(frozen=True)
class HuberLoss(ReducedLoss):
    """Half the squared distance, continued from |d| = delta on by its tangent.

    Shapes
        output a and target y (features, *extra, m); a term for each element.
    Forward
        With d = a - y, a term is d^2 / 2 where |d| < delta, and delta (|d| - delta / 2) elsewhere.
    Backward
        d, cut to [-delta, delta]: no step where the pieces meet.
    Raises
        ValueError unless delta is positive.
    References
        torch.nn.HuberLoss; Huber 1964, Robust estimation of a location parameter.
    """

    formula: ClassVar[str] = "sum (d^2 / 2 if |d| < delta else delta (|d| - delta/2)) / N, d = a - y"
    derivative_formula: ClassVar[str] = "min(max(d, -delta), delta) / N"

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.delta > 0:
            raise ValueError(f"HuberLoss takes a positive delta, where its tangents begin; got {self.delta}.")

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"delta": 0.25}

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        difference = input - target
        distance = np.abs(difference)
        terms = np.where(distance < self.delta, distance * distance / 2, self.delta * (distance - self.delta / 2))
        return terms, difference

    def gradient(self, saved: Any, scale: Array) -> Array:
        return np.clip(saved, -self.delta, self.delta) * scale
