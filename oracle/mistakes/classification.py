"""Mistakes in cross entropy and in the negative log-likelihood of one class out of n."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from manualbp import CrossEntropyLoss, NLLLoss
from manualbp.layer import Array
from oracle.mistakes.features import softmax
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Wrong, on, wide
from oracle.mistakes.step import Gradients, Step

LOGITS = "dC/dz_j = (p_j sum_i q_i - q_j) / N, which is p - y without weights and smoothing"
NLL = "dC/da_i = -w[y] [i = y] / sum w[y]"
COUNT = "N is the sum of the w[y] of the samples that are not ignored"

_cross_entropy = on(CrossEntropyLoss)
_both = on(CrossEntropyLoss, NLLLoss)
_weighted = on(CrossEntropyLoss, NLLLoss, when=lambda loss: loss.weight is not None)
_weighted_mean = on(CrossEntropyLoss, NLLLoss, when=lambda loss: loss.weight is not None and loss.reduction == "mean")
_mean = on(CrossEntropyLoss, NLLLoss, when=lambda loss: loss.reduction == "mean")
_smoothed = on(CrossEntropyLoss, when=lambda loss: loss.label_smoothing > 0)


class Labels(NamedTuple):
    """A target of class indices or probabilities, as what is needed to write down a gradient; all in float64."""

    loss: Any
    a: Array
    y: Array  # (classes, *extra, m): one-hot, or probabilities; of an ignored sample the one-hot column is what it says
    w: Array  # (classes, 1, ..)
    kept: Array  # (*extra, m)
    labels: Array | None  # the indices
    upstream: Array

    @classmethod
    def of(cls, step: Step) -> "Labels":
        loss, a, target = step.layer, wide(step.input), step.case.target
        w = np.broadcast_to(wide(loss.per_row("weight", a)), (len(a), *(1,) * (a.ndim - 1)))
        upstream = wide(step.upstream)
        if target.dtype.kind not in "iu":
            return cls(loss, a, wide(target), w, np.ones(a.shape[1:]), None, upstream)
        y = (target == np.arange(len(a)).reshape(w.shape)).astype(np.float64)
        return cls(loss, a, y, w, (target != loss.ignore_index).astype(np.float64), target, upstream)

    @property
    def p(self) -> Array:
        """The probabilities: of logits, or of log-probabilities."""
        return softmax(self.a, 0) if isinstance(self.loss, CrossEntropyLoss) else np.exp(self.a)

    @property
    def smoothing(self) -> float:
        return float(getattr(self.loss, "label_smoothing", 0.0))

    @property
    def q(self) -> Array:
        """The target with smoothing and weights."""
        return self.w * ((1 - self.smoothing) * self.y + self.smoothing / len(self.y)) * self.kept

    def divisor(self) -> Any:
        """What a mean divides by."""
        if self.loss.reduction != "mean":
            return 1.0
        return self.kept.size if self.labels is None else (self.w * self.y * self.kept).sum()

    def gradient(self, q: Array | None = None, p: Array | None = None) -> Array:
        """dC/d input before it is divided: for other targets q or other probabilities p."""
        q = self.q if q is None else q
        return -q if isinstance(self.loss, NLLLoss) else (self.p if p is None else p) * q.sum(axis=0) - q


def _labels(gradient: Callable[[Labels], Array], count: Callable[[Labels], Any] = Labels.divisor) -> Wrong:
    """Another gradient, divided by another number."""

    def spoilt(step: Step) -> Gradients:
        labels = Labels.of(step)
        return gradient(labels) * labels.upstream / count(labels), {}

    return spoilt


def _counts(count: Callable[[Labels], Any]) -> Wrong:
    """The gradient of a mean that divides by another number."""
    return _labels(Labels.gradient, count)


def _softmax_again(labels: Labels) -> Array:
    g, p = labels.gradient(), labels.p
    return p * (g - (g * p).sum(axis=0))


def _uniform_over_the_others(labels: Labels) -> Array:
    """(1 - s) for the right class and s / (classes - 1) for each of the others."""
    s, n = np.float64(labels.smoothing), len(labels.y)
    return labels.gradient(labels.w * ((1 - s) * labels.y + s / (n - 1) * (1 - labels.y)) * labels.kept)


def _ignored_too(labels: Labels) -> Array:
    """A sample that is ignored is taken as one whose target is empty or a class like any other."""
    everyone = labels._replace(kept=np.ones_like(labels.kept))
    extra = 1 - labels.y.sum(axis=0)  # 1 where the label is no class
    return everyone.gradient() + (labels.p * extra if isinstance(labels.loss, CrossEntropyLoss) else 0)


def _unweighted(labels: Labels) -> Array:
    return labels._replace(w=np.ones_like(labels.w)).gradient()


MISTAKES = (
    StepMistake(
        "one-hot not subtracted",
        "The target never enters the gradient: every class is pushed down by its probability.",
        "p for p - y",
        LOGITS,
        _cross_entropy,
        _labels(lambda labels: labels.p * labels.q.sum(axis=0)),
    ),
    StepMistake(
        "softmax forgotten in the cross entropy",
        "The gradient is that by the log-probabilities: only the right class gets one.",
        "-y for p - y",
        LOGITS,
        _cross_entropy,
        _labels(lambda labels: -labels.q),
    ),
    StepMistake(
        "logits for probabilities",
        "The target is subtracted from the logits themselves, without the softmax.",
        "z - y for p - y",
        LOGITS,
        _cross_entropy,
        _labels(lambda labels: labels.gradient(p=labels.a)),
    ),
    StepMistake(
        "softmax's derivative once more",
        "The softmax is part of the loss, whose gradient holds its derivative already; its Jacobian is applied again.",
        "p (g - sum g p) for g = p - y",
        LOGITS,
        _cross_entropy,
        _labels(_softmax_again),
    ),
    StepMistake(
        "sigmoid's derivative in the cross entropy",
        "The gradient p - y is multiplied by p (1 - p), as if a sigmoid came before it.",
        "(p - y) p (1 - p) for p - y",
        LOGITS,
        _cross_entropy,
        _labels(lambda labels: labels.gradient() * labels.p * (1 - labels.p)),
    ),
    StepMistake(
        "cross entropy along the batch",
        "The softmax of the loss runs over the samples, not over the classes of each sample.",
        "exp(z_jk) / sum_k exp(z_jk) for exp(z_jk) / sum_j exp(z_jk)",
        LOGITS,
        _cross_entropy,
        _labels(lambda labels: labels.gradient(p=softmax(labels.a, -1))),
    ),
    StepMistake(
        "every class is the right one",
        "All classes of a sample get the gradient of the right one.",
        "-w[y] for -w[y] [i = y]",
        NLL,
        on(NLLLoss),
        _labels(lambda labels: -np.broadcast_to(labels.q.sum(axis=0), labels.q.shape)),
    ),
    StepMistake(
        "likelihood fused with the log-softmax",
        "The gradient is that by the logits, p - y, although the log-softmax goes back by itself afterwards.",
        "w[y] (exp(a) - [i = y]) for -w[y] [i = y]",
        NLL,
        on(NLLLoss),
        _labels(lambda labels: labels.p * labels.q.sum(axis=0) - labels.q),
    ),
    StepMistake(
        "likelihood for its logarithm",
        "The logarithm is differentiated once more, although the input is a logarithm already.",
        "-w[y] [i = y] / exp(a_y) for -w[y] [i = y]",
        NLL,
        on(NLLLoss),
        _labels(lambda labels: -labels.q / labels.p),
    ),
    StepMistake(
        "class weights missing in the numerator",
        "The weights of the classes count in what the mean divides by, and not in the terms.",
        "(p - y) / sum w[y] for w[y] (p - y) / sum w[y]",
        COUNT,
        _weighted,
        _labels(_unweighted),
    ),
    StepMistake(
        "class weights missing in the denominator",
        "A weighted mean divides by the sum of the weights; here it divides by the number of samples that count.",
        "w[y] (p - y) / (samples that count) for w[y] (p - y) / sum w[y]",
        COUNT,
        _weighted_mean,
        _counts(lambda labels: labels.kept.sum()),
    ),
    StepMistake(
        "ignored samples counted",
        "Samples that are ignored have no gradient, but the mean divides by their number too.",
        "N with all samples for N without those that are ignored",
        COUNT,
        _mean,
        _counts(lambda labels: labels.kept.size if labels.loss.weight is None else (labels.w * labels.y).sum()),
    ),
    StepMistake(
        "ignored samples given a gradient",
        "Samples that are ignored do not count in the mean, but their gradient is not set to 0.",
        "w (p - y) for 0 where y = ignore_index",
        COUNT,
        _both,
        _labels(_ignored_too),
    ),
    StepMistake(
        "smoothing over the other classes alone",
        "Label smoothing is shared among the wrong classes; the right one gets no part of it.",
        "s / (classes - 1) for the others, for s / classes for every class",
        LOGITS,
        _smoothed,
        _labels(_uniform_over_the_others),
    ),
    StepMistake(
        "smoothing added on top",
        "The uniform part of label smoothing is added, and nothing is taken from the right class.",
        "y + s / classes for (1 - s) y + s / classes",
        LOGITS,
        _smoothed,
        _labels(lambda labels: labels.gradient(labels.q + labels.w * labels.smoothing * labels.y * labels.kept)),
    ),
)
