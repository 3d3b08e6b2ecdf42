"""Losses of yes-or-no answers: each output element is a probability, or a logit, of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manualbp.blocks import Array
from manualbp.domains import UNIT, Interval
from manualbp.loss import ReducedLoss
from manualbp.losses.weighted import Weighted, times
from manualbp.targets import Signs


@dataclass(frozen=True)
class BCELoss(Weighted):
    """Binary cross entropy of probabilities: the notes' second cost.

    Shapes
        probability a and target y (features, *extra, m), both in [0, 1]; a term for each element; w one weight per feature.
    Forward
        C = -sum w (y log a + (1 - y) log(1 - a)), divided for "mean" by the number of elements (not by the weights).
    Backward
        dC/da = w (-y/a + (1 - y)/(1 - a)) = w (a - y) / (a (1 - a)), divided likewise.
    Conventions
        As torch does, each logarithm is cut at -100: a certain and wrong prediction costs 100, and has the slope 0. torch's
        own backward is not the derivative of that: it cuts a (1 - a) at 1e-12, kept as a float32, and so gives -1e12 for
        y = 1 at a = 0 and at a = 1e-20, and 0 at a = 1, where it is -1 (found by the oracle, torch 2.13).
    References
        torch.nn.BCELoss; the notes, Version 1.
    """

    formula: ClassVar[str] = "-sum w (y log a + (1 - y) log(1 - a)) / N"
    derivative_formula: ClassVar[str] = "w (a - y) / (a (1 - a)) / N"
    inputs: ClassVar[tuple[Interval, ...]] = (UNIT,)
    target_domain = UNIT
    features_last: ClassVar[bool] = True  # the weights of torch broadcast along its last axis
    link: ClassVar[str] = "Sigmoid"

    _LOG_FLOOR: ClassVar[float] = -100.0
    #: Below this a (1 - a) an a may be so small that its logarithm is cut.
    _CERTAIN: ClassVar[float] = 1e-12

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"weight": tuple(0.5 + 0.75 * row for row in range(rows))}

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        weight = self.per_row("weight", input)
        log_a = np.maximum(np.log(input), self._LOG_FLOOR)
        log_rest = np.maximum(np.log1p(-input), self._LOG_FLOOR)
        return weight * ((target - 1) * log_rest - target * log_a), (input, target, weight)

    def gradient(self, saved: Any, scale: Array) -> Array:
        a, y, weight = saved
        grad, variance = a - y, a * (1 - a)
        grad /= np.maximum(variance, self._CERTAIN)
        certain = variance < self._CERTAIN
        if certain.any():
            p, yes = a[certain], y[certain]
            of_log_a, of_log_rest = (
                np.where(np.log(q) > self._LOG_FLOOR, share / q, 0) for q, share in ((p, yes), (1 - p, 1 - yes))
            )
            grad[certain] = of_log_rest - of_log_a
        grad *= weight * scale
        return grad


def softplus(z: Array) -> Array:
    """log(1 + exp(z)) = -log(1 - sigmoid(z)), which neither overflows nor loses the digits of a small exp(z)."""
    return np.logaddexp(0.0, z)


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), as exp(z) / (1 + exp(z)) for negative z: it stays above 0 as long as exp(z) does."""
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1.0) / (1 + e)


def cross_entropy(z: Array, no: Any, yes: Any) -> Array:
    """-no log(1 - a) - yes log a  for  a = sigmoid(z)."""
    return times(no, softplus(z)) + times(yes, softplus(-z))


def cross_entropy_slope(z: Array, no: Any, yes: Any) -> Array:
    """Derivative by z of the above, no a - yes (1 - a), with 1 - a taken as sigmoid(-z): a rounds to 1, and 1 - a to 0.

    Around z = 0 both products are about 1/2, and cancel when no and yes are alike. With t = tanh(z / 2), a is (1 + t) / 2,
    and  no a - yes (1 - a) = ((no - yes) + (no + yes) t) / 2,  where nothing does.
    """
    middle = ((no - yes) + (no + yes) * np.tanh(z / 2)) / 2
    return np.where(np.abs(z) < 0.5, middle, no * sigmoid(z) - yes * sigmoid(-z))


