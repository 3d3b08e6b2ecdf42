"""Mistakes in losses on a distance, on counts, and on a density."""

import numpy as np

from manualbp import (
    GaussianNLLLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    PoissonNLLLoss,
    SmoothL1Loss,
)
from manualbp.layer import Array
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Terms, of_terms, on

HUBER = "d inside, delta sign(d) outside;  d / beta inside, sign(d) outside, d = a - y"
GAUSS = "d / v by the mean,  (1 / v - (d / v)^2) / 2 by the variance, d = a - y"
POISSON = "dC/da = exp(a) - y, or 1 - y / (a + eps)"

_curved = on(HuberLoss, SmoothL1Loss, when=lambda loss: not isinstance(loss, SmoothL1Loss) or loss.beta > 0)


def _width(t: Terms) -> float:
    """Where the parabola ends."""
    return float(t.loss.delta if isinstance(t.loss, HuberLoss) else t.loss.beta)


def _inside(t: Terms) -> Array:
    """The slope of the parabola."""
    d = t.a - t.y
    return d if isinstance(t.loss, HuberLoss) else d / t.loss.beta


def _outside(t: Terms) -> Array:
    """The slope of the tangents."""
    return np.sign(t.a - t.y) * (t.loss.delta if isinstance(t.loss, HuberLoss) else 1.0)


def _signed(t: Terms) -> Array:
    return np.where(t.a - t.y < _width(t), _inside(t), _outside(t))


def _not_carried(t: Terms) -> Array:
    """Huber's outside without delta, smooth L1's inside without beta: each with the other's formula there."""
    d = t.a - t.y
    return np.where(np.abs(d) < _width(t), d, np.sign(d))


def _by_variance(t: Terms) -> tuple[Array, Array]:
    """D / v, and d."""
    d = t.a - t.y
    return d / np.maximum(t.inputs[1], t.loss.eps), d


def _gauss(t: Terms, of_log: float, of_square: float) -> tuple[Array, Array]:
    by_mean, _ = _by_variance(t)
    return by_mean, (of_log / np.maximum(t.inputs[1], t.loss.eps) - of_square * by_mean**2) / 2


MISTAKES = (
    StepMistake(
        "difference for its sign",
        "The absolute value is differentiated as if it were a square.",
        "a - y for sign(a - y)",
        "d|a - y|/da = sign(a - y)",
        on(L1Loss),
        of_terms(lambda t: t.a - t.y),
    ),
    StepMistake(
        "sign of the difference forgotten",
        "The absolute value is differentiated as if the prediction were always too large.",
        "1 for sign(a - y)",
        "d|a - y|/da = sign(a - y)",
        on(L1Loss),
        of_terms(lambda t: np.ones_like(t.a)),
    ),
    StepMistake(
        "threshold on the signed difference",
        "Whether a difference is small is asked of d, not of |d|: every negative one counts as small.",
        "the parabola where d < delta for |d| < delta",
        HUBER,
        _curved,
        of_terms(_signed),
    ),
    StepMistake(
        "tangents forgotten",
        "The slope of the parabola is used far outside too.",
        "the inner slope for the outer one where |d| >= delta",
        HUBER,
        _curved,
        of_terms(_inside),
    ),
    StepMistake(
        "parabola forgotten",
        "The slope of the tangents is used near 0 too, as if the cost were |a - y|.",
        "the outer slope for the inner one where |d| < delta",
        HUBER,
        _curved,
        of_terms(_outside),
    ),
    StepMistake(
        "delta or beta not carried over",
        "The number that joins parabola and tangents is used in the condition, and left out in the slope.",
        "sign(d) for delta sign(d);  d for d / beta",
        HUBER,
        _curved,
        of_terms(_not_carried),
    ),
    StepMistake(
        "exponential of the rate forgotten",
        "The network gives the logarithm of the rate, which is taken for the rate.",
        "a - y for exp(a) - y",
        POISSON,
        on(PoissonNLLLoss, when=lambda loss: loss.log_input),
        of_terms(lambda t: t.a - t.y),
    ),
    StepMistake(
        "count not divided by the rate",
        "The logarithm of the rate is differentiated as if it were the rate.",
        "1 - y for 1 - y / (a + eps)",
        POISSON,
        on(PoissonNLLLoss, when=lambda loss: not loss.log_input),
        of_terms(lambda t: np.broadcast_to(1 - t.y, t.a.shape)),
    ),
    StepMistake(
        "Stirling's term differentiated",
        "The term that depends on the count alone is given a gradient.",
        "log y added to dC/da where y > 1",
        POISSON,
        on(PoissonNLLLoss, when=lambda loss: loss.full),
        of_terms(
            lambda t: (np.exp(t.a) - t.y if t.loss.log_input else 1 - t.y / (t.a + t.loss.eps)) + np.log(np.maximum(t.y, 1))
        ),
    ),
    StepMistake(
        "log of the variance forgotten",
        "The term log v has no gradient, and every variance is pushed up.",
        "-(d / v)^2 / 2 for (1 / v - (d / v)^2) / 2",
        GAUSS,
        on(GaussianNLLLoss),
        of_terms(lambda t: _gauss(t, 0, 1)),
    ),
    StepMistake(
        "squared error over the variance forgotten",
        "The term d^2 / v has no gradient by v, and every variance is pushed down.",
        "1 / (2 v) for (1 / v - (d / v)^2) / 2",
        GAUSS,
        on(GaussianNLLLoss),
        of_terms(lambda t: _gauss(t, 1, 0)),
    ),
    StepMistake(
        "1/2 of the variance's gradient",
        "The 1/2 in front of both terms is missing in the gradient by the variance.",
        "1 / v - (d / v)^2 for (1 / v - (d / v)^2) / 2",
        GAUSS,
        on(GaussianNLLLoss),
        of_terms(lambda t: _gauss(t, 2, 2)),
    ),
    StepMistake(
        "standard deviation for variance",
        "The error is divided by the standard deviation, the root of what the network gives.",
        "d / sqrt(v) for d / v",
        GAUSS,
        on(GaussianNLLLoss),
        of_terms(lambda t: (_by_variance(t)[1] / np.sqrt(np.maximum(t.inputs[1], t.loss.eps)), _gauss(t, 1, 1)[1])),
    ),
    StepMistake(
        "differentiated by the target",
        "The divergence is differentiated by the target's distribution, not by the prediction's.",
        "log p + 1 - a for -p",
        "dC/da = -p",
        on(KLDivLoss, when=lambda loss: not loss.log_target),
        of_terms(lambda t: np.log(t.y) + 1 - t.a),
    ),
    StepMistake(
        "fused with the log-softmax",
        "The gradient is that by the logits, exp(a) - p, although the log-softmax goes back by itself afterwards.",
        "exp(a) - p for -p",
        "dC/da = -p",
        on(KLDivLoss),
        of_terms(lambda t: np.exp(t.a) - (np.exp(t.y) if t.loss.log_target else t.y)),
    ),
)
