"""The activations over the features of one sample: a list of series in, a list of series out."""

from collections.abc import Callable

from oracle.referee.activations import gelu, relu, silu
from oracle.referee.balls import Series, log1p, series, sigmoid, total
from oracle.referee.registry import define

Vector = list[Series]


def halves(x: Vector) -> tuple[Vector, Vector]:
    """The first half of the features and the second; raises ValueError for an odd number."""
    if len(x) % 2:
        raise ValueError(f"a gated unit takes an even number of features; got {len(x)}.")
    return x[: len(x) // 2], x[len(x) // 2 :]


def _largest(x: Vector) -> int:
    """Position of the largest feature, or nearly: any position is right, this one keeps exp from overflowing."""
    return max(range(len(x)), key=lambda i: x[i][0].mid())


def softmax(x: Vector) -> Vector:
    """exp(x_i) / sum_k exp(x_k), above and below divided by the largest exp."""
    top = _largest(x)
    powers = [series(1) if i == top else (s - x[top]).exp() for i, s in enumerate(x)]
    below = total(powers)
    return [p / below for p in powers]


def log_softmax(x: Vector) -> Vector:
    """x_i - log sum_k exp(x_k), with the largest exp taken out of the sum."""
    top = _largest(x)
    rest = log1p(total([(s - x[top]).exp() for i, s in enumerate(x) if i != top]))
    return [-rest if i == top else s - x[top] - rest for i, s in enumerate(x)]


define("Softmax", "features")(softmax)
define("Softmax2d", "features")(softmax)
define("LogSoftmax", "features")(log_softmax)


@define("Softmin", "features")
def softmin(x: Vector) -> Vector:
    return softmax([-s for s in x])


def _gated(x: Vector, act: Callable[[Series], Series]) -> Vector:
    return [act(a) * b for a, b in zip(*halves(x), strict=True)]


@define("GLU", "features")
def glu(x: Vector) -> Vector:
    return [a * sigmoid(b) for a, b in zip(*halves(x), strict=True)]


@define("SwiGLU", "features")
def swiglu(x: Vector) -> Vector:
    return _gated(x, silu)


@define("ReGLU", "features")
def reglu(x: Vector) -> Vector:
    return _gated(x, relu)


@define("GEGLU", "features")
def geglu(x: Vector, approximate: str = "none") -> Vector:
    return _gated(x, lambda z: gelu(z, approximate))
