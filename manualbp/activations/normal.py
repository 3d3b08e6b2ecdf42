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

#: The largest a that counts: from there on a exp(-a^2 / 2) is 0, in float64 even after two factors of 1e308, and in float32.
END, SHORT_END = 68.0, 15.0
CENTRE = 5.0
#: Makes (SHIFT + a) R(a) nearly flat, and not round badly: neither SHIFT nor half of it is just above a power of two.
SHIFT = 1.25

#: ((SHIFT + a) R(a) - SHIFT / 2) / w with w = a / (a + CENTRE) up to END, to 4e-17: where a is small, so is its rounding error.
TAIL = (
    -0.28850868781242134,
    0.033675346512397494,
    0.08641979628253363,
    -0.10685703014416159,
    0.07798262035351651,
    -0.040615644109366474,
    0.014770498582070869,
    -0.0029159194328140957,
    -0.00032644991435176713,
    0.0004091715839227717,
    -7.471686270627355e-05,
    -3.2017849271341134e-05,
    1.554717614894648e-05,
    1.937878279611809e-06,
    -2.4143489162676983e-06,
    -7.93501832715065e-08,
    3.707678673454445e-07,
    2.197399691413162e-09,
    -5.732112955634484e-08,
    -1.1302138437351102e-09,
    7.602682740663744e-09,
    2.99579605803416e-10,
    -5.586805568499964e-10,
)

#: (R(a) - PEAK a) / (ZERO - a) up to END, to 4e-17: the zero is divided out.
SLOPE = (
    0.45143549526340543,
    -0.08979658026980383,
    0.06048781355387208,
    -0.035535121469146995,
    0.01780783155683831,
    -0.007334310929208991,
    0.0023021837242796486,
    -0.0004405306226687749,
    -1.5195780095435476e-05,
    4.0646978158114785e-05,
    -9.201137379672939e-06,
    -1.9927601281610565e-06,
    1.3600788322904882e-06,
    2.146657070116201e-08,
    -1.6863132937091792e-07,
    1.2369465761350872e-08,
    2.1664342269373876e-08,
    -2.3575465312538247e-09,
    -2.7773888388564313e-09,
    2.2934904219115626e-10,
    2.5109791998265064e-10,
)

#: Mills' ratio P(-a) / p(a) up to SHORT_END is one of these polynomials over the other, to 7e-9, an eighth of float32's unit
#: roundoff, and exactly at ZERO.
ABOVE = (121.58574343021806, 106.57467242006051, 44.5480674943984, 9.876318512463817, 1.000011286094981)
BELOW = (97.01138682403186, 162.43821857732402, 116.64498182770082, 45.53367962058886, 9.876933245715913, 1.0)


def short_tail(a: Array) -> tuple[Array, Array]:
    """P(-a) and p(a) for 0 <= a, as far as float32 can tell; beyond SHORT_END both are 0 to it."""
    density = a * a
    density *= -0.5
    np.exp(density, out=density)
    density *= PEAK
    tail = polynomial(a, ABOVE)
    tail /= polynomial(a, BELOW)
    tail *= density
    return tail, density


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
