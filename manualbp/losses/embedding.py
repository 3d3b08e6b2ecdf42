"""Losses on the distance, or the angle, between vectors: the features of a sample are one vector."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manualbp.blocks import Array
from manualbp.domains import REALS, Interval
from manualbp.exact import product
from manualbp.loss import LossKink, ReducedLoss
from manualbp.losses.margin import CLAMPED, hinge, hinge_slope
from manualbp.targets import NoTarget, Signs


def magnitude(x: Array) -> Array:
    """A power of two near the largest |x_i| of each sample: divided by it, no vector's square overflows, and no digit is lost."""
    return np.ldexp(1.0, np.frexp(np.abs(x).max(axis=0, initial=0.0))[1] - 1)


def across(u: Array, v: Array, overlap: Array, square: Array, eps: Array) -> Array:
    """The vector v - (overlap / square) u: what is left of v when its part along u is taken away, where square = u.u + eps.

    For nearly parallel vectors next to nothing is left, and rounding would be all of it. So the ratio t is rounded once,
    v - t u taken with the exact product, and what the rounded t missed, (overlap - t square) / square, taken away after.
    """
    t = overlap / square
    along, lost = product(u, t)  # type: ignore[arg-type]  # a number for each sample
    left = v - along - lost
    missed = ((u * left).sum(axis=0) - t * eps) / square
    return left - missed * u


@dataclass(frozen=True)
class CosineEmbeddingLoss(ReducedLoss):
    """Turns two vectors towards each other for a similar pair, y = 1, and apart for another, y = -1.

    Shapes
        vectors u and v (features, m), target y (m), 1 or -1: the output is u above v; a term for each sample.
    Forward
        cos = u.v / (|u| |v|),  where |u|^2 = u.u + 1e-12.  A term is  1 - cos  for y = 1,  max(0, cos - margin)  for y = -1.
    Backward
        dcos/du = v / (|u| |v|) - cos u / |u|^2 = (v - (u.v / |u|^2) u) / (|u| |v|): the part of v across u. For v likewise.
    Conventions
        At the kink cos = margin torch's slope is 1 (2.13): with margin 0, orthogonal vectors are still pushed apart. torch keeps
        the 1e-12 as a float32, 4e-9 below the decimal number; so do we.
    Accuracy
        1 - cos cancels for a good prediction. From (|u| |v|)^2 - (u.v)^2 = |u|^2 (w.w + eps (1 + (u.v / |u|^2)^2)), with w
        the part of v across u, it is that divided by |u| |v| (|u| |v| + u.v): a sum of positive numbers. A long vector is
        divided by a power of two, and the square root of its eps with it, so that no square overflows.
    References
        torch.nn.CosineEmbeddingLoss.
    """

    formula: ClassVar[str] = "sum (1 - cos if y = 1 else max(0, cos - margin)) / m, cos = u.v / (|u| |v|)"
    derivative_formula: ClassVar[str] = "-y [y = 1 or cos >= margin] (v - (u.v / |u|^2) u) / (|u| |v|) / m, u and v exchanged"
    inputs: ClassVar[tuple[Interval, ...]] = (REALS, REALS)
    target_domain = Signs(per_sample=True)
    per_sample: ClassVar[bool] = True
    extra_axes: ClassVar[int | None] = 0

    _EPS: ClassVar[float] = float(np.float32(1e-12))

    margin: float = 0.0

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"margin": 0.25}, {"margin": -0.5}

    def terms(self, input1: Array, input2: Array, target: Array) -> tuple[Array, Any]:
        size1, size2 = (np.maximum(magnitude(x), 1.0) for x in (input1, input2))
        u, v, eps1, eps2 = input1 / size1, input2 / size2, self._EPS / size1 / size1, self._EPS / size2 / size2
        overlap, square1, square2 = (u * v).sum(axis=0), (u * u).sum(axis=0) + eps1, (v * v).sum(axis=0) + eps2
        across1, across2 = across(u, v, overlap, square1, eps1), across(v, u, overlap, square2, eps2)
        lengths = np.sqrt(square1) * np.sqrt(square2)
        cos = overlap / lengths
        positive = (across1 * across1).sum(axis=0) + eps2 + eps1 * (overlap / square1) ** 2
        gap = np.where(overlap > 0, positive * (square1 / lengths) / (lengths + overlap), 1 - cos)
        z = cos - self.margin
        slope = np.where(target == 1, -1.0, hinge_slope(z, CLAMPED)) / lengths
        return np.where(target == 1, gap, hinge(z)), (across1 / size1, across2 / size2, slope)

    def gradient(self, saved: Any, scale: Array) -> tuple[Array, ...]:
        across1, across2, slope = saved
        return across1 * (slope * scale), across2 * (slope * scale)


