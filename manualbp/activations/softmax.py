"""Activations that mix the features of a sample: their Jacobian is a full matrix, applied without building it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manualbp.blocks import Array
from manualbp.domains import Interval
from manualbp.layer import Activation, Params


def shifted(z: Array) -> Array:
    """Subtract from z its largest feature, sample by sample, as a new array: the same softmax, and exp cannot overflow."""
    return z - z.max(axis=0, keepdims=True)


class _OverFeatures(Activation):
    """A normalisation over the features, which are axis 0 here and axis 1 in torch."""

    def twin_options(self) -> dict[str, Any]:
        return {"dim": 1}


@dataclass(frozen=True)
class Softmax(_OverFeatures):
    """Positive numbers that add up to 1 over the features of each sample.

    Forward
        a_i = exp(z_i) / sum_k exp(z_k)
    Backward
        da_i/dz_j = a_i ([i = j] - a_j). Writing g = dC/da,  dC/dz_j = sum_i g_i a_i ([i = j] - a_j)
        = a_j (g_j - sum_i g_i a_i): each upstream gradient counts against their mean, weighted with a.
    """

    formula: ClassVar[str] = "exp(z_i) / sum_k exp(z_k)"
    derivative_formula: ClassVar[str] = "da_i/dz_j = a_i ([i = j] - a_j)"
    range: ClassVar[Interval] = Interval(0.0, 1.0)

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        a = shifted(x)
        np.exp(a, out=a)
        a /= a.sum(axis=0, keepdims=True)
        return a, a

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        a = residuals
        mean = np.sum(a * grad_output, axis=0, keepdims=True)
        grad = grad_output - mean
        grad *= a
        return grad, {}


@dataclass(frozen=True)
class LogSoftmax(_OverFeatures):
    """The logarithm of the softmax, computed without taking the logarithm of a rounded probability.

    Forward
        a_i = z_i - log(sum_k exp(z_k))
    Backward
        da_i/dz_j = [i = j] - exp(a_j). Writing g = dC/da,  dC/dz_j = g_j - exp(a_j) sum_i g_i.
    """

    formula: ClassVar[str] = "z_i - log(sum_k exp(z_k))"
    derivative_formula: ClassVar[str] = "da_i/dz_j = [i = j] - exp(a_j)"
    range: ClassVar[Interval] = Interval(high=0.0)

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        a = shifted(x)
        a -= np.log(np.exp(a).sum(axis=0, keepdims=True))
        return a, a

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        grad = np.exp(residuals)
        grad *= -grad_output.sum(axis=0, keepdims=True)
        grad += grad_output
        return grad, {}
