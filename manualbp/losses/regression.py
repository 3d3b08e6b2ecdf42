"""Losses on the distance between output a and target y, element by element."""

from dataclasses import dataclass
from typing import Any, ClassVar

from manualbp.blocks import Array
from manualbp.layer import Loss, ReducedLoss


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
    """The squared distance, averaged over all elements or summed.

    Shapes
        output a and target y (features, *extra, m); C a scalar.
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
