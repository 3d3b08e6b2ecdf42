"""Losses for one class out of n: the target of a sample is the index of its class."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manualbp.activations.softmax import shifted
from manualbp.blocks import Array
from manualbp.layer import ReducedLoss
from manualbp.targets import ClassIndices


def _target_elements(target: Array) -> tuple[Array, ...]:
    """Index of the element [y, position, sample] for every position and sample of a class-index target."""
    return target, *np.ix_(*(np.arange(size) for size in target.shape))


@dataclass(frozen=True)
class NLLLoss(ReducedLoss):
    """The negative log-likelihood: minus the log-probability of the right class.

    Shapes
        log-probabilities a (classes, *extra, m), usually from LogSoftmax; target y (*extra, m), integers; C a scalar.
    Forward
        C = -sum over samples a[y], divided for "mean" by the number of samples.
    Backward
        dC/da = -[i = y], divided likewise: only the right class gets a gradient.
    References
        torch.nn.NLLLoss.
    """

    formula: ClassVar[str] = "-sum a[y] / m"
    derivative_formula: ClassVar[str] = "-[i = y] / m"
    per_sample: ClassVar[bool] = True
    target_domain = ClassIndices()
    link: ClassVar[str] = "LogSoftmax"

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        right = _target_elements(target)
        return -input[right], (input, right)

    def gradient(self, saved: Any, scale: Array) -> Array:
        a, right = saved
        grad = np.zeros_like(a)
        grad[right] = -scale
        return grad


@dataclass(frozen=True)
class CrossEntropyLoss(ReducedLoss):
    """Cross entropy of logits: log-softmax and negative log-likelihood in one.

    Shapes
        logits z (classes, *extra, m); target y (*extra, m), integers; C a scalar.
    Forward
        C = sum over samples (log(sum_k exp(z_k)) - z[y]), divided for "mean" by the number of samples.
    Backward
        With p the softmax of z,  dC/dz = p - [i = y], divided likewise.
    References
        torch.nn.CrossEntropyLoss.
    """

    formula: ClassVar[str] = "sum (log(sum_k exp(z_k)) - z[y]) / m"
    derivative_formula: ClassVar[str] = "(softmax(z) - [i = y]) / m"
    per_sample: ClassVar[bool] = True
    target_domain = ClassIndices()

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        right = _target_elements(target)
        p = shifted(input)
        logits_of_right = p[right]
        np.exp(p, out=p)
        total = p.sum(axis=0)
        p /= total
        return np.log(total) - logits_of_right, (p, right)

    def gradient(self, saved: Any, scale: Array) -> Array:
        p, right = saved
        grad = p * scale
        grad[right] -= scale
        return grad