@dataclass(frozen=True)
class BCEWithLogitsLoss(Weighted):
    """Binary cross entropy of logits: the sigmoid is part of the loss, so nothing saturates.

    Shapes
        logit z and target y (features, *extra, m), y in [0, 1]; a term for each element; weight w and pos_weight q one number
        per feature each.
    Forward
        With a = 1 / (1 + exp(-z)), a term is  w (-q y log a - (1 - y) log(1 - a)).  Since log a = -log(1 + exp(-z)) and
        log(1 - a) = -log(1 + exp(z)), it is  w (q y softplus(-z) + (1 - y) softplus(z)),  a sum of positive numbers.
        It is divided for "mean" by the number of elements.
    Backward
        dC/dz = w ((1 - y) a - q y (1 - a)), divided likewise; without weights that is a - y: the a (1 - a) of the loss
        cancels that of the sigmoid.
    Conventions
        torch computes a - y from the rounded a: for y = 1 its gradient is 0 from z = 37 on in float64 and from 17 in float32,
        and its value for y = 0 from z = -37 down (2.13). Ours is exp(-|z|) there.
        An infinite logit costs 0 where it is right; torch gives NaN.
    References
        torch.nn.BCEWithLogitsLoss.
    """

    formula: ClassVar[str] = "sum w ((1 - y) log(1 + exp(z)) + q y log(1 + exp(-z))) / N"
    derivative_formula: ClassVar[str] = "w ((1 - y) a - q y (1 - a)) / N, a = 1 / (1 + exp(-z))"
    weights: ClassVar[tuple[str, ...]] = ("weight", "pos_weight")
    target_domain = UNIT
    features_last: ClassVar[bool] = True  # the weights of torch broadcast along its last axis

    pos_weight: tuple[float, ...] | None = None

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        weight = tuple(0.5 + 0.75 * row for row in range(rows))
        pos_weight = tuple(3.0 - 0.25 * (row % 8) for row in range(rows))
        return {}, {"weight": weight}, {"pos_weight": pos_weight}, {"weight": weight, "pos_weight": pos_weight}

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        weight, no, yes = self.per_row("weight", input), 1 - target, self.per_row("pos_weight", input) * target
        return weight * cross_entropy(input, no, yes), (input, no, yes, weight)

    def gradient(self, saved: Any, scale: Array) -> Array:
        z, no, yes, weight = saved
        return cross_entropy_slope(z, no, yes) * (weight * scale)


@dataclass(frozen=True)
class MultiLabelSoftMarginLoss(Weighted):
    """Binary cross entropy of logits, averaged over the classes: every class is a question of its own.

    Shapes
        logit z and target y (classes, *extra, m), y in [0, 1]; a term for each sample and position; w one weight per class.
    Forward
        A term is  sum over classes w ((1 - y) softplus(z) + y softplus(-z)) / classes.
    Backward
        dC/dz = w (a - y) / classes  with a = 1 / (1 + exp(-z)), computed as (1 - y) a - y (1 - a).
    Conventions
        torch's classes are its last axis, not axis 1. An infinite logit costs 0 where it is right; torch gives NaN (2.13).
    References
        torch.nn.MultiLabelSoftMarginLoss.
    """

    formula: ClassVar[str] = "sum w ((1 - y) log(1 + exp(z)) + y log(1 + exp(-z))) / classes / m"
    derivative_formula: ClassVar[str] = "w (a - y) / classes / m, a = 1 / (1 + exp(-z))"
    target_domain = UNIT
    per_sample: ClassVar[bool] = True
    features_last: ClassVar[bool] = True

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"weight": tuple(0.5 + 0.75 * row for row in range(rows))}

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        share, no = self.per_row("weight", input) / np.float64(len(input)), 1 - target
        return (share * cross_entropy(input, no, target)).sum(axis=0), (input, no, target, share)

    def gradient(self, saved: Any, scale: Array) -> Array:
        z, no, yes, share = saved
        return cross_entropy_slope(z, no, yes) * (share * scale)


@dataclass(frozen=True)
class SoftMarginLoss(ReducedLoss):
    """The logistic loss of a score z for the answer y = 1 or -1: binary cross entropy of the logit y z.

    Shapes
        score z and target y (features, *extra, m), y = 1 or -1; a term for each element.
    Forward
        A term is  log(1 + exp(-y z)) = softplus(-y z).
    Backward
        dC/dz = -y / (1 + exp(y z)) = -y sigmoid(-y z), divided for "mean" by the number of elements.
    Conventions
        torch takes exp(-y z) as it stands: from y z = -89 down in float32 (-710 in float64) its value is infinite and its
        gradient NaN (2.13). Ours are -y z and -y.
    References
        torch.nn.SoftMarginLoss.
    """

    formula: ClassVar[str] = "sum log(1 + exp(-y z)) / N"
    derivative_formula: ClassVar[str] = "-y / (1 + exp(y z)) / N"
    target_domain = Signs()

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        agreement = target * input
        return softplus(-agreement), (agreement, target)

    def gradient(self, saved: Any, scale: Array) -> Array:
        agreement, y = saved
        return -y * sigmoid(-agreement) * scale
