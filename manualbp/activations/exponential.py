"""Rectifiers with an exponential below 0, and the softplus, which is bent nowhere."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from manualbp import exact
from manualbp.blocks import Array, choose, doubled, negative_part, positive_part, unknown_at_nan
from manualbp.domains import REALS, Interval
from manualbp.layer import Elementwise, Kink, SharedElementwise


class _Saturating(Elementwise):
    """A line of slope `_scale` for z > 0, and _height (exp(z) - 1) below, which meets it at 0."""

    _scale: ClassVar[float] = 1.0

    @property
    @abstractmethod
    def _height(self) -> float:
        """How far below 0 the exponential ends."""

    @property
    def range(self) -> Interval:  # type: ignore[override]  # the height chooses
        return Interval(low=min(0.0, -self._height))

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return (Kink(0.0, self._height),) if self._height != self._scale else ()

    def value(self, z: Array) -> Array:
        below = negative_part(z)
        np.expm1(below, out=below)
        below *= self._height
        below += self._scale * positive_part(z)
        return below

    def derivative(self, z: Array) -> Array:
        slope = np.fmin(z, 0).clip(exact.FLOOR, 0)
        np.exp(slope, out=slope)
        slope *= self._height
        exact.settle(z, slope)
        return unknown_at_nan(choose(z <= 0, slope, self._scale, z.dtype) if self.kinks else slope, z)


@dataclass(frozen=True)
class ELU(_Saturating):
    """The exponential linear unit: a line for z > 0, and below it an exponential that saturates at -alpha.

    f(z) = z for z > 0, alpha (exp(z) - 1) otherwise;  f'(z) = 1 or alpha exp(z).  At z = 0, a kink unless alpha = 1, torch
    takes alpha; at NaN its slope is 1 (2.13), ours NaN.
    Where exp(z) underflows, alpha is multiplied first (`exact.settle`): alpha exp(z) may be a normal number.
    """

    formula: ClassVar[str] = "z if z > 0 else alpha (exp(z) - 1)"
    derivative_formula: ClassVar[str] = "1 if z > 0 else alpha exp(z)"

    alpha: float = 1.0

    @property
    def _height(self) -> float:
        return self.alpha

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(alpha=0.4)


@dataclass(frozen=True)
class SELU(_Saturating):
    """An ELU scaled such that mean 0 and variance 1 reproduce themselves from layer to layer.

    f(z) = scale z for z > 0, scale alpha (exp(z) - 1) otherwise;  f'(z) = scale or scale alpha exp(z).  At the kink z = 0 torch
    takes scale alpha = 1.758...; at NaN its slope is scale (2.13), ours NaN.
    Source: Klambauer et al. 2017, arXiv 1706.02515, whose constants are rounded to float64 here as in torch.
    """

    formula: ClassVar[str] = "scale z if z > 0 else scale alpha (exp(z) - 1)"
    derivative_formula: ClassVar[str] = "scale if z > 0 else scale alpha exp(z)"

    _scale: ClassVar[float] = 1.0507009873554804934193349852946
    _alpha: ClassVar[float] = 1.6732632423543772848170429916717

    @property
    def _height(self) -> float:
        return self._scale * self._alpha


@dataclass(frozen=True)
class CELU(Elementwise):
    """A continuously differentiable ELU: the exponential is stretched until its slope at 0 is 1.

    f(z) = z for z > 0, alpha (exp(z / alpha) - 1) otherwise;  f'(z) = 1 or exp(z / alpha).  No kink; at NaN
    torch's slope is 1 (2.13), ours NaN. On its way back torch takes 1 / alpha as a float32, also in float64 (2.13).
    The quotient z / alpha is rounded, and exp magnifies that by up to 700: the remainder of the division is put back. The value
    is alpha m (m + 2) with m = exp(z / 2 alpha) - 1, which for a negative alpha does not overflow before the product does.
    Raises ValueError for alpha 0.
    """

    formula: ClassVar[str] = "z if z > 0 else alpha (exp(z / alpha) - 1)"
    derivative_formula: ClassVar[str] = "1 if z > 0 else exp(z / alpha)"

    widens_itself: ClassVar[bool] = True

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.alpha == 0:
            raise ValueError("CELU takes an alpha other than 0, since it divides by it; got 0.")

    @property
    def range(self) -> Interval:  # type: ignore[override]  # the option chooses
        return Interval(low=-self.alpha) if self.alpha > 0 else REALS

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(alpha=2.5)

    def _stretched(self, z: Array, bound: float) -> tuple[Array, Array | None]:
        """min(z, 0) / alpha as a rounded quotient and the rest, of at most `bound`: beyond, exp is 0 or infinite."""
        z, short = doubled(z)
        below = np.fmin(z, 0).clip(-bound * abs(self.alpha), 0)
        if short or exact.is_power_of_two(self.alpha):
            return below / self.alpha, None
        return exact.quotient(below, self.alpha)

    def value(self, z: Array) -> Array:
        root, lost = self._stretched(z, 1400)
        root *= 0.5
        np.expm1(root, out=root)
        if lost is not None:
            lost *= root + 1
            lost *= 0.5
            root += lost
        below = root + 2
        below *= self.alpha
        below *= root
        below += positive_part(z)
        return below

    def derivative(self, z: Array) -> Array:
        slope = exact.exp(*self._stretched(z, 800))
        if self.alpha < 0:  # it grows without end, and infinity times what rounding took is no number
            np.copyto(slope, np.inf, where=np.isnan(slope))
        return unknown_at_nan(slope, z)


@dataclass(frozen=True)
class Softplus(SharedElementwise):
    """A smooth ReLU.

    f(z) = log(1 + exp(beta z)) / beta,  f'(z) = 1 / (1 + exp(-beta z)); for beta z > threshold torch switches to f(z) = z,
    f'(z) = 1, and so do we. At that point itself the smooth side holds, and beta z is rounded as torch rounds it, in the input's
    precision (2.13). f jumps there by log(1 + exp(-threshold)) / beta.
    Computed as max(z, 0) + log(1 + exp(-|beta z|)) / beta, for beta < 0 with the minimum: nothing overflows, and both terms have
    one sign. What rounding takes from beta z is put back into exp. Raises ValueError for beta 0.
    """

    formula: ClassVar[str] = "log(1 + exp(beta z)) / beta"
    derivative_formula: ClassVar[str] = "1 / (1 + exp(-beta z))"
    widens_itself: ClassVar[bool] = True

    beta: float = 1.0
    threshold: float = 20.0

    def __post_init__(self) -> None:
        if self.beta == 0:
            raise ValueError("Softplus takes a beta other than 0, since it divides by it; got 0.")

    @property
    def range(self) -> Interval:  # type: ignore[override]  # the options choose
        end = min(self.threshold, 0.0) / self.beta
        return Interval(low=end) if self.beta > 0 else Interval(high=end)

    @property
    def kinks(self) -> tuple[Kink, ...]:
        at = np.array([self.threshold / self.beta])
        return (Kink(float(at[0]), float(self.derivative(at)[0])),)

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(beta=3.0, threshold=1.0)

    def _scaled(self, z: Array) -> tuple[Array, Array | None]:
        """Beta z as a rounded product and the rest, in float64, for z in the range that counts."""
        z, short = doubled(z)
        bound = 1500 / abs(self.beta)
        z = z.clip(-bound, bound)
        if short or exact.is_power_of_two(self.beta):
            z *= self.beta
            return z, None
        return exact.product(z, self.beta)

    def both(self, z: Array) -> tuple[Array, Array]:
        x, lost = self._scaled(z)
        down = np.abs(x)
        np.negative(down, out=down)
        if lost is not None:
            lost *= -np.sign(x)
        e = exact.exp(down.clip(exact.FLOOR, 0), lost)
        slope = choose(x > 0, 1, e, e.dtype)
        slope /= 1 + e
        exact.settle(x, slope)
        smooth = np.log1p(e, out=e)
        smooth /= self.beta
        exact.settle(down, smooth)
        smooth += positive_part(z) if self.beta > 0 else negative_part(z)
        linear = z * self.beta > self.threshold
        return choose(linear, z, smooth, smooth.dtype), choose(linear, 1, slope, slope.dtype)
