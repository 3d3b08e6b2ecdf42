"""Mistakes in the derivative of an activation that acts on each element alone, and in where and how often it is applied."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from manualbp import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    Linear,
    LogSigmoid,
    Mish,
    Network,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from manualbp.layer import Array, Elementwise
from oracle.mistakes.mistake import Gradients, Step, StepMistake, record
from oracle.mistakes.parts import Wrong, columns, grad_params, on, wide
from oracle.regimes import neighbour

DELTA = "delta[l] = dC/da[l] * g'(z[l])"
ALPHA = "dC/dalpha = sum of dC/da min(z, 0) over all that share alpha"

_elementwise = on(Elementwise)
_rectifier = on(ReLU, LeakyReLU, PReLU, RReLU, Threshold, ELU, SELU, CELU)
#: Activations z h(z), whose derivative has two terms by the product rule.
_product = on(SiLU, Mish, GELU, Hardswish)


def _keeps_rows(activation: Activation) -> bool:
    return activation.rows_in(1) == 1


def _kinked(activation: Activation) -> bool:
    return bool(activation.kinks)


class _At(NamedTuple):
    """The activation, and z and a = g(z) in float64."""

    layer: Any
    z: Array
    a: Array


def _slope(slope: Callable[[_At], Any]) -> Wrong:
    """Another derivative in the place of the right one."""
    return lambda step: (wide(step.upstream) * slope(_At(step.layer, wide(step.input), wide(step.output))), {})


def _behind_bias(network: Network, position: int) -> bool:
    if position == 0 or not on(Elementwise, PReLU)(network, position):
        return False
    before = network.layers[position - 1]
    return isinstance(before, Linear) and before.bias


def _without_bias(step: Step) -> Gradients:
    bias = step.case.params[step.position - 1]["bias"]
    return step.through(input=(columns(step.input) - wide(bias)[:, None]).reshape(step.input.shape).astype(step.input.dtype))


def _before_a_square_linear(network: Network, position: int) -> bool:
    if not _elementwise(network, position):
        return False
    behind: Any = record(network, position + 1)
    return isinstance(behind, Linear) and behind.in_features == behind.out_features


def _before_the_weights(step: Step) -> Gradients:
    """W^T (delta[l+1] * g'(z[l])) for (W^T delta[l+1]) * g'(z[l])."""
    W, delta = wide(step.case.params[step.position + 1]["weight"]), step.gradients[step.position + 2]
    through = columns(step.through(upstream=delta)[0])
    return (W.T @ through).reshape(step.input.shape), {}


def _other_side(step: Step) -> Gradients:
    """At a kink what holds on the side that the right derivative does not take."""
    z, right = step.input, step.right
    sides = [step.through(input=neighbour(z, direction))[0] for direction in (1, -1)]
    at = np.isin(z, np.array([kink.at for kink in step.layer.kinks]).astype(z.dtype))
    other = np.where(sides[0] == right[0], sides[1], sides[0])
    return np.where(at, other, right[0]), right[1]


def _product_first(at: _At) -> Array:
    """h(z) of z h(z); at 0 that is the whole derivative."""
    return np.where(at.z == 0, at.layer.derivative(at.z), at.a / at.z)


def _relu_slope(step: Step) -> Gradients:
    return np.where(step.input > 0, wide(step.upstream), 0.0), step.right[1]


def _at_minus_z(step: Step) -> Gradients:
    return step.through(input=-step.input)


def _cut(end: int) -> Wrong:
    """Numbers beyond the middle of the straight piece, on the upper (1) or the lower side (-1), count as the middle."""

    def spoilt(step: Step) -> Gradients:
        middle = sum(kink.at for kink in step.layer.kinks) / 2
        z = step.input
        inside = np.asarray(np.fmin(z, middle) if end > 0 else np.fmax(z, middle)).astype(z.dtype)
        return step.through(input=inside)

    return spoilt


def _naive(step: Step) -> Gradients:
    """The derivative as its formula stands, in the input's own dtype."""
    e = np.exp(-step.input)
    return (e / (1 + e) ** 2 if isinstance(step.layer, Sigmoid) else e / (1 + e)) * step.upstream, {}


def _prelu_terms(step: Step) -> Array:
    return np.minimum(wide(step.input), 0) * wide(step.upstream)


def _prelu_sum(terms: Array, step: Step) -> Array:
    return terms.sum() if step.layer.num_parameters == 1 else columns(terms).sum(axis=1)


MISTAKES = (
    StepMistake(
        "derivative at a for z",
        "The derivative is evaluated at the activation's output, not at its input.",
        "g'(a) for g'(z)",
        DELTA,
        on(Activation, when=_keeps_rows),
        lambda step: step.through(input=step.output),
    ),
    StepMistake(
        "z for a in the derivative",
        "A derivative that is written with the output a is evaluated with the input z.",
        "z (1 - z) for a (1 - a);  1 - z^2 for 1 - a^2",
        DELTA,
        on(Sigmoid, Tanh),
        _slope(lambda at: at.z * (1 - at.z) if isinstance(at.layer, Sigmoid) else 1 - at.z * at.z),
    ),
    StepMistake(
        "derivative forgotten",
        "The error passes through the activation as if there were none.",
        "dC/da for dC/da * g'(z)",
        DELTA,
        on(Activation, when=_keeps_rows),
        lambda step: (step.upstream, step.right[1]),
    ),
    StepMistake(
        "derivative applied twice",
        "The error is multiplied by the derivative in two places.",
        "dC/da * g'(z) * g'(z) for dC/da * g'(z)",
        DELTA,
        on(Activation, when=_keeps_rows),
        lambda step: (step.through(upstream=step.right[0])[0], step.right[1]),
    ),
    StepMistake(
        "derivative before W^T",
        "The error is multiplied by the derivative before it goes back through the weights, not after.",
        "W[l+1]^T (delta[l+1] * g'(z[l])) for (W[l+1]^T delta[l+1]) * g'(z[l])",
        DELTA,
        _before_a_square_linear,
        _before_the_weights,
    ),
    StepMistake(
        "derivative without the bias",
        "The derivative is evaluated at W a, before the bias was added.",
        "g'(z - b) for g'(z)",
        DELTA,
        _behind_bias,
        _without_bias,
    ),
    StepMistake(
        "output for derivative",
        "The error is multiplied by the activation itself, not by its derivative.",
        "dC/da * g(z) for dC/da * g'(z)",
        DELTA,
        _elementwise,
        _slope(lambda at: at.a),
    ),
    StepMistake(
        "mask from the upstream gradient",
        "What passes is decided by the error that comes back, not by the input that went in.",
        "g'(dC/da) for g'(z)",
        DELTA,
        on(ReLU, LeakyReLU, PReLU, ReLU6, Threshold, Hardtanh),
        lambda step: (step.through(input=step.upstream)[0], step.right[1]),
    ),
    StepMistake(
        "mask inverted",
        "The two sides of 0 are exchanged: what should be stopped passes, and what should pass is stopped.",
        "g'(-z) for g'(z)",
        DELTA,
        _rectifier,
        _at_minus_z,
    ),
    StepMistake(
        "the ReLU's derivative for another",
        "Below 0 nothing passes, as if the activation were a plain ReLU.",
        "1 if z > 0 else 0 for g'(z)",
        DELTA,
        on(LeakyReLU, PReLU, RReLU, ELU, SELU, CELU, SiLU, Mish, GELU, Softplus, Hardswish),
        _relu_slope,
    ),
    StepMistake(
        "the other side at a kink",
        "Exactly on a kink the derivative of the other side is taken, >= for >.",
        "g'(z+) for g'(z-), or the reverse, where z is on a kink",
        DELTA,
        on(Activation, when=_kinked),
        _other_side,
        loses_digits=True,  # which numbers are on a kink depends on the dtype
        convention=True,
    ),
    StepMistake(
        "upper cut forgotten",
        "Above the upper end, where the function is constant, the error still passes.",
        "the inner slope for 0 where z is above the upper end",
        DELTA,
        on(ReLU6, Hardtanh, Hardsigmoid),
        _cut(1),
    ),
    StepMistake(
        "lower cut forgotten",
        "Below the lower end, where the function is constant, the error still passes.",
        "the inner slope for 0 where z is below the lower end",
        DELTA,
        on(ReLU6, Hardtanh, Hardsigmoid),
        _cut(-1),
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
        "factor 1 - a forgotten",
        "The derivative of the sigmoid is taken to be the sigmoid.",
        "a for a (1 - a)",
        DELTA,
        on(Sigmoid),
        _slope(lambda at: at.a),
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
    StepMistake(
        "shared slope not summed",
        "The slope of a PReLU is shared by many elements, but its gradient is that of the first sample alone.",
        "the sum over the first sample for the sum over all samples",
        ALPHA,
        on(PReLU),
        grad_params(lambda step, right: _prelu_sum(_prelu_terms(step)[..., :1], step).reshape(right.shape), "weight"),
    ),
    StepMistake(
        "shared slope averaged",
        "The gradient of a PReLU's slope is averaged over the batch, not added up.",
        "the sum divided by m for the sum",
        ALPHA,
        on(PReLU),
        grad_params(lambda step, right: right / step.m, "weight"),
    ),
    StepMistake(
        "shared slope from all elements",
        "The gradient of a PReLU's slope counts the positive inputs too, which the slope does not touch.",
        "sum of dC/da z for the sum of dC/da min(z, 0)",
        ALPHA,
        on(PReLU),
        grad_params(lambda step, right: _prelu_sum(wide(step.input) * wide(step.upstream), step).reshape(right.shape), "weight"),
    ),
    StepMistake(
        "shared slope without the error",
        "The gradient of a PReLU's slope is the sum of its inputs, not multiplied by the error that comes back.",
        "sum of min(z, 0) for the sum of dC/da min(z, 0)",
        ALPHA,
        on(PReLU),
        grad_params(lambda step, right: _prelu_sum(np.minimum(wide(step.input), 0), step).reshape(right.shape), "weight"),
    ),
    StepMistake(
        "shared slope's sign",
        "The gradient of a PReLU's slope has the wrong sign, as if it were multiplied by |z|.",
        "-sum of dC/da min(z, 0) for the sum",
        ALPHA,
        on(PReLU),
        grad_params(lambda _, right: -right, "weight"),
    ),
    StepMistake(
        "shared slope zero",
        "The gradient of a PReLU's slope is never filled in.",
        "0 for the sum of dC/da min(z, 0)",
        ALPHA,
        on(PReLU),
        grad_params(lambda _, right: np.zeros_like(right), "weight"),
    ),
)
