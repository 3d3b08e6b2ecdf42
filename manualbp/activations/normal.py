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

#: The largest a that counts: from there on a exp(-a^2 / 2) is 0 in float64, and in float32.
END, SHORT_END = 40.0, 15.0
CENTRE, SHORT_CENTRE = 5.0, 4.0

#: (1 + a) R(a) up to END, to 8e-17.
TAIL = (
    0.46151582985003775,
    -0.0915522818340088,
    0.03103036842596338,
    0.010002352385204274,
    -0.026401042966303377,
    0.024536963244480906,
    -0.015170415402300888,
    0.00652200065602172,
    -0.0016760723509154356,
    7.791692131159477e-06,
    0.0001823342156756057,
    -5.3608037514625635e-05,
    -9.896519380427111e-06,
    9.061184935388098e-06,
    -6.883972175738501e-08,
    -1.309925137980042e-06,
    1.2455844413329595e-07,
    1.9880186832899552e-07,
    -2.186097318751282e-08,
    -3.193142087507991e-08,
    3.5180215224753573e-10,
    3.977719908272422e-09,
    7.519514242694345e-10,
)

#: (R(a) - PEAK a) / (ZERO - a) up to END, to 7e-17: the zero is divided out.
SLOPE = (
    0.45143549526340543,
    -0.08979658026980374,
    0.06048781355387108,
    -0.0355351214691556,
    0.01780783155687853,
    -0.007334310928992292,
    0.0023021837236682605,
    -0.00044053062521156954,
    -1.5195775574740021e-05,
    4.064699469316224e-05,
    -9.20115524578482e-06,
    -1.9928245499192952e-06,
    1.3601160125965257e-06,
    2.162077619354095e-08,
    -1.6866227001757088e-07,
    1.214720768761118e-08,
    2.164526519826169e-08,
    -2.1805597019611642e-09,
    -2.7232391361716006e-09,
    1.6954157637577675e-10,
    2.2260867490766243e-10,
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
    t = a - CENTRE
    t /= a + CENTRE
    ratio = polynomial(t, TAIL)
    ratio /= a + 1
    slope = polynomial(t, SLOPE)
    np.subtract(ZERO, a, out=t)
    t += ZERO_REST
    slope *= t
    return ratio, slope
