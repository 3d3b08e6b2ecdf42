"""The Gaussian error linear unit, exact and with the tanh in place of the normal distribution."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from manualbp import exact
from manualbp.activations import normal
from manualbp.activations.sigmoids import Tailed
from manualbp.blocks import Array, choose, doubled, positive_part
from manualbp.domains import Interval


class _Form(ABC):
    """One of the two functions. `short` says that z, a float64, comes from a float32."""

    formula: ClassVar[str]
    derivative_formula: ClassVar[str]

    @abstractmethod
    def held(self, z: Array, *, short: bool) -> tuple[Array, Array, exact.Tail]:
        """f(z), f'(z), and the last factor that is still missing in both."""


class _Exact(_Form):
    """With a = |z| and P(-a) = exp(-a^2/2) R(a):  f(z) = max(z, 0) - a P(-a), and f' = P(-a) - a p(a) for z < 0, 1 minus that
    for z > 0. Nothing cancels but in the zero of f', and that zero is divided out of the polynomial.
    """

    formula = "z P(z)"
    derivative_formula = "P(z) + z p(z)"

    def parts(self, a: Array) -> tuple[Array, Array, Array]:
        """The parts a P(-a) and P(-a) - a p(a) and x = -a^2/2, which must be known exactly, and where exp(x) may underflow."""
        x, lost = exact.square(a)
        x *= -0.5
        lost *= -0.5
        bell = exact.exp(x.clip(exact.FLOOR, 0), lost)
        below, slope = normal.pair(a)
        below *= a
        below *= bell
        slope *= bell
        return below, slope, x

    def short(self, z: Array) -> tuple[Array, Array]:
        """f(z) and f'(z) as they are defined, where z comes from a float32: a^2 is exact, and nothing underflows in float64."""
        bounded = z.clip(-normal.SHORT_END, 2.0**128)  # which float32 rounds to infinity
        probability, slope = normal.short_tail(np.abs(bounded))
        above = (z > 0).astype(z.dtype)  # a sum of bools and floats would take longer
        np.subtract(above, probability, out=probability)  # P(z) = 1 - P(-z)
        np.abs(probability, out=probability)
        slope *= bounded
        slope += probability
        bounded *= probability
        return bounded, slope

    def held(self, z: Array, *, short: bool) -> tuple[Array, Array, exact.Tail]:
        if short:
            return *self.short(z), exact.NO_TAIL
        a = z.clip(-normal.END, 10)  # at 10, f(z) = z and f'(z) = 1
        np.abs(a, out=a)
        below, slope, x = self.parts(a)
        value = np.subtract(positive_part(z), below, out=below)
        return value, choose(z > 0, 1 - slope, slope, slope.dtype), exact.Tail(x)


