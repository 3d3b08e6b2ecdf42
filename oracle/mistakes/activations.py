"""Mistakes in where, how often and at which numbers the derivative of an activation is applied."""

from typing import Any

import numpy as np

from manualbp import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    Linear,
    Mish,
    Network,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    SiLU,
    Softplus,
    Threshold,
)
from manualbp.layer import Elementwise
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Wrong, columns, on, wide
from oracle.mistakes.step import Gradients, Step, record
from oracle.regimes import neighbour

DELTA = "delta[l] = dC/da[l] * g'(z[l])"


def _keeps_rows(activation: Activation) -> bool:
    return activation.rows_in(1) == 1


def _kinked(activation: Activation) -> bool:
    return bool(activation.kinks)


def _behind_bias(network: Network, position: int) -> bool:
    if position == 0 or not on(Elementwise, PReLU)(network, position):
        return False
    before = network.layers[position - 1]
    return isinstance(before, Linear) and before.bias


def _without_bias(step: Step) -> Gradients:
    bias = step.case.params[step.position - 1]["bias"]
    return step.through(input=(columns(step.input) - wide(bias)[:, None]).reshape(step.input.shape).astype(step.input.dtype))


def _before_a_square_linear(network: Network, position: int) -> bool:
    if not on(Elementwise)(network, position):
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
        on(ReLU, LeakyReLU, PReLU, RReLU, Threshold, ELU, SELU, CELU),
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
)
