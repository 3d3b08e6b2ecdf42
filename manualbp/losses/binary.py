"""Binary cross entropy: each output element is a probability of its own."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manualbp import _special as special
from manualbp.blocks import Array
from manualbp.domains import UNIT, Interval
from manualbp.layer import ReducedLoss


@dataclass(frozen=True)
class BCELoss(ReducedLoss):
    """Binary cross entropy of probabilities: the notes' second cost.

    Shapes
        probability a and target y (features, *extra, m), both in [0, 1]; C a scalar.
    Forward
        C = -sum (y log a + (1 - y) log(1 - a)), divided for "mean" by the number of elements.
    Backward
        dC/da = -y/a + (1 - y)/(1 - a) = (a - y) / (a (1 - a)), divided likewise.
    Conventions
        As torch does, each logarithm is cut at -100 and a (1 - a) at 1e-12, so that a certain and wrong prediction
        costs 100 and has a finite gradient. torch keeps that 1e-12 as a float32, 4e-9 below the decimal number, also where
        it computes in float64 (found by the oracle, torch 2.13); so do we.
    References
        torch.nn.BCELoss; the notes, Version 1.
    """

    formula: ClassVar[str] = "-sum (y log a + (1 - y) log(1 - a)) / N"
    derivative_formula: ClassVar[str] = "(a - y) / (a (1 - a)) / N"
    inputs: ClassVar[tuple[Interval, ...]] = (UNIT,)
    target_domain = UNIT
    link: ClassVar[str] = "Sigmoid"

    _LOG_FLOOR: ClassVar[float] = -100.0
    _VARIANCE_FLOOR: ClassVar[float] = float(np.float32(1e-12))

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        log_a = np.maximum(np.log(input), self._LOG_FLOOR)
        log_rest = np.maximum(np.log1p(-input), self._LOG_FLOOR)
        return (target - 1) * log_rest - target * log_a, (input, target)

    def gradient(self, saved: Any, scale: Array) -> Array:
        a, y = saved
        grad = a - y
        grad /= np.maximum(a * (1 - a), self._VARIANCE_FLOOR)
        grad *= scale
        return grad


@dataclass(frozen=True)
class BCEWithLogitsLoss(ReducedLoss):
    """Binary cross entropy of logits: the sigmoid is part of the loss, so nothing saturates.

    Shapes
        logit z and target y (features, *extra, m), y in [0, 1]; C a scalar.
    Forward
        With a = 1 / (1 + exp(-z)):  -y log a - (1 - y) log(1 - a) = (1 - y) z + log(1 + exp(-z)), and since exp(-z)
        may overflow, the last term is taken as max(-z, 0) + log(1 + exp(-|z|)).
    Backward
        dC/dz = a - y: the a (1 - a) of the loss cancels that of the sigmoid. Divided for "mean" by the number of elements.
    References
        torch.nn.BCEWithLogitsLoss.
    """

    formula: ClassVar[str] = "sum ((1 - y) z + log(1 + exp(-z))) / N"
    derivative_formula: ClassVar[str] = "(1 / (1 + exp(-z)) - y) / N"
    target_domain = UNIT

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        log_rest = np.log1p(np.exp(-np.abs(input)))
        return (1 - target) * input + np.maximum(-input, 0) + log_rest, (input, target)

    def gradient(self, saved: Any, scale: Array) -> Array:
        z, y = saved
        grad: Array = special.expit(z)
        grad -= y
        grad *= scale
        return grad
