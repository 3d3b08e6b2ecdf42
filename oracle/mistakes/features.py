"""Mistakes in activations that mix features: softmax and its relatives, and gates."""

from collections.abc import Callable
from typing import Any

import numpy as np

from manualbp import GEGLU, GLU, LogSoftmax, ReGLU, Softmax, Softmax2d, Softmin, SwiGLU
from manualbp.layer import Array
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Wrong, on, wide
from oracle.mistakes.step import Gradients, Step

SOFTMAX = "dC/dz_j = a_j (dC/da_j - sum_i dC/da_i a_i)"
LOG_SOFTMAX = "dC/dz_j = dC/da_j - exp(a_j) sum_i dC/da_i"
GATE = "dC/du = dC/da * v * g'(u),  dC/dv = dC/da * g(u)"

_softmax = on(Softmax, Softmax2d, Softmin)
_log_softmax = on(LogSoftmax)
_gate = on(GLU, SwiGLU, GEGLU, ReGLU)


def softmax(z: Array, axis: int) -> Array:
    """The probabilities along an axis, in float64."""
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _shares(formula: Callable[[Array, Array], Array]) -> Wrong:
    """A formula of a and dC/da in place of the right one; for a Softmin, whose input counts negatively, minus that."""

    def spoilt(step: Step) -> Gradients:
        sign = -1 if isinstance(step.layer, Softmin) else 1
        return sign * formula(wide(step.output), wide(step.upstream)), {}

    return spoilt


def _along_the_batch(step: Step) -> Gradients:
    """The same formulas with probabilities and sums along the last axis."""
    sign = -1 if isinstance(step.layer, Softmin) else 1
    p, g = softmax(sign * wide(step.input), -1), wide(step.upstream)
    if isinstance(step.layer, LogSoftmax):
        return g - p * g.sum(axis=-1, keepdims=True), {}
    return sign * p * (g - (g * p).sum(axis=-1, keepdims=True)), {}


def _naive(step: Step) -> Gradients:
    """NaN in the columns whose exponentials overflow, or all vanish, in the input's own dtype."""
    total = np.exp(-step.input if isinstance(step.layer, Softmin) else step.input).sum(axis=0)
    return np.where(np.isfinite(total) & (total > 0), step.right[0], np.nan), {}


def _halves(formula: Callable[[Any, Array, Array, Array], tuple[Array, Array]]) -> Wrong:
    """(dC/du, dC/dv) from the gate's activation g, u, v and d = dC/da; put together in the record's own order."""

    def spoilt(step: Step) -> Gradients:
        u, v = step.layer._halves(wide(step.input))
        of_u, of_v = formula(step.layer._activation, u, v, wide(step.upstream))
        return np.concatenate((of_v, of_u) if step.layer._gate_last else (of_u, of_v)), {}

    return spoilt


