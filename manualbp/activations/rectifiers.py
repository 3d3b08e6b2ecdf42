"""Piecewise linear activations: the line a = z, bent or cut. They are computed in the input's own precision, as torch does."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from manualbp.blocks import Array
from manualbp.domains import Interval
from manualbp.layer import Elementwise, Kink, Params


class _Bent(Elementwise):
    """An activation made of straight pieces: nothing to gain from more bits."""

    wide: ClassVar[bool] = False


@dataclass(frozen=True)
class Identity(_Bent):
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
class ReLU(_Bent):
    """The rectified linear unit: negative inputs are cut to 0.

    f(z) = max(0, z),  f'(z) = 1 for z > 0, 0 for z < 0.  At the kink z = 0 torch takes 0.
    A unit that is off passes exactly 0 back, even where the upstream gradient is infinite or NaN.
    """

    formula: ClassVar[str] = "max(0, z)"
    derivative_formula: ClassVar[str] = "1 if z > 0 else 0"
    range: ClassVar[Interval] = Interval(low=0.0)

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return (Kink(0.0, 0.0),)

    def value(self, z: Array) -> Array:
        return np.maximum(z, 0)

    def derivative(self, z: Array) -> Array:
        return np.where(z <= 0, 0.0, 1.0)

    def vjp(self, z: Array, grad_output: Array) -> Array:
        return np.where(z <= 0, grad_output.dtype.type(0), grad_output)


@dataclass(frozen=True)
class LeakyReLU(_Bent):
    """A ReLU that lets a fraction of the negative side through.

    f(z) = z for z > 0, slope z otherwise;  f'(z) = 1 or slope.  At the kink z = 0 torch takes the slope.
    """

    formula: ClassVar[str] = "z if z > 0 else negative_slope z"
    derivative_formula: ClassVar[str] = "1 if z > 0 else negative_slope"

    negative_slope: float = 0.01

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return (Kink(0.0, self.negative_slope),)

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(negative_slope=0.3)

    def value(self, z: Array) -> Array:
        return np.where(z > 0, z, z * self.negative_slope)

    def derivative(self, z: Array) -> Array:
        return np.where(z > 0, z.dtype.type(1), z.dtype.type(self.negative_slope))
