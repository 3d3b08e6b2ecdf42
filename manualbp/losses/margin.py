"""Hinges: a term is 0 as soon as the right answer leads by a margin, and a straight line before."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manualbp.blocks import Array
from manualbp.columns import two_sum
from manualbp.domains import REALS, Interval
from manualbp.loss import LossKink, ReducedLoss
from manualbp.losses.weighted import Weighted
from manualbp.targets import ClassIndices, LabelSets, Signs

#: The slope of max(z, 0) at z = 0, as torch 2.13 takes it where it writes clamp_min(z, 0), and where it asks for z > 0.
CLAMPED, STRICT = 1.0, 0.0


def hinge(z: Array) -> Array:
    """max(z, 0)."""
    return np.maximum(z, 0.0)


def hinge_slope(z: Array, at_zero: float) -> Array:
    """The derivative of max(z, 0): 1 or 0, at the kink the number given, NaN for NaN."""
    return np.heaviside(z, at_zero)


def short_of(margin: float, ahead: Array, behind: Array) -> Array:
    """What the lead falls short of the margin, margin - (ahead - behind), of the right sign even one ulp from 0.

    What rounding takes from the difference is put back at the end; where the difference nearly is the margin, the sum of
    the two takes nothing.
    """
    lead, lost = two_sum(ahead, -behind)
    return margin - lead - lost


@dataclass(frozen=True)
class HingeEmbeddingLoss(ReducedLoss):
    """Pulls a distance a to 0 for a similar pair, y = 1, and pushes it beyond the margin for another, y = -1.

    Shapes
        distance a and target y (features, *extra, m), y = 1 or -1; a term for each element.
    Forward
        A term is  a  for y = 1, and  max(0, margin - a)  for y = -1.
    Backward
        1 for y = 1; -1 for y = -1 and a < margin; else 0.
    Conventions
        At the kink a = margin torch takes -1 (2.13). For a NaN and y = -1 torch's gradient is 0; ours is NaN.
    References
        torch.nn.HingeEmbeddingLoss.
    """

    formula: ClassVar[str] = "sum (a if y = 1 else max(0, margin - a)) / N"
    derivative_formula: ClassVar[str] = "(1 if y = 1 else -[a <= margin]) / N"
    target_domain = Signs()

    margin: float = 1.0

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"margin": 0.25}

    @property
    def kinks(self) -> tuple[LossKink, ...]:
        return (LossKink("a = margin", (self.margin,), -1.0, (-1.0,)),)

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        z = self.margin - input
        return np.where(target == 1, input, hinge(z)), np.where(target == 1, 1.0, -hinge_slope(z, CLAMPED))

    def gradient(self, saved: Any, scale: Array) -> Array:
        return saved * scale


@dataclass(frozen=True)
class MarginRankingLoss(ReducedLoss):
    """Asks that a beats b by a margin where y = 1, and b beats a where y = -1.

    Shapes
        scores a and b and target y (features, *extra, m), y = 1 or -1: the output is a above b; a term for each element.
    Forward
        A term is  max(0, z)  with  z = margin - y (a - b).
    Backward
        by a:  -y [z >= 0];    by b:  y [z >= 0].
    Conventions
        At the kink z = 0 torch's slope is 1 (2.13): a tie pushes apart even with margin 0. For NaN torch's gradient is 0; ours
        is NaN.
    References
        torch.nn.MarginRankingLoss.
    """

    formula: ClassVar[str] = "sum max(0, margin - y (a - b)) / N"
    derivative_formula: ClassVar[str] = "-y [z >= 0] / N,  y [z >= 0] / N,  z = margin - y (a - b)"
    inputs: ClassVar[tuple[Interval, ...]] = (REALS, REALS)
    target_domain = Signs()

    margin: float = 0.0

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"margin": 0.25}

    @property
    def kinks(self) -> tuple[LossKink, ...]:
        ahead, behind = 1 + self.margin, 1.0
        if ahead - behind != self.margin:
            return ()  # rounding moved it
        return (LossKink("z = 0", (ahead, behind), 1.0, (-1.0, 1.0)), LossKink("z = 0", (behind, ahead), -1.0, (1.0, -1.0)))

    def terms(self, input1: Array, input2: Array, target: Array) -> tuple[Array, Any]:
        z = short_of(self.margin, target * input1, target * input2)
        return hinge(z), target * hinge_slope(z, CLAMPED)

    def gradient(self, saved: Any, scale: Array) -> tuple[Array, ...]:
        slope = saved * scale
        return -slope, slope


@dataclass(frozen=True)
class MultiMarginLoss(Weighted):
    """The hinge for one class out of n: every other class shall stay a margin behind the right one.

    Shapes
        scores a (classes, m); target y (m), integers; a term for each sample; w one weight per class.
    Forward
        A term is  w[y] sum over i != y of max(0, z_i)^p / classes  with  z_i = margin + a_i - a[y].
    Backward
        by a_i:  w[y] p max(0, z_i)^(p-1) [z_i > 0] / classes;    by a[y]:  minus the sum of all those.
    Conventions
        At the kink z = 0 torch takes 0 (2.13), unlike the other hinges. torch adds up (margin - a[y]) + a_i, and loses
        the margin next to large scores: in float32 three scores of 2e7 cost 0, not 2/3. It overlooks NaN, with loss and
        gradient 0; ours are NaN.
    Raises
        ValueError for a p other than 1 and 2.
    References
        torch.nn.MultiMarginLoss; Crammer and Singer 2001, On the algorithmic implementation of
        multiclass kernel-based vector machines.
    """

    formula: ClassVar[str] = "sum w[y] sum_i max(0, margin + a_i - a[y])^p / classes / m, i != y"
    derivative_formula: ClassVar[str] = "w[y] p max(0, z_i)^(p-1) [z_i > 0] / classes / m; at y minus their sum"
    target_domain = ClassIndices()
    per_sample: ClassVar[bool] = True
    extra_axes: ClassVar[int | None] = 0

    p: int = 1
    margin: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p not in (1, 2):
            raise ValueError(f"MultiMarginLoss takes p 1 or 2, the power of the hinge; got {self.p}.")

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        weight = tuple(0.5 + 0.75 * row for row in range(rows))
        return {}, {"p": 2}, {"margin": 0.25, "weight": weight}, {"p": 2, "weight": weight}

    @property
    def kinks(self) -> tuple[LossKink, ...]:
        return (LossKink("z = 0", (self.margin, 0.0, -4.0), 0, (0.0, 0.0, 0.0)),) if self.p == 1 else ()

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        right = target[None]
        z = short_of(self.margin, np.take_along_axis(input, right, axis=0), input)
        np.put_along_axis(z, right, 0.0, axis=0)  # the right class is not compared with itself
        weight = np.take_along_axis(np.broadcast_to(self.per_row("weight", input), input.shape), right, axis=0)[0]
        share = weight / len(input)
        behind = hinge(z)
        slope = self.p * share * behind ** (self.p - 1) * hinge_slope(z, STRICT)
        np.put_along_axis(slope, right, -slope.sum(axis=0, keepdims=True), axis=0)
        return (share * behind**self.p).sum(axis=0), slope

    def gradient(self, saved: Any, scale: Array) -> Array:
        return saved * scale


@dataclass(frozen=True)
class MultiLabelMarginLoss(ReducedLoss):
    """The hinge for several right classes: every wrong class shall stay 1 behind every right one.

    Shapes
        scores a (classes, m); target y (classes, m), the right classes of each column on top, then -1; a term for each sample.
    Forward
        A term is  sum over right j and wrong i of max(0, z_ij) / classes  with  z_ij = 1 + a_i - a_j.
    Backward
        Every pair with z_ij > 0 adds 1 / classes at i and subtracts it at j.
    Conventions
        At the kink z = 0 torch takes 0 (2.13). A class listed twice counts twice. As in MultiMarginLoss, torch
        loses the margin next to large scores, and overlooks NaN.
    References
        torch.nn.MultiLabelMarginLoss.
    """

    formula: ClassVar[str] = "sum sum_ij max(0, 1 + a_i - a_j) / classes / m, j right, i wrong"
    derivative_formula: ClassVar[str] = "(sum_j [z_ij > 0] if i wrong, else -sum_k [z_ki > 0]) / classes / m"
    target_domain = LabelSets()
    per_sample: ClassVar[bool] = True
    extra_axes: ClassVar[int | None] = 0

    @property
    def kinks(self) -> tuple[LossKink, ...]:
        return (LossKink("z = 0", (1.0, 0.0, -4.0), (0, -1, -1), (0.0, 0.0, 0.0)),)

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        before_end = np.logical_and.accumulate(target >= 0, axis=0)
        classes = np.arange(len(input))[:, None, None]
        listed = ((target == classes) & before_end).sum(axis=1)  # how often each class is named right
        z = short_of(1.0, input, input[:, None])  # (i, j, m)
        pairs = np.where(listed[:, None] > 0, 0, listed)
        z[pairs == 0] = 0.0  # what is not compared costs nothing
        slope = pairs * hinge_slope(z, STRICT)
        return (pairs * (hinge(z) / len(input))).sum(axis=(0, 1)), slope.sum(axis=1) - slope.sum(axis=0)

    def gradient(self, saved: Any, scale: Array) -> Array:
        return saved * (scale / len(saved))
