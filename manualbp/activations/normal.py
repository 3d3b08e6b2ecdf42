"""The normal distribution far into its tail, where 1 - P(z) would be nothing but rounding error.

P and p are the distribution function and the density of the standard normal, a >= 0, and

    R(a) = P(-a) / exp(-a^2 / 2).

P(-a) spans 350 powers of ten, R only falls from 1/2 to 0.4 / a: it is Mills' ratio over sqrt(2 pi). What is fitted below
is R made flatter still, as a polynomial in t = (a - CENTRE) / (a + CENTRE): Chebyshev interpolation, done in 60 digits.
Such a polynomial is its first coefficient and little else, and its rounding error as small.
"""

import numpy as np

from manualbp.blocks import Array, polynomial

#: The density at 0, 1 / sqrt(2 pi).
PEAK = 0.3989422804014327
#: Where P(-a) = a p(a), as a double and the rest: GELU' is zero at -ZERO.
ZERO, ZERO_REST = 0.7517915246935645, -1.4956759177009883e-17

#: The largest a that counts: from there on a exp(-a^2 / 2) is 0, in float64 even after a factor of 1e308, and in float32.
END, SHORT_END = 56.0, 15.0
CENTRE, SHORT_CENTRE = 5.0, 4.0
#: Makes (SHIFT + a) R(a) nearly flat, and not round badly: neither SHIFT nor half of it is just above a power of two.
SHIFT = 1.25

#: ((SHIFT + a) R(a) - SHIFT / 2) / w with w = a / (a + CENTRE) up to END, to 6e-17: where a is small, so is its rounding error.
TAIL = (
    -0.2885086878124213,
    0.03367534651239757,
    0.08641979628253262,
    -0.10685703014416924,
    0.07798262035356385,
    -0.04061564410913204,
    0.014770498581238604,
    -0.0029159194361397835,
    -0.00032644990711953696,
    0.00040917161003572355,
    -7.471689731665919e-05,
    -3.201797313456228e-05,
    1.5547269340024285e-05,
    1.938247757767951e-06,
    -2.4144763591935392e-06,
    -8.004751241345833e-08,
    3.7079940062997404e-07,
    3.0051330554445087e-09,
    -5.717524840002132e-08,
    -1.654004572699105e-09,
    7.417294685374994e-09,
    4.451155972328234e-10,
    -4.87512437686809e-10,
)

#: (R(a) - PEAK a) / (ZERO - a) up to END, to 4e-17: the zero is divided out.
SLOPE = (
    0.45143549526340543,
    -0.08979658026980379,
    0.06048781355387202,
    -0.035535121469150596,
    0.017807831556840122,
    -0.007334310929125932,
    0.002302183724263765,
    -0.00044053062354383144,
    -1.5195780103427715e-05,
    4.0646983183148065e-05,
    -9.201136565468487e-06,
    -1.992777187025237e-06,
    1.3600739209728052e-06,
    2.1501790978991405e-08,
    -1.6861740967117274e-07,
    1.2325992953710462e-08,
    2.164312091264411e-08,
    -2.328037869974369e-09,
    -2.7605942949374487e-09,
    2.2087202632520438e-10,
    2.4567399552765976e-10,
)

#: (a + SHORT_CENTRE) R(a) up to SHORT_END as a polynomial in 1 / (a + SHORT_CENTRE), to 1.3e-8, a quarter of float32's
#: unit roundoff.
SHORT_TAIL = (
    0.3989990214533817,
    1.5912570573449356,
    6.135256662849601,
    17.989857840253652,
    94.13846515778953,
    9.831868712208882,
    677.77019323102,
    2725.5954692271957,
    -15301.60217113637,
    16506.519915514098,
)


def short_pair(a: Array) -> tuple[Array, Array]:
    """R(a) and R(a) - PEAK a for 0 <= a <= SHORT_END, for float32."""
    inverse = a + SHORT_CENTRE
    np.divide(1, inverse, out=inverse)
    ratio = polynomial(inverse, SHORT_TAIL)
    ratio *= inverse
    return ratio, ratio - PEAK * a


def pair(a: Array) -> tuple[Array, Array]:
    """R(a) and R(a) - PEAK a for 0 <= a <= END, for float64, both to the last bits."""
    w = a / (a + CENTRE)
    t = w + w
    t -= 1
    ratio = polynomial(t, TAIL)
    ratio *= w
    ratio += SHIFT / 2
    ratio /= a + SHIFT
    slope = polynomial(t, SLOPE)
    np.subtract(ZERO, a, out=t)
    t += ZERO_REST
    slope *= t
    return ratio, slope
