"""Sums and products without rounding error: each is a float64 and what was lost in rounding to it, again a float64.

A rounded argument is harmless in most functions and ruinous in exp: exp(x (1 + d)) = exp(x) exp(x d), so a relative error d
of the argument is an error x d of the result, hundreds of ulps near overflow. With the argument as a sum hi + lo of a
rounded number and its error, exp(hi + lo) = exp(hi) (1 + lo) up to lo^2, which is far below rounding.

References
    T. J. Dekker, A floating-point technique for extending the available precision, Numerische Mathematik 18 (1971), 224-242;
    the splitting is Veltkamp's, from the same paper.
"""

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
FLOOR = -700.0


def settle(x: Array, *products: Array) -> None:
    """Let underflow come last: multiply products made with exp(max(x, FLOOR)) by what is missing to exp(x), in place.

    A factor in front of exp(x) would multiply the bits that a subnormal exp(x) has lost. x - FLOOR is exact where it counts.
    """
    low = x < FLOOR
    if low.any():
        rest = np.exp(x[low] - FLOOR)
        for product in products:
            product[low] *= rest