class _Tanh(_Form):
    """(1 + tanh u) / 2 is the sigmoid of v = 2u, so f(z) = z / (1 + exp(-v)), and with e = exp(v)
    f'(z) = e (1 + e + z v') / (1 + e)^2, in which nothing cancels but in its zero, where 1 + z v' is exact up to a small rest.

    v = LINE z + CUBE z^3 and z v' = LINE z + 3 CUBE z^3. |v| reaches 750 before exp(v) underflows, so v must be known to more
    than 53 bits. z is cut into a multiple of 1/256 and a rest; the constants into a multiple of a power of two and a rest.
    """

    formula = "z (1 + t) / 2, t = tanh(sqrt(2/pi) (z + 0.044715 z^3))"
    derivative_formula = "(1 + t)/2 + z (1 - t^2)/2 sqrt(2/pi) (1 + 0.134145 z^2)"

    #: sqrt(8 / pi) and 0.044715 sqrt(8 / pi).
    LINE, CUBE = 1.5957691216057308, 0.07135481627260025
    LINE_HIGH, LINE_LOW = 27415104757 / 2**34, 3.0874305383944692e-12
    CUBE_HIGH, CUBE_LOW = 18705 / 2**18, 9.039190846237764e-07
    #: Added and subtracted again, it leaves a multiple of 1/256.
    GRID = 1.5 * 2.0**44

    def odd(self, z: Array, times: int) -> tuple[Array, Array]:
        """LINE z + times CUBE z^3 as a sum: the first part exact for |z| <= 20, and for times = 1 up to 30, the second small."""
        head = z + self.GRID
        head -= self.GRID
        cube = head * head
        small = head + z  # z^3 - head^3 = (z - head) (z^2 + z head + head^2)
        small *= z
        small += cube
        small *= times * self.CUBE
        small += self.LINE
        small *= z - head
        cube *= head
        small += cube * (times * self.CUBE_LOW)
        small += head * self.LINE_LOW
        cube *= times * self.CUBE_HIGH
        head *= self.LINE_HIGH
        cube += head
        return cube, small

    def short_odd(self, z: Array, times: int) -> Array:
        """LINE z + times CUBE z^3, rounded: good enough where z comes from a float32."""
        odd = z * z
        odd *= times * self.CUBE
        odd += self.LINE
        odd *= z
        return odd

    def exponential(self, z: Array, *, short: bool) -> tuple[Array, Array]:
        """exp(v), cut off at exp(FLOOR), and v itself."""
        if short:
            v = self.short_odd(z, 1)
            return np.exp(v.clip(exact.FLOOR, 50)), v
        v, lost = exact.add(*self.odd(z, 1))
        return exact.exp(v.clip(exact.FLOOR, 50), lost), v

    def held(self, z: Array, *, short: bool) -> tuple[Array, Array, exact.Tail]:
        bounded = z.clip(-32, 8)  # at 8, f(z) = z and f'(z) = 1
        e, v = self.exponential(bounded, short=short)
        slope, small = (self.short_odd(bounded, 3), 0.0) if short else self.odd(bounded, 3)
        slope += 1
        slope += small + e
        total = 1 + e
        slope /= total
        e /= total
        slope *= e
        e *= z.clip(-32, np.inf)
        return e, slope, exact.Tail(v)


@dataclass(frozen=True)
class GELU(Tailed):
    """The Gaussian error linear unit: z times the probability that a standard normal number is below z.

    Let P and p be the distribution and the density of the standard normal.

    approximate="none":  f(z) = z P(z),  f'(z) = P(z) + z p(z).
    approximate="tanh":  f(z) = z (1 + t) / 2  with  t = tanh(u), u = sqrt(2 / pi) (z + 0.044715 z^3), and so
    f'(z) = (1 + t) / 2 + z (1 - t^2) / 2 * du/dz,  du/dz = sqrt(2 / pi) (1 + 3 * 0.044715 z^2).

    At -infinity torch gives NaN for both, at +infinity for the derivative (2.13); the limits are 0 and 1.
    How each is computed stands with the two forms above: z P(z) and 1 + t would cancel for z < 0.
    Raises ValueError for another `approximate`. Source: Hendrycks and Gimpel 2016, arXiv 1606.08415.
    """

    range: ClassVar[Interval] = Interval(low=-0.171)
    widens_itself: ClassVar[bool] = True

    approximate: str = "none"

    _FORMS: ClassVar[Mapping[str, _Form]] = {"none": _Exact(), "tanh": _Tanh()}

    def __post_init__(self) -> None:
        if self.approximate not in self._FORMS:
            raise ValueError(f"GELU takes approximate 'none' or 'tanh'; got {self.approximate!r}.")

    @property
    def formula(self) -> str:  # type: ignore[override]  # the option chooses
        return self._FORMS[self.approximate].formula

    @property
    def derivative_formula(self) -> str:  # type: ignore[override]
        return self._FORMS[self.approximate].derivative_formula

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(approximate="tanh")

    def held(self, z: Array) -> tuple[Array, exact.Tail, Array, exact.Tail]:
        z, short = doubled(z)
        value, slope, tail = self._FORMS[self.approximate].held(z, short=short)
        return value, tail, slope, tail
