"""Mistakes in the formula of a derivative: a term, a factor or a constant that is missing, or another function's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from manualbp import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    LogSigmoid,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
)
from manualbp.layer import Array, Elementwise
from oracle.mistakes.activations import DELTA
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Wrong, on, wide
from oracle.mistakes.step import Gradients, Step

#: Activations z h(z), whose derivative has two terms by the product rule.
_product = on(SiLU, Mish, GELU, Hardswish)


class _At(NamedTuple):
    """The activation, and z and a = g(z) in float64."""

    layer: Any
    z: Array
    a: Array


def _slope(slope: Callable[[_At], Any]) -> Wrong:
    """Another derivative in the place of the right one."""
    return lambda step: (wide(step.upstream) * slope(_At(step.layer, wide(step.input), wide(step.output))), {})


def _product_first(at: _At) -> Array:
    """h(z) of z h(z); at 0 that is the whole derivative."""
    return np.where(at.z == 0, at.layer.derivative(at.z), at.a / at.z)


def _naive(step: Step) -> Gradients:
    """The derivative as its formula stands, in the input's own dtype."""
    e = np.exp(-step.input)
    return (e / (1 + e) ** 2 if isinstance(step.layer, Sigmoid) else e / (1 + e)) * step.upstream, {}


MISTAKES = (
    StepMistake(
        "z for a in the derivative",
        "A derivative that is written with the output a is evaluated with the input z.",
        "z (1 - z) for a (1 - a);  1 - z^2 for 1 - a^2",
        DELTA,
        on(Sigmoid, Tanh),
        _slope(lambda at: at.z * (1 - at.z) if isinstance(at.layer, Sigmoid) else 1 - at.z * at.z),
    ),
    StepMistake(
        "output for derivative",
        "The error is multiplied by the activation itself, not by its derivative.",
        "dC/da * g(z) for dC/da * g'(z)",
        DELTA,
        on(Elementwise),
        _slope(lambda at: at.a),
    ),
    StepMistake(
        "absolute value overlooked",
        "A condition on |z| is asked of z, so that the negative side is treated as near 0.",
        "z > lambd for |z| > lambd;  1 / (1 + z)^2 for 1 / (1 + |z|)^2",
        DELTA,
        on(Hardshrink, Softshrink, Softsign),
        _slope(lambda at: 1 / (1 + at.z) ** 2 if isinstance(at.layer, Softsign) else np.where(at.z > at.layer.lambd, 1.0, 0.0)),
    ),
    StepMistake(
        "factor a forgotten",
        "The derivative of the sigmoid is taken to be 1 - a.",
        "1 - a for a (1 - a)",
        DELTA,
        on(Sigmoid),
        _slope(lambda at: 1 - at.a),
    ),
    StepMistake(
        "square forgotten",
        "A square in the derivative is missing.",
        "1 - a for 1 - a^2;  tanh(z) for tanh(z)^2;  1 / (1 + |z|) for 1 / (1 + |z|)^2",
        DELTA,
        on(Tanh, Tanhshrink, Softsign),
        _slope(
            lambda at: {Tanh: 1 - at.a, Tanhshrink: np.tanh(at.z), Softsign: 1 / (1 + np.abs(at.z))}[type(at.layer)],
        ),
    ),
    StepMistake(
        "1 - the derivative",
        "A derivative and 1 minus it are exchanged.",
        "a^2 for 1 - a^2;  1 - tanh(z)^2 for tanh(z)^2;  the sigmoid of z for that of -z",
        DELTA,
        on(Tanh, Tanhshrink, LogSigmoid, Softplus),
        _slope(lambda at: 1 - at.layer.derivative(at.z)),
    ),
    StepMistake(
        "product rule, first term only",
        "Of the two terms of the product rule the one with the derivative of the second factor is missing.",
        "h(z) for h(z) + z h'(z) where g(z) = z h(z)",
        DELTA,
        _product,
        _slope(_product_first),
    ),
    StepMistake(
        "product rule, second term only",
        "Of the two terms of the product rule the one without a derivative is missing.",
        "z h'(z) for h(z) + z h'(z) where g(z) = z h(z)",
        DELTA,
        _product,
        _slope(lambda at: at.layer.derivative(at.z) - _product_first(at)),
    ),
    StepMistake(
        "1/6 forgotten",
        "The slope of the line between its two ends is taken as 1.",
        "1 for 1/6 between -3 and 3",
        DELTA,
        on(Hardsigmoid),
        _slope(lambda at: 6 * at.layer.derivative(at.z)),
    ),
    StepMistake(
        "GELU by the sigmoid",
        "The derivative is that of a third form of GELU, z s(1.702 z), which the forward pass does not use.",
        "the derivative of z s(1.702 z) for that of GELU",
        DELTA,
        on(GELU),
        _slope(lambda at: SiLU().derivative(1.702 * at.z)),
    ),
    StepMistake(
        "a for a + alpha",
        "Below 0 the derivative is alpha exp(z) = a + alpha; the alpha is left out.",
        "a for a + alpha where z <= 0",
        DELTA,
        on(ELU),
        _slope(lambda at: np.where(at.z > 0, 1.0, at.a)),
    ),
    StepMistake(
        "inner derivative left over",
        "The factor that the chain rule gives, and that cancels one in front of the function, stays in the derivative.",
        "beta g'(z) for g'(z), or g'(z) / alpha where z < 0",
        DELTA,
        on(Softplus, CELU),
        _slope(
            lambda at: (
                at.layer.derivative(at.z)
                * (at.layer.beta if isinstance(at.layer, Softplus) else np.where(at.z > 0, 1.0, 1 / at.layer.alpha))
            )
        ),
    ),
    StepMistake(
        "SELU's constants exchanged",
        "scale and alpha are taken for each other.",
        "alpha if z > 0 for scale if z > 0",
        DELTA,
        on(SELU),
        _slope(lambda at: np.where(at.z > 0, at.layer._alpha, at.layer._scale * at.layer._alpha * np.exp(np.minimum(at.z, 0)))),
    ),
    StepMistake(
        "SELU's scale below 0 only",
        "The scale in front of the whole function is applied to one side.",
        "1 if z > 0 for scale if z > 0",
        DELTA,
        on(SELU),
        _slope(lambda at: np.where(at.z > 0, 1.0, at.layer.derivative(at.z))),
    ),
    StepMistake(
        "a constant with four digits",
        "A constant of the derivative is typed in with four digits.",
        "1.051, 1.673 for SELU's constants;  0.1667 for 1/6",
        DELTA,
        on(SELU, Hardsigmoid),
        _slope(
            lambda at: (
                np.where(at.z > 0, 1.051, 1.051 * 1.673 * np.exp(np.minimum(at.z, 0)))
                if isinstance(at.layer, SELU)
                else at.layer.derivative(at.z) * 6 * 0.1667
            )
        ),
    ),
    StepMistake(
        "naive exponential",
        "The derivative is computed as its formula stands: exp overflows, and infinity over infinity is NaN.",
        "exp(-z) / (1 + exp(-z))^2 and the like where exp overflows",
        DELTA,
        on(Sigmoid, LogSigmoid),
        _naive,
        loses_digits=True,
    ),
)
