"""z times a smooth step of z: SiLU (swish) and Mish."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from manualbp import exact
from manualbp.activations.sigmoids import Tailed
from manualbp.blocks import Array
from manualbp.domains import Interval
from manualbp.layer import Elementwise


@dataclass(frozen=True)
class SiLU(Tailed):
    """The sigmoid linear unit, also called swish: z times its own sigmoid.

    With s the sigmoid:  f(z) = z s(z),  f'(z) = s(z) (1 + z s(-z)).
    With e = exp(z) that is f'(z) = s(z) (1 + z + e) / (1 + e). It cancels only at its zero, z = -1.28, where 1 + z is exact.
    At -infinity torch gives NaN for both (2.13), the limits are 0.
    """

    formula: ClassVar[str] = "z / (1 + exp(-z))"
    derivative_formula: ClassVar[str] = "s (1 + z (1 - s)), s = 1 / (1 + exp(-z))"
    range: ClassVar[Interval] = Interval(low=-0.2785)

    def held(self, z: Array) -> tuple[Array, exact.Tail, Array, exact.Tail]:
        slope = z.clip(-3000, 50)  # at 50, s(z) = 1 and f'(z) = 1
        e = slope.clip(exact.FLOOR, 50)
        np.exp(e, out=e)
        slope += 1
        slope += e
        total = 1 + e
        slope /= total
        e /= total
        slope *= e
        e *= z.clip(-3000, np.inf)
        tail = exact.Tail(z)
        return e, tail, slope, tail


@dataclass(frozen=True)
class Mish(Elementwise):
    """z times the hyperbolic tangent of its softplus.

    f(z) = z t with t = tanh(log(1 + exp(z))),  f'(z) = t + z s(z) (1 - t^2) with s the sigmoid.
    With e = exp(z) and w = e (e + 2), t = w / (w + 2), of positive numbers only, and
    f'(z) = e (4 (1 + z) + e (6 + 4z) + 4 e^2 + e^3) / (w + 2)^2, which cancels only at its zero, z = -1.19.
    At -infinity torch gives NaN for both (2.13), the limits are 0. Source: Misra 2019, arXiv 1908.08681.
    """

    formula: ClassVar[str] = "z tanh(log(1 + exp(z)))"
    derivative_formula: ClassVar[str] = "t + z s (1 - t^2), t = tanh(log(1 + exp(z))), s = 1 / (1 + exp(-z))"
    range: ClassVar[Interval] = Interval(low=-0.309)

    def value(self, z: Array) -> Array:
        e = z.clip(exact.FLOOR, 40)
        np.exp(e, out=e)
        w = e + 2
        w *= e
        w /= w + 2
        w *= z.clip(-1500, np.inf)
        exact.settle(z, w)
        return w

    def derivative(self, z: Array) -> Array:
        bounded = z.clip(-1500, 45)
        e = bounded.clip(exact.FLOOR, 45)
        np.exp(e, out=e)
        np.minimum(e, 2.0**64, out=e)  # a power of two, so that the limit is exactly 1
        bounded *= 4
        slope = e + 4
        slope *= e
        slope += 6
        slope += bounded
        slope *= e
        bounded += 4
        slope += bounded
        slope *= e
        total = e + 2
        total *= e
        total += 2
        slope /= total
        slope /= total
        exact.settle(z, slope)
        return slope
