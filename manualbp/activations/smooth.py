"""Activations with a derivative everywhere."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar, Self

import numpy as np

from manualbp import _special as special
from manualbp.blocks import Array
from manualbp.domains import Interval
from manualbp.layer import Elementwise, Kink


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """The logistic function.

    f(z) = 1 / (1 + exp(-z)),  f'(z) = f(z) (1 - f(z)).
    Since 1 - f(z) = f(-z), the derivative is computed as f(z) f(-z): torch's 1 - a cancels for z > 0 and is exactly 0
    from z = 37 on.
    """

    formula: ClassVar[str] = "1 / (1 + exp(-z))"
    derivative_formula: ClassVar[str] = "a (1 - a)"
    range: ClassVar[Interval] = Interval(0.0, 1.0)

    def value(self, z: Array) -> Array:
        return special.expit(z)

    def derivative(self, z: Array) -> Array:
        e = np.exp(-np.abs(z))
        return e / ((1 + e) * (1 + e))


@dataclass(frozen=True)
class Tanh(Elementwise):
    """The hyperbolic tangent.

    f(z) = (exp(z) - exp(-z)) / (exp(z) + exp(-z)),  f'(z) = 1 - f(z)^2.
    The derivative is computed as (1 - a) (1 + a), which rounds once less near |a| = 1.
    """

    formula: ClassVar[str] = "tanh(z)"
    derivative_formula: ClassVar[str] = "1 - a^2"
    range: ClassVar[Interval] = Interval(-1.0, 1.0)

    def value(self, z: Array) -> Array:
        return np.tanh(z)

    def derivative(self, z: Array) -> Array:
        e = np.exp(-2 * np.abs(z))
        return 4 * e / ((1 + e) * (1 + e))


@dataclass(frozen=True)
class Softplus(Elementwise):
    """A smooth ReLU.

    f(z) = log(1 + exp(beta z)) / beta,  f'(z) = sigmoid(beta z); for beta z > threshold torch switches to f(z) = z,
    f'(z) = 1, and so do we. At that point itself the smooth side holds. Raises ValueError for beta 0.
    """

    formula: ClassVar[str] = "log(1 + exp(beta z)) / beta"
    derivative_formula: ClassVar[str] = "1 / (1 + exp(-beta z))"
    range: ClassVar[Interval] = Interval(low=0.0)

    beta: float = 1.0
    threshold: float = 20.0

    def __post_init__(self) -> None:
        if self.beta == 0:
            raise ValueError("Softplus takes a beta other than 0, since it divides by it; got 0.")

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return (Kink(self.threshold / self.beta, float(special.expit(self.threshold))),)

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(beta=3.0, threshold=1.0)

    def value(self, z: Array) -> Array:
        scaled = self.beta * z
        smooth = np.log1p(np.exp(np.minimum(scaled, self.threshold))) / self.beta
        return np.where(scaled > self.threshold, z, smooth)

    def derivative(self, z: Array) -> Array:
        scaled = self.beta * z
        return np.where(scaled > self.threshold, z.dtype.type(1), special.expit(scaled))


@dataclass(frozen=True)
class GELU(Elementwise):
    """The Gaussian error linear unit: z times the probability that a standard normal number is below z.

    Let P and p be the distribution and the density of the standard normal.

    approximate="none":  f(z) = z P(z),  f'(z) = P(z) + z p(z).
    approximate="tanh":  f(z) = z (1 + t) / 2  with  t = tanh(u), u = sqrt(2 / pi) (z + 0.044715 z^3), and so
    f'(z) = (1 + t) / 2 + z (1 - t^2) / 2 * du/dz,  du/dz = sqrt(2 / pi) (1 + 3 * 0.044715 z^2).

    Raises ValueError for another `approximate`. Source: Hendrycks and Gimpel 2016, arXiv 1606.08415.
    """

    range: ClassVar[Interval] = Interval(low=-0.1701)

    approximate: str = "none"

    _CUBIC: ClassVar[float] = 0.044715

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise ValueError(f"GELU takes approximate 'none' or 'tanh'; got {self.approximate!r}.")

    @property
    def formula(self) -> str:  # type: ignore[override]  # the option chooses
        return "z P(z)" if self.approximate == "none" else "z (1 + t) / 2, t = tanh(sqrt(2/pi) (z + 0.044715 z^3))"

    @property
    def derivative_formula(self) -> str:  # type: ignore[override]
        if self.approximate == "none":
            return "P(z) + z p(z)"
        return "(1 + t)/2 + z (1 - t^2)/2 sqrt(2/pi) (1 + 0.134145 z^2)"

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(approximate="tanh")

    def _tanh(self, z: Array) -> Array:
        return np.tanh(sqrt(2 / pi) * z * (1 + self._CUBIC * z * z))

    def value(self, z: Array) -> Array:
        below = special.ndtr(z) if self.approximate == "none" else (1 + self._tanh(z)) / 2
        return z * below

    def derivative(self, z: Array) -> Array:
        if self.approximate == "none":
            density = np.exp(z * z / -2) / sqrt(2 * pi)
            return special.ndtr(z) + z * density
        t = self._tanh(z)
        du_dz = sqrt(2 / pi) * (1 + 3 * self._CUBIC * z * z)
        return (1 + t) / 2 + z * (1 - t) * (1 + t) / 2 * du_dz
