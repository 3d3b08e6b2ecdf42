"""Rectifiers: the line a = z, with another line, or none, for z below 0. Computed in the input's own precision, as torch does."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from manualbp.blocks import Array, blockwise, choose, cleared, negative_part, positive_part, unknown_at_nan
from manualbp.domains import POSITIVE, REALS, Interval
from manualbp.layer import Activation, Elementwise, Kink, Params


class Bent(Elementwise):
    """An activation made of straight pieces: nothing to gain from more bits. Subclasses write `derivative` or `passed`."""

    wide: ClassVar[bool] = False
    whole: ClassVar[bool] = True

    def derivative(self, z: Array) -> Array:
        return self.vjp(z, np.ones_like(z))

    def vjp(self, z: Array, grad_output: Array) -> Array:
        return unknown_at_nan(self.passed(z, grad_output), z)

    def passed(self, z: Array, grad_output: Array) -> Array:
        """What the pieces pass back, whatever it is at NaN; a new array."""
        return super().vjp(z, grad_output)


@dataclass(frozen=True)
class Identity(Bent):
    """No activation at all: the layer stays affine.

    f(z) = z,  f'(z) = 1. Output and gradient are the very arrays that came in, not copies.
    """

    formula: ClassVar[str] = "z"
    derivative_formula: ClassVar[str] = "1"

    def value(self, z: Array) -> Array:
        return z

    def derivative(self, z: Array) -> Array:
        return np.ones_like(z)

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        return x, None

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        return grad_output, {}


@dataclass(frozen=True)
class ReLU(Bent):
    """The rectified linear unit: negative inputs are cut to 0.

    f(z) = max(0, z),  f'(z) = 1 for z > 0, 0 for z < 0.  At the kink z = 0 torch takes 0; at NaN its slope is 1 (2.13), ours NaN.
    A unit that is off passes exactly 0 back, even where the upstream gradient is infinite or NaN.
    """

    formula: ClassVar[str] = "max(0, z)"
    derivative_formula: ClassVar[str] = "1 if z > 0 else 0"
    range: ClassVar[Interval] = POSITIVE

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return (Kink(0.0, 0.0),)

    def value(self, z: Array) -> Array:
        return np.maximum(z, 0)

    def passed(self, z: Array, grad_output: Array) -> Array:
        return cleared(grad_output, z <= 0)


@dataclass(frozen=True)
class LeakyReLU(Bent):
    """A ReLU that lets a fraction of the negative side through.

    f(z) = z for z > 0, slope z otherwise;  f'(z) = 1 or slope.  At the kink z = 0 torch takes the slope; at NaN too
    (2.13), ours is NaN.
    Computed as max(z, 0) + slope min(z, 0), of which one term is 0.
    """

    formula: ClassVar[str] = "z if z > 0 else negative_slope z"
    derivative_formula: ClassVar[str] = "1 if z > 0 else negative_slope"

    negative_slope: float = 0.01

    @property
    def range(self) -> Interval:  # type: ignore[override]  # the option chooses
        return REALS if self.negative_slope > 0 else POSITIVE

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return (Kink(0.0, self.negative_slope),) if self.negative_slope != 1 else ()

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(negative_slope=0.3)

    def value(self, z: Array) -> Array:
        return bent(z, self.negative_slope)

    def derivative(self, z: Array) -> Array:
        return unknown_at_nan(choose(z > 0, 1, self.negative_slope, z.dtype), z)


def bent(z: Array, slope: Any) -> Array:
    """New array: z for z > 0, and slope z otherwise."""
    below = negative_part(z)
    below *= slope
    below += positive_part(z)
    return below


@dataclass(frozen=True)
class Threshold(Activation):
    """Inputs up to a threshold are replaced by one value; with (0, 0) this is the ReLU.

    f(z) = z for z > threshold, value otherwise;  f'(z) = 1 or 0.  f itself jumps unless value = threshold. At the
    threshold torch takes 0; at NaN its slope is 1 (2.13), ours NaN.

    Not an `Elementwise`, because torch's name for the second option is that of its method.
    """

    formula: ClassVar[str] = "z if z > threshold else value"
    derivative_formula: ClassVar[str] = "1 if z > threshold else 0"

    threshold: float
    value: float

    @property
    def range(self) -> Interval:  # type: ignore[override]  # the options choose
        return Interval(low=min(self.threshold, self.value))

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return (Kink(self.threshold, 0.0),)

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(0.125, 0.125), cls(threshold=-0.5, value=2.0)

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        return blockwise(lambda z: choose(z <= self.threshold, self.value, z, z.dtype), x, wide=False, whole=True), x

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        def passed(z: Array, g: Array) -> Array:
            return unknown_at_nan(cleared(g, z <= self.threshold), z)

        return blockwise(passed, residuals, grad_output, wide=False, whole=True), {}