@dataclass(frozen=True)
class _Triplet(ReducedLoss, ABC):
    """What the two triplet losses share: all but the options of the distance."""

    formula: ClassVar[str] = "sum max(0, margin + D(a, p) - D(a, n)) / m, D(x, y) = |x - y + eps|_p"
    derivative_formula: ClassVar[str] = "at a: D'(a, p) - D'(a, n), at p: -D'(a, p), at n: D'(a, n), each times [z >= 0] / m"
    inputs: ClassVar[tuple[Interval, ...]] = (REALS, REALS, REALS)
    target_domain = NoTarget()
    per_sample: ClassVar[bool] = True
    features_last: ClassVar[bool] = True

    margin: float = 1.0
    swap: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.margin > 0:
            raise ValueError(f"{type(self).__name__} takes a positive margin; got {self.margin}.")

    @property
    @abstractmethod
    def norm(self) -> tuple[float, float]:
        """The p of the norm, and eps, which is added to every difference."""

    def distance(self, x: Array, y: Array) -> tuple[Array, Array]:
        """D(x, y) of every sample, and its derivative by x; that by y is minus this."""
        p, eps = self.norm
        d = x - y + eps
        scale = magnitude(d)
        size = np.abs(d) / scale
        length = np.linalg.norm(size, p, axis=0)
        if p == np.inf:
            largest = size == length
            return scale * length, np.sign(d) * largest / largest.sum(axis=0)
        return scale * length, np.where(d == 0, 0.0, np.sign(d) * (size / length) ** (p - 1))

    def terms(self, anchor: Array, positive: Array, negative: Array, target: Array) -> tuple[Array, Any]:
        near, away = self.distance(anchor, positive), self.distance(anchor, negative)
        swapped = self.distance(positive, negative) if self.swap else (np.inf, 0.0)
        share = np.heaviside(swapped[0] - away[0], 0.5)  # 1 where the anchor is nearer to the negative, 1/2 in a tie
        z = near[0] - np.minimum(away[0], swapped[0]) + self.margin
        slope, off = hinge_slope(z, CLAMPED), z < 0
        slopes = (slope * near[1], slope * share * away[1], slope * (1 - share) * swapped[1])
        return hinge(z), tuple(np.where(off, 0.0, each) for each in slopes)  # infinitely far away has no direction

    def gradient(self, saved: Any, scale: Array) -> tuple[Array, ...]:
        near, away, swapped = (slope * scale for slope in saved)
        return near - away, -near - swapped, away + swapped


@dataclass(frozen=True)
class TripletMarginLoss(_Triplet):
    """Asks that the anchor a is nearer to a positive example p than to a negative one n, by a margin.

    Shapes
        anchor a, positive p and negative n (features, *extra, m): the output is the three, one above the other; no target; a
        term for each sample and position.
    Forward
        A term is  max(0, z)  with  z = margin + D(a, p) - D(a, n),  D(x, y) = (sum |x - y + eps|^p)^(1/p) over features.
        With swap, D(p, n) stands for D(a, n) where it is the smaller one.
    Backward
        With d = x - y + eps, dD/dx_i = sign(d_i) (|d_i| / D)^(p-1), which for p = 2 is d_i / D, and dD/dy = -dD/dx. For
        p = infinity only the largest |d_i| count, with equal shares.
    Conventions
        At the kink z = 0 torch's slope is 1, at d_i = 0 and at D = 0 it is 0, and a tie of D(a, n) and D(p, n) counts half each
        (2.13). eps is added to the signed difference, so that the distance is least at x = y - eps, and D(x, y) is not D(y, x).
        torch's features are its last axis, not axis 1.
    Raises
        ValueError unless margin and p are positive.
    References
        torch.nn.TripletMarginLoss; Balntas et al. 2016, Learning shallow convolutional feature descriptors with triplet losses.
    """

    p: float = 2.0
    eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.p > 0:
            raise ValueError(f"TripletMarginLoss takes a positive p, that of the norm; got {self.p}.")

    @property
    def norm(self) -> tuple[float, float]:
        return self.p, self.eps

    @property
    def kinks(self) -> tuple[LossKink, ...]:
        if self.p != 1 or self.eps:
            return ()  # next to none of them lies on a float
        a, p, n = (0.0, 0.0, 0.0), (0.5, 0.0, 0.25), (0.25, -0.25, 0.25)
        return (LossKink("a_2 = p_2", a + p + n, (), (0.0, -1.0, 0.0, 1.0, 0.0, 1.0, -1.0, 1.0, -1.0)),)

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"swap": True, "margin": 0.25}, {"p": 1.0, "eps": 0.0}, {"p": 3.0, "swap": True}


@dataclass(frozen=True)
class TripletMarginWithDistanceLoss(_Triplet):
    """TripletMarginLoss with another distance.

    Shapes, Forward, Backward, Conventions
        As TripletMarginLoss. `distance_function` is None for torch's default, p = 2 with eps = 1e-6, or the name of a distance
        with eps = 0: "euclidean" (p = 2), "manhattan" (p = 1) or "chebyshev" (p = infinity). torch takes any function of two
        tensors; here its derivative has to be known.
    Raises
        ValueError unless the margin is positive and the distance one of these.
    References
        torch.nn.TripletMarginWithDistanceLoss.
    """

    NORMS: ClassVar[Mapping[str | None, tuple[float, float]]] = {
        None: (2.0, 1e-6),
        "euclidean": (2.0, 0.0),
        "manhattan": (1.0, 0.0),
        "chebyshev": (np.inf, 0.0),
    }

    distance_function: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distance_function not in self.NORMS:
            raise ValueError(f"{type(self).__name__} takes distance_function {list(self.NORMS)}; got {self.distance_function!r}.")

    @property
    def norm(self) -> tuple[float, float]:
        return self.NORMS[self.distance_function]

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"swap": True, "margin": 0.25}, {"distance_function": "manhattan"}
