"""Losses for one class out of n: the target is the index of the right class, or a probability for every class."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from manualbp.blocks import Array
from manualbp.columns import columnwise, log_softmax_vjp, softmax_and_log, total
from manualbp.domains import Domain
from manualbp.losses.weighted import Weighted
from manualbp.targets import ClassIndices, ClassTargets


class _Right(NamedTuple):
    """A target of class indices: the term of a sample is -weight[y] a[y], and 0 where the sample is ignored."""

    shape: tuple[int, ...]  # of a
    kept: Array  # which samples are not ignored, as flat indices
    at: Array  # flat indices of their right classes in a
    weight: Any  # weight[y] of each of them, or one for all
    count: Any  # what "mean" divides by

    def terms(self, a: Array, *less: Array) -> Array:
        of_right = a.take(self.at)
        for row in less:
            of_right -= row.take(self.kept)
        return self._spread(-self.weight * of_right)

    def slope(self, scale: Array) -> Array:
        """dC/da: -weight[y] for the right class, 0 for all others."""
        slope = np.zeros(self.shape)
        slope.put(self.at, -self._scaled(scale))
        return slope

    def logits_slope(self, p: Array, scale: Array) -> Array:
        """dC/dz: weight[y] p for the wrong classes; all slopes of a sample add up to 0, which gives that of the right one."""
        slope = p.copy()
        slope.put(self.at, 0 * p.take(self.at))  # 0, but NaN stays
        slope.put(self.at, -total(slope).take(self.kept))
        slope *= self._spread(self._scaled(scale))
        return slope

    def _scaled(self, scale: Array) -> Array:
        """weight[y] times dC/d term, for the samples that are kept."""
        return self.weight * (scale.take(self.kept) if scale.ndim else scale)

    def _spread(self, numbers: Array) -> Array:
        """The numbers of the samples that are kept, and 0 for the others."""
        every = np.zeros(self.shape[1:])
        every.put(self.kept, numbers)
        return every


class _Shared(NamedTuple):
    """A target that shares itself out over the classes: the term of a sample is -sum_i q_i a_i."""

    q: Array
    kept: Array | None  # which samples are not ignored, marked; None for all of them
    count: Any

    def terms(self, a: Array, *less: Array) -> Array:
        for row in less:
            a = a - row
        return self._kept(-total(self.q * a))

    def logits_slope(self, p: Array, scale: Array) -> Array:
        """dC/dz, through dC/d log p = -q."""
        (slope,) = columnwise(log_softmax_vjp, p, self._kept(self.q * -scale))
        return slope

    def _kept(self, numbers: Array) -> Array:
        """The numbers of the samples that are kept, and 0 for the others."""
        return numbers if self.kept is None else np.where(self.kept, numbers, 0)


def _weights(classes: int) -> tuple[float, ...]:
    """Weights for examples."""
    return tuple(0.5 + 0.25 * (i % 5) for i in range(classes))


@dataclass(frozen=True)
class _OverClasses(Weighted):
    """What the losses over classes have in common: weights of the classes, samples that are ignored, and a mean of both."""

    per_sample: ClassVar[bool] = True

    ignore_index: int = -100

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"weight": _weights(rows), "ignore_index": 1}

    def right(self, target: Array, shape: tuple[int, ...]) -> _Right:
        """What a target of class indices says about log-probabilities of this shape."""
        labels = target.ravel()
        (kept,) = (labels != self.ignore_index).nonzero()
        labels = labels[kept].astype(np.intp, copy=False)
        at = labels * target.size + kept
        if self.weight is None:
            return _Right(shape, kept, at, 1.0, kept.size)
        weight = self.per_row("weight", np.empty((shape[0], 0)))[labels, 0]
        return _Right(shape, kept, at, weight, weight.sum())

    def count(self, terms: Array, saved: Any) -> Any:
        _, aim = saved
        return aim.count if self.reduction == "mean" else super().count(terms, saved)


@dataclass(frozen=True)
class NLLLoss(_OverClasses):
    """The negative log-likelihood: minus the log-probability of the right class.

    Shapes
        log-probabilities a (classes, *extra, m), usually from LogSoftmax; target y (*extra, m), integers; weight w, one for
        each class; C a scalar.
    Forward
        C = -sum over samples w[y] a[y], divided for "mean" by the sum of the w[y]: by the number of samples if there is no w.
        A sample whose y is ignore_index counts in neither sum.
    Backward
        dC/da_i = -w[y] [i = y], divided likewise: only the right class gets a gradient.
    Conventions
        The mean over nothing is NaN and its gradient 0, if every sample is ignored; if the weights that count add up to 0, the
        gradient is NaN too (torch 2.13).
    Raises
        ValueError for another reduction, or a number of weights that is not that of the classes.
    References
        torch.nn.NLLLoss.
    """

    formula: ClassVar[str] = "-sum w[y] a[y] / sum w[y]"
    derivative_formula: ClassVar[str] = "-w[y] [i = y] / sum w[y]"
    link: ClassVar[str] = "LogSoftmax"

    @property
    def target_domain(self) -> Domain:  # type: ignore[override]  # an option decides
        return ClassIndices(self.ignore_index)

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        aim = self.right(target, input.shape)
        return aim.terms(input), (None, aim)

    def gradient(self, saved: Any, scale: Array) -> Array:
        _, aim = saved
        return aim.slope(scale)


@dataclass(frozen=True)
class CrossEntropyLoss(_OverClasses):
    """Cross entropy of logits: log-softmax and negative log-likelihood in one.

    Shapes
        logits z (classes, *extra, m); target y either (*extra, m), integers, or (classes, *extra, m), a probability for every
        class, in the dtype of z; weight w, one for each class; C a scalar.
    Forward
        Let y_i be the probability of class i in the target, 1 for the right class and 0 for the others if it is an index, and
        q_i = w_i ((1 - s) y_i + s / classes), where label smoothing s takes a little of every class. Then
        C = sum over samples sum_i q_i (log(sum_k exp(z_k)) - z_i), divided for "mean"
        by the sum of the w[y] of the samples that are not ignored, if the target holds indices;
        by the number of samples, whatever their weights, if it holds probabilities.
    Backward
        With p the softmax of z,  dC/dz_j = p_j sum_i q_i - q_j, divided likewise. It is the backward pass of LogSoftmax
        applied to dC/d log p = -q, and computed by it. In the plain case that is p - [j = y], where p_y - 1, which would cancel,
        is minus the sum of the other p.
    Conventions
        Smoothing adds s / classes of every class's weight, but "mean" divides by the w[y] alone. An ignore_index that is a class
        leaves this class in the softmax of the other samples. The mean over nothing as in NLLLoss. A class of probability 0
        whose logit is -inf costs 0 * inf, NaN (torch 2.13).
    Raises
        ValueError for another reduction, a label_smoothing outside [0, 1], a number of weights that is not that of the
        classes; TypeError for probabilities together with an ignore_index from 0 on.
    References
        torch.nn.CrossEntropyLoss; Szegedy et al. 2016, Rethinking the Inception Architecture, arXiv 1512.00567.
    """

    formula: ClassVar[str] = "sum sum_i q_i (log(sum_k exp(z_k)) - z_i) / N"
    derivative_formula: ClassVar[str] = "(p_j sum_i q_i - q_j) / N"

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"{type(self).__name__} takes a label_smoothing from 0 to 1; got {self.label_smoothing}.")

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        smoothed = {"weight": _weights(rows), "label_smoothing": 0.25}
        return *super().choices(rows), smoothed, {**smoothed, "ignore_index": 1}

    @cached_property
    def target_domain(self) -> Domain:  # type: ignore[override]  # an option decides
        return ClassTargets(self.ignore_index)

    def aim(self, target: Array, shape: tuple[int, ...]) -> _Right | _Shared:
        """What the target says about logits of this shape."""
        if target.dtype.kind not in "iu":
            return self._shared(target, None, target[0].size)
        right = self.right(target, shape)
        if not self.label_smoothing:
            return right
        one_hot = np.zeros(shape)
        one_hot.put(right.at, 1)
        return self._shared(one_hot, target != self.ignore_index, right.count)

    def _shared(self, y: Array, kept: Array | None, count: Any) -> _Shared:
        smoothing = self.label_smoothing
        q = y if not smoothing else (1 - smoothing) * y + smoothing / len(y)
        return _Shared(q if self.weight is None else self.per_row("weight", y) * q, kept, count)

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        p, of_top, rest = columnwise(softmax_and_log, input)
        aim = self.aim(target, input.shape)
        return aim.terms(input, of_top, rest), (p, aim)

    def gradient(self, saved: Any, scale: Array) -> Array:
        p, aim = saved
        return aim.logits_slope(p, scale)