MISTAKES = (
    StepMistake(
        "the Jacobian's diagonal only",
        "Each output is differentiated by its own input alone, as if the softmax were a sigmoid.",
        "dC/da a (1 - a) for a (dC/da - sum_i dC/da_i a_i)",
        SOFTMAX,
        _softmax,
        _shares(lambda a, g: g * a * (1 - a)),
    ),
    StepMistake(
        "the Jacobian without its diagonal",
        "Each output is differentiated by the other inputs, and not by its own.",
        "-a_j sum_{i != j} dC/da_i a_i for a_j (dC/da_j - sum_i dC/da_i a_i)",
        SOFTMAX,
        _softmax,
        _shares(lambda a, g: a * (g * a - (g * a).sum(axis=0))),
    ),
    StepMistake(
        "the softmax's sum left out",
        "The sum in the denominator is treated as a constant.",
        "a dC/da for a (dC/da - sum_i dC/da_i a_i)",
        SOFTMAX,
        _softmax,
        _shares(lambda a, g: a * g),
    ),
    StepMistake(
        "the softmax's sum without weights",
        "The upstream gradients are added up without being weighted by the probabilities.",
        "a (dC/da - sum_i dC/da_i) for a (dC/da - sum_i dC/da_i a_i)",
        SOFTMAX,
        _softmax,
        _shares(lambda a, g: a * (g - g.sum(axis=0))),
    ),
    StepMistake(
        "factor a of the softmax forgotten",
        "The probability in front of the bracket is missing.",
        "dC/da - sum_i dC/da_i a_i for a (dC/da - sum_i dC/da_i a_i)",
        SOFTMAX,
        _softmax,
        _shares(lambda a, g: g - (g * a).sum(axis=0)),
    ),
    StepMistake(
        "the softmin's sign",
        "The minus in front of the softmin's input is not differentiated.",
        "a_j (dC/da_j - sum_i dC/da_i a_i) for minus that",
        "dC/dz_j = -a_j (dC/da_j - sum_i dC/da_i a_i)",
        on(Softmin),
        lambda step: (-wide(step.right[0]), {}),
    ),
    StepMistake(
        "softmax along the batch",
        "Probabilities and sums run over the samples, not over the features of each sample.",
        "sums over the batch for sums over the features",
        SOFTMAX,
        on(Softmax, Softmax2d, Softmin, LogSoftmax),
        _along_the_batch,
    ),
    StepMistake(
        "naive softmax",
        "The exponentials are taken without subtracting the largest input first: they overflow, or all of them vanish.",
        "exp(z) / sum exp(z) where exp overflows",
        SOFTMAX,
        _softmax,
        _naive,
        loses_digits=True,
    ),
    StepMistake(
        "the log-softmax's upstream not summed",
        "The probabilities are subtracted once, not times the sum of the upstream gradients.",
        "dC/da_j - exp(a_j) for dC/da_j - exp(a_j) sum_i dC/da_i",
        LOG_SOFTMAX,
        _log_softmax,
        _shares(lambda a, g: g - np.exp(a)),
    ),
    StepMistake(
        "the log-softmax's probabilities left out",
        "The sum of the upstream gradients is subtracted without being weighted by the probability.",
        "dC/da_j - sum_i dC/da_i for dC/da_j - exp(a_j) sum_i dC/da_i",
        LOG_SOFTMAX,
        _log_softmax,
        _shares(lambda _, g: g - g.sum(axis=0)),
    ),
    StepMistake(
        "the log-softmax's diagonal only",
        "Each output is differentiated by its own input alone.",
        "dC/da_j (1 - exp(a_j)) for dC/da_j - exp(a_j) sum_i dC/da_i",
        LOG_SOFTMAX,
        _log_softmax,
        _shares(lambda a, g: g * (1 - np.exp(a))),
    ),
    StepMistake(
        "log-probabilities for probabilities",
        "The output of the log-softmax is taken for a probability: its exponential is missing.",
        "dC/da_j - a_j sum_i dC/da_i for dC/da_j - exp(a_j) sum_i dC/da_i",
        LOG_SOFTMAX,
        _log_softmax,
        _shares(lambda a, g: g - a * g.sum(axis=0)),
    ),
    StepMistake(
        "the gate's halves exchanged",
        "The gradients of the two halves are put together in the wrong order.",
        "dC/dv above dC/du for dC/du above dC/dv",
        GATE,
        _gate,
        lambda step: (np.concatenate(np.split(step.right[0], 2)[::-1]), {}),
    ),
    StepMistake(
        "the wrong half is the gate",
        "The derivative is that of a gate in which the two halves have exchanged their parts.",
        "dC/da * u * g'(v), dC/da * g(v) for dC/da * g(u), dC/da * v * g'(u)",
        GATE,
        _gate,
        _halves(lambda g, u, v, d: (d * g.value(v), d * u * g.derivative(v))),
    ),
    StepMistake(
        "the gate's derivative forgotten",
        "The gate's half is treated as if the gate had no activation.",
        "dC/da * v for dC/da * v * g'(u)",
        GATE,
        _gate,
        _halves(lambda g, u, v, d: (d * v, d * g.value(u))),
    ),
    StepMistake(
        "the gate's value for its derivative",
        "The gate's half is multiplied by the gate itself, not by its derivative.",
        "dC/da * v * g(u) for dC/da * v * g'(u)",
        GATE,
        _gate,
        _halves(lambda g, u, v, d: (d * v * g.value(u), d * g.value(u))),
    ),
    StepMistake(
        "the other half forgotten in the gate",
        "The gate's gradient is not multiplied by what passes through the gate.",
        "dC/da * g'(u) for dC/da * v * g'(u)",
        GATE,
        _gate,
        _halves(lambda g, u, _, d: (d * g.derivative(u), d * g.value(u))),
    ),
    StepMistake(
        "the gate treated as a constant",
        "Only what passes through the gate gets a gradient; the gate itself gets none.",
        "0 for dC/da * v * g'(u)",
        GATE,
        _gate,
        _halves(lambda g, u, _, d: (0 * d, d * g.value(u))),
    ),
    StepMistake(
        "only the gate is differentiated",
        "Only the gate gets a gradient; what passes through it gets none.",
        "0 for dC/da * g(u)",
        GATE,
        _gate,
        _halves(lambda g, u, v, d: (d * v * g.derivative(u), 0 * d)),
    ),
)
