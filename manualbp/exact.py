"""Sums and products without rounding error: each is a float64 and what was lost in rounding to it, again a float64.

A rounded argument is harmless in most functions and ruinous in exp: exp(x (1 + d)) = exp(x) exp(x d), so a relative error d
of the argument is an error x d of the result, hundreds of ulps near overflow. With the argument as a sum hi + lo of a
rounded number and its error, exp(hi + lo) = exp(hi) (1 + lo) up to lo^2, which is far below rounding.

References
    T. J. Dekker, A floating-point technique for extending the available precision, Numerische Mathematik 18 (1971), 224-242;
    the splitting is Veltkamp's, from the same paper.
"""

from collections.abc import Sequence
from math import frexp

import numpy as np

from manualbp.blocks import Array

#: 2^27 + 1: multiplying by it and subtracting leaves the upper 26 of the 53 bits.
_SPLITTER = 134217729.0


def split(a: Array) -> tuple[Array, Array]:
    """Cut a = high + low exactly, each of at most 26 bits, so that products of halves are exact. For |a| below 1e300."""
    shifted = a * _SPLITTER
    high = shifted - (shifted - a)
    return high, a - high


def product(a: Array, b: float) -> tuple[Array, Array]:
    """Multiply: a b = hi + lo exactly: hi is the rounded product, lo what the four products of the halves leave over."""
    hi = a * b
    a1, a2 = split(a)
    b1, b2 = split(np.float64(b))  # type: ignore[arg-type]
    lo = a1 * b1
    lo -= hi
    lo += a1 * b2
    lo += a2 * b1
    lo += a2 * b2
    return hi, lo


def square(a: Array) -> tuple[Array, Array]:
    """a^2 = hi + lo exactly: with a = a1 + a2, a^2 = a1^2 + a2 (a + a1)."""
    hi = a * a
    a1, a2 = split(a)
    lo = a1 * a1
    lo -= hi
    a1 += a
    a1 *= a2
    lo += a1
    return hi, lo


def add(a: Array, b: Array) -> tuple[Array, Array]:
    """Add: a + b = hi + lo exactly, for |a| >= |b| or a = 0: hi is the rounded sum. Uses up both arrays."""
    hi = a + b
    a -= hi
    b += a
    return hi, b


def quotient(a: Array, b: float) -> tuple[Array, Array]:
    """Divide: a / b = hi + lo, where hi is the rounded quotient, and lo the remainder a - hi b, which is exact, over b."""
    hi = a / b
    back, lost = product(hi, b)
    lo = a - back
    lo -= lost
    lo /= b
    return hi, lo


def exp(x: Array, lost: Array | None) -> Array:
    """The exponential of x + lost, with x rounded and `lost` what rounding took, None for nothing. Uses up both arrays."""
    e = np.exp(x, out=x)
    if lost is not None:
        lost *= e
        e += lost
    return e


def is_power_of_two(b: float) -> bool:
    """True when products with b and quotients by b are exact anyhow (but for underflow)."""
    return abs(frexp(b)[0]) == 0.5


#: exp(FLOOR) is about 1e-304: a little further down exp loses bits, and from -745 on it is 0.
#: Of the numbers near -700 it is one whose exponential is a float64 nearly exactly: products begin with it.
FLOOR = -701.921875


class Tail:
    """The last factor of products made with exp(max(x, FLOOR)): what is missing to exp(x), where anything is below FLOOR.

    A factor in front of exp(x) would multiply the bits that a subnormal exp(x) has lost. x - FLOOR is exact where it counts.
    """

    def __init__(self, x: Array) -> None:
        self.low = x < FLOOR
        self.empty = not np.count_nonzero(self.low)
        if not self.empty:
            rest = x[self.low] - FLOOR
            # In two steps, since exp(rest) may underflow as well; nearly always the second is 1.
            self.steps = np.exp(rest.clip(FLOOR, 0)), np.exp((rest - FLOOR).clip(-np.inf, 0))

    def settle(self, product: Array, *factors: Array) -> Array:
        """Multiply the product by the factors, in their order, and then by what is missing, in place."""
        held = None if self.empty else product[self.low]
        for factor in factors:
            product *= factor
        if held is not None:
            for factor in (*self._largest_first(factors), *self.steps):
                held *= factor
            product[self.low] = held
        return product

    def _largest_first(self, factors: Sequence[Array]) -> Sequence[Array]:
        """The factors below FLOOR, the larger of each element first: a smaller one first may make the product subnormal."""
        low = [factor[self.low] for factor in factors]
        if len(low) < 2:
            return low
        table = np.stack(low)
        return np.take_along_axis(table, np.argsort(-np.abs(table), axis=0), axis=0)  # type: ignore[return-value]


#: Of products in which nothing is missing.
NO_TAIL = Tail(np.empty(0))


def settle(x: Array, *products: Array) -> None:
    """Let underflow come last: multiply products made with exp(max(x, FLOOR)) by what is missing to exp(x), in place."""
    tail = Tail(x)
    for product in products:
        tail.settle(product)
