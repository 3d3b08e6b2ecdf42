"""The activations that act on each element alone, as torch's documentation defines them: a series in, a series out.

Most are one line; where an identity stands for the printed form, it is named.
"""

from flint import arb, arb_series

from oracle.referee.balls import (
    Number,
    Series,
    constant,
    expm1,
    joint,
    log_sigmoid,
    maximum,
    minimum,
    series,
    sigmoid,
    softplus,
    tanh,
)
from oracle.referee.registry import NoDefinition, define


@define("Identity")
def identity(z: Series) -> Series:
    return z


@define("ReLU")
def relu(z: Series) -> Series:
    return maximum(z, 0)


@define("ReLU6")
def relu6(z: Series) -> Series:
    return minimum(maximum(z, 0), 6)


@define("LeakyReLU")
def leaky_relu(z: Series, negative_slope: float = 0.01) -> Series:
    return joint(z, 0, lambda: z * negative_slope, lambda: z)


@define("PReLU", parameters=("weight",))
def prelu(z: Series, weight: Series) -> Series:
    return joint(z, 0, lambda: z * weight, lambda: z)


@define("RReLU", parameters=("slope",))
def rrelu(z: Series, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, slope: Series | None = None) -> Series:
    """In evaluation the slope is the middle of the two bounds; a training run hands over the slopes it drew."""
    if training and slope is None:
        raise NoDefinition("the referee's RReLU takes the slopes a training run drew, as the parameter slope; got none.")
    middle = (arb(lower) + arb(upper)) / 2 if slope is None else slope
    return joint(z, 0, lambda: z * middle, lambda: z)


@define("Hardtanh")
def hardtanh(z: Series, min_val: float = -1.0, max_val: float = 1.0) -> Series:
    return joint(z, max_val, lambda: maximum(z, min_val), lambda: series(max_val))


@define("Hardsigmoid")
def hardsigmoid(z: Series) -> Series:
    return joint(z, 3, lambda: joint(z, -3, lambda: series(0), lambda: (z + 3) / 6), lambda: series(1))


@define("Hardswish")
def hardswish(z: Series) -> Series:
    return joint(z, 3, lambda: joint(z, -3, lambda: series(0), lambda: z * (z + 3) / 6), lambda: z)


@define("Hardshrink")
def hardshrink(z: Series, lambd: float = 0.5) -> Series:
    def inside() -> Series:
        return joint(z, -lambd, lambda: z, lambda: series(0), closed_above=True)

    return joint(z, lambd, inside, lambda: z)


@define("Softshrink")
def softshrink(z: Series, lambd: float = 0.5) -> Series:
    return joint(z, lambd, lambda: joint(z, -lambd, lambda: z + lambd, lambda: series(0)), lambda: z - lambd)


@define("Threshold")
def threshold(z: Series, threshold: float, value: float) -> Series:
    return joint(z, threshold, lambda: series(value), lambda: z)


@define("ELU")
def elu(z: Series, alpha: float = 1.0) -> Series:
    return joint(z, 0, lambda: expm1(z) * alpha, lambda: z)


@define("CELU")
def celu(z: Series, alpha: float = 1.0) -> Series:
    """max(0, z) + min(0, alpha (exp(z / alpha) - 1)); the second term has the sign of z."""
    return joint(z, 0, lambda: expm1(z / alpha) * alpha, lambda: z)


@define("SELU")
def selu(z: Series) -> Series:
    alpha, scale = constant("1.6732632423543772848170429916717"), constant("1.0507009873554804934193349852946")
    return joint(z, 0, lambda: expm1(z) * (scale * alpha), lambda: z * scale)


@define("Sigmoid")
def logistic(z: Series) -> Series:
    return sigmoid(z)


@define("LogSigmoid")
def logsigmoid(z: Series) -> Series:
    return log_sigmoid(z)


@define("SiLU")
def silu(z: Series) -> Series:
    return z * sigmoid(z)


@define("Mish")
def mish(z: Series) -> Series:
    return z * tanh(softplus(z))


@define("Tanh")
def hyperbolic_tangent(z: Series) -> Series:
    return tanh(z)


@define("Tanhshrink")
def tanhshrink(z: Series) -> Series:
    return z - tanh(z)


@define("Softsign")
def softsign(z: Series) -> Series:
    """The number z / (1 + |z|). The two halves meet at 0 with one slope."""
    return joint(z, 0, lambda: z / (1 - z), lambda: z / (1 + z))


@define("Softplus")
def soft_plus(z: Series, beta: float = 1.0, threshold: float = 20.0) -> Series:
    """log(1 + exp(beta z)) / beta, and z itself where beta z > threshold."""
    scaled = z * beta
    return joint(scaled, threshold, lambda: softplus(scaled) / beta, lambda: z)


@define("GELU")
def gelu(z: Series, approximate: str = "none") -> Series:
    """As z times the normal distribution function, which is erfc(-z / sqrt 2) / 2; or z (1 + tanh u) / 2 = z sigmoid(2u)."""
    if approximate == "none":
        return z * _normal(z)
    u = (z + z * z * z * constant("0.044715")) * constant(_root_2_over_pi)
    return z * sigmoid(2 * u)


def _normal(z: Series) -> Series:
    return arb_series.erfc(z * constant(_minus_root_half)) / 2


def _root_2_over_pi() -> Number:
    return (2 / arb.pi()).sqrt()


def _minus_root_half() -> Number:
    return -(arb(1) / 2).sqrt()
