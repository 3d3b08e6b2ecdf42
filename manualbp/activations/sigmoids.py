"""The sigmoid and its relatives: smooth steps, and the functions made of them."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from manualbp import exact
from manualbp.blocks import Array, choose, negative_part, polynomial
from manualbp.domains import NEGATIVE, UNIT, Interval
from manualbp.layer import Elementwise, SharedElementwise


def decay(z: Array) -> Array:
    """exp(-|z|) as a new array."""
    e = np.abs(z)
    np.negative(e, out=e)
    return np.exp(e, out=e)


class Tailed(SharedElementwise):
    """An activation that falls off like an exponential, below all numbers of float64, where a large factor would bring it back.

    A gate is such a factor: it has to be multiplied in before the exponential's last factor (`exact.Tail`), not after it.
    """

    @abstractmethod
    def held(self, z: Array) -> tuple[Array, exact.Tail, Array, exact.Tail]:
        """g(z) and g'(z) as new arrays, each followed by the last factor that is still missing in it."""

    def both(self, z: Array) -> tuple[Array, Array]:
        return self.scaled(z)

    def scaled(self, z: Array, by_value: Sequence[Array] = (), by_slope: Sequence[Array] = ()) -> tuple[Array, Array]:
        """g(z) times the first factors, and g'(z) times the second."""
        value, value_tail, slope, slope_tail = self.held(z)
        return value_tail.settle(value, *by_value), slope_tail.settle(slope, *by_slope)


@dataclass(frozen=True)
class Sigmoid(Tailed):
    """The logistic function.

    f(z) = 1 / (1 + exp(-z)),  f'(z) = f(z) (1 - f(z)).
    With e = exp(z), f(z) = e / (1 + e) and 1 - f(z) = 1 / (1 + e), so f'(z) = f(z) / (1 + e), in which nothing cancels:
    torch's 1 - a does for z > 0, and is exactly 0 from z = 37 on (2.13).
    """

    formula: ClassVar[str] = "1 / (1 + exp(-z))"
    derivative_formula: ClassVar[str] = "a (1 - a)"
    range: ClassVar[Interval] = UNIT

    def held(self, z: Array) -> tuple[Array, exact.Tail, Array, exact.Tail]:
        e = z.clip(exact.FLOOR, -exact.FLOOR)
        np.exp(e, out=e)
        total = 1 + e
        e /= total
        np.divide(e, total, out=total)
        both_ends = np.abs(z)  # for large z, f'(z) is exp(-z)
        tail = exact.Tail(np.negative(both_ends, out=both_ends))
        return e, tail if tail.empty else exact.Tail(z), total, tail


@dataclass(frozen=True)
class LogSigmoid(SharedElementwise):
    """The logarithm of the sigmoid.

    f(z) = log(1 / (1 + exp(-z))) = min(z, 0) - log(1 + exp(-|z|)),  f'(z) = 1 / (1 + exp(z)).
    Written with exp(-|z|), neither overflows, and the two terms of f have one sign.
    """

    formula: ClassVar[str] = "-log(1 + exp(-z))"
    derivative_formula: ClassVar[str] = "1 / (1 + exp(z))"
    range: ClassVar[Interval] = NEGATIVE

    def both(self, z: Array) -> tuple[Array, Array]:
        e = decay(z)
        slope = choose(z < 0, 1, e, e.dtype)
        slope /= 1 + e
        np.log1p(e, out=e)
        return np.subtract(negative_part(z), e, out=e), slope


@dataclass(frozen=True)
class Tanh(Elementwise):
    """The hyperbolic tangent.

    f(z) = (exp(z) - exp(-z)) / (exp(z) + exp(-z)),  f'(z) = 1 - f(z)^2 = 1 / cosh(z)^2.
    The derivative is computed as (1 / cosh(z))^2: torch's 1 - a^2 cancels, and is 0 from z = 19 on.
    """

    formula: ClassVar[str] = "tanh(z)"
    derivative_formula: ClassVar[str] = "1 - a^2"
    range: ClassVar[Interval] = Interval(-1.0, 1.0)

    def value(self, z: Array) -> Array:
        return np.tanh(z)

    def derivative(self, z: Array) -> Array:
        slope = np.cosh(z)
        np.divide(1, slope, out=slope)
        slope *= slope
        return slope


@dataclass(frozen=True)
class Tanhshrink(Elementwise):
    """What the hyperbolic tangent takes away: z - tanh(z).

    f(z) = z - tanh(z),  f'(z) = tanh(z)^2.
    For small z the difference cancels. There tanh(z) is z P(z^2) / Q(z^2), a convergent of Lambert's continued fraction
    z / (1 + z^2 / (3 + z^2 / (5 + ...))), and f(z) = z (Q - P) / Q, in which all coefficients are positive.
    """

    formula: ClassVar[str] = "z - tanh(z)"
    derivative_formula: ClassVar[str] = "tanh(z)^2"

    #: (Q - P) / z^2 and Q as polynomials of z^2, for the tenth convergent.
    _DIFFERENCE: ClassVar[tuple[float, ...]] = (218243025, 16081065, 289575, 1430, 1)
    _DENOMINATOR: ClassVar[tuple[float, ...]] = (654729075, 310134825, 18918900, 315315, 1485, 1)

    def value(self, z: Array) -> Array:
        small = z.clip(-1.25, 1.25)
        s = small * small
        ratio = polynomial(s, self._DIFFERENCE)
        ratio /= polynomial(s, self._DENOMINATOR)
        ratio *= s
        ratio *= small
        return choose(small == z, ratio, z - np.tanh(z), z.dtype)

    def derivative(self, z: Array) -> Array:
        a = np.tanh(z)
        a *= a
        return a


@dataclass(frozen=True)
class Softsign(Elementwise):
    """A sigmoid with algebraic tails, which saturates far more slowly.

    f(z) = z / (1 + |z|),  f'(z) = 1 / (1 + |z|)^2. At 0 the two halves join smoothly.
    From |z| = 2^55 on f is 1 or -1 in float64, also at infinity, where torch gives NaN (2.13).
    """

    formula: ClassVar[str] = "z / (1 + |z|)"
    derivative_formula: ClassVar[str] = "1 / (1 + |z|)^2"
    range: ClassVar[Interval] = Interval(-1.0, 1.0)

    def value(self, z: Array) -> Array:
        bounded = z.clip(-(2.0**55), 2.0**55)
        total = np.abs(bounded)
        total += 1
        bounded /= total
        return bounded

    def derivative(self, z: Array) -> Array:
        r = np.abs(z)
        r += 1
        np.divide(1, r, out=r)
        r *= r
        return r
