"""Piecewise linear stand-ins for smooth functions: straight lines, cut off at one or two points."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from manualbp.activations.rectifiers import Bent
from manualbp.blocks import Array, cleared
from manualbp.domains import UNIT, Interval
from manualbp.layer import Kink


class _Between(Bent):
    """The line a = z between two bounds, constant outside. Nothing passes back through a unit at or beyond its bounds."""

    @property
    @abstractmethod
    def _bounds(self) -> tuple[float, float]:
        """The lower and the upper."""

    @property
    def range(self) -> Interval:  # type: ignore[override]  # the bounds choose
        return Interval(*self._bounds)

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return tuple(Kink(bound, 0.0) for bound in self._bounds)

    def value(self, z: Array) -> Array:
        return z.clip(*self._bounds)

    def passed(self, z: Array, grad_output: Array) -> Array:
        low, high = self._bounds
        return cleared(grad_output, (z <= low) | (z >= high))


@dataclass(frozen=True)
class Hardtanh(_Between):
    """The line a = z, cut off at two values.

    f(z) = min(max(z, min_val), max_val),  f'(z) = 1 between them, 0 outside.  At both kinks torch takes 0; at NaN its slope
    is 1 (2.13), ours NaN.
    Raises ValueError unless min_val < max_val.
    """

    formula: ClassVar[str] = "min(max(z, min_val), max_val)"
    derivative_formula: ClassVar[str] = "1 if min_val < z < max_val else 0"

    min_val: float = -1.0
    max_val: float = 1.0

    def __post_init__(self) -> None:
        if not self.min_val < self.max_val:
            raise ValueError(
                f"Hardtanh takes a min_val below its max_val; got {self.min_val} and {self.max_val}. Exchange the two?"
            )

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(min_val=-0.25, max_val=2.0)

    @property
    def _bounds(self) -> tuple[float, float]:
        return self.min_val, self.max_val


@dataclass(frozen=True)
class ReLU6(_Between):
    """A ReLU that is cut off at 6.

    f(z) = min(max(z, 0), 6),  f'(z) = 1 for 0 < z < 6, 0 outside.  At the kinks 0 and 6 torch takes 0; at NaN its slope
    is 1 (2.13), ours NaN.
    """

    formula: ClassVar[str] = "min(max(z, 0), 6)"
    derivative_formula: ClassVar[str] = "1 if 0 < z < 6 else 0"

    @property
    def _bounds(self) -> tuple[float, float]:
        return 0.0, 6.0


@dataclass(frozen=True)
class Hardsigmoid(Bent):
    """A sigmoid made of three straight pieces.

    f(z) = min(max(z + 3, 0), 6) / 6,  f'(z) = 1/6 for -3 < z < 3, 0 outside.  At the kinks -3 and 3 torch takes 0; at NaN
    too (2.13), ours is NaN. Its 1/6 is a float32 also where it computes in float64, 3e-8 too large; ours is not.
    """

    formula: ClassVar[str] = "min(max(z + 3, 0), 6) / 6"
    derivative_formula: ClassVar[str] = "1/6 if -3 < z < 3 else 0"
    range: ClassVar[Interval] = UNIT

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return Kink(-3.0, 0.0), Kink(3.0, 0.0)

    def value(self, z: Array) -> Array:
        return ramp(z) / 6

    def passed(self, z: Array, grad_output: Array) -> Array:
        return cleared(grad_output * (1 / 6), ~(np.abs(z) < 3))


def ramp(z: Array) -> Array:
    """min(max(z + 3, 0), 6) as a new array: six times the hard sigmoid."""
    out = z + 3
    return out.clip(0, 6, out=out)


@dataclass(frozen=True)
class Hardswish(Bent):
    """z times its hard sigmoid: a SiLU without an exponential.

    f(z) = z min(max(z + 3, 0), 6) / 6,  f'(z) = z/3 + 1/2 for -3 < z < 3; 0 below, 1 above.  At the kinks -3 and 3 torch
    takes 0 and 1; at NaN its slope is 1 (2.13), ours NaN.
    Computed with max(z, -3) as the factor, so that -infinity gives 0, and with 6/8 and 3/4 for 6 and 6, which cannot overflow.
    Around its zero at -1.5 the derivative is taken as (2 z + 3) / 6, whose sum is exact there; further out as torch takes it.
    """

    whole: ClassVar[bool] = False
    formula: ClassVar[str] = "z min(max(z + 3, 0), 6) / 6"
    derivative_formula: ClassVar[str] = "z/3 + 1/2 if -3 < z < 3, else 0 if z < 0 else 1"
    range: ClassVar[Interval] = Interval(low=-0.375)

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return Kink(-3.0, 0.0), Kink(3.0, 1.0)

    def value(self, z: Array) -> Array:
        out = ramp(z)
        out *= 0.125
        out *= z.clip(-3, np.inf)
        out /= 0.75
        return out

    def derivative(self, z: Array) -> Array:
        slope = z / 3
        slope += 0.5
        better = z + z
        better += 3
        better /= 6
        better -= slope  # exact, since the two are alike
        distance = np.abs(z)
        better *= (distance < 2).astype(z.dtype)  # which takes less time than a product of floats and bools
        slope += better
        slope = cleared(slope, distance >= 3)
        slope += (z >= 3).astype(z.dtype)
        return slope


@dataclass(frozen=True)
class Hardshrink(Bent):
    """Small inputs are cut to 0, the others kept.

    f(z) = z for |z| > lambd, 0 otherwise;  f'(z) = 1 or 0. f itself jumps at -lambd and lambd; there torch takes 0, with
    lambd = 0 too, although then f(z) = z; at NaN its slope is 1 (2.13), ours NaN. A negative lambd cuts nothing.
    """

    formula: ClassVar[str] = "z if |z| > lambd else 0"
    derivative_formula: ClassVar[str] = "1 if |z| > lambd else 0"

    lambd: float = 0.5

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return tuple(Kink(at, 0.0) for at in sorted({-self.lambd, self.lambd})) if self.lambd >= 0 else ()

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(lambd=1.25)

    def value(self, z: Array) -> Array:
        return self.passed(z, z)

    def passed(self, z: Array, grad_output: Array) -> Array:
        return cleared(grad_output, np.abs(z) <= self.lambd)


@dataclass(frozen=True)
class Softshrink(Bent):
    """Inputs are moved towards 0 by lambd, and become 0 within reach.

    f(z) = z - lambd for z > lambd, z + lambd for z < -lambd, 0 between;  f'(z) = 1 or 0.  At the kinks torch takes 0; at
    NaN its slope is 1 (2.13), ours NaN. Raises ValueError for a negative lambd.
    """

    formula: ClassVar[str] = "z - lambd if z > lambd, z + lambd if z < -lambd, else 0"
    derivative_formula: ClassVar[str] = "1 if |z| > lambd else 0"

    lambd: float = 0.5

    def __post_init__(self) -> None:
        if not self.lambd >= 0:
            raise ValueError(f"Softshrink takes a lambd of at least 0; got {self.lambd}. Its size is the half width of the band.")

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return tuple(Kink(at, 0.0) for at in sorted({-self.lambd, self.lambd}))

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(lambd=1.25)

    def value(self, z: Array) -> Array:
        return z - z.clip(-self.lambd, self.lambd)

    def passed(self, z: Array, grad_output: Array) -> Array:
        return cleared(grad_output, np.abs(z) <= self.lambd)
