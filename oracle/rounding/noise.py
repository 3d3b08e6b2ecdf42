"""What rounding does to a computation, by Monte Carlo: every operation of torch's own gets the error it may have made.

A copy of the computation runs in float64 beside the exact one, and after each aten operation its result is moved by a unit
roundoff u of the dtype under test, up or down by a coin (Parker 1997, Monte Carlo arithmetic; Verificarlo 2016). Composite
operations are first taken apart by torch's own decompositions, so what cancels inside gelu or log_softmax is seen. Many copies,
*replicas*, lie side by side on the leading axis, behind one that stays exact.

* an elementwise operation: u |result|
* a sum of n terms, or an inner product of length n: u sqrt(n (Q + S^2 / 3)), with S the result and Q the sum of squares.
  Added up one after the other, terms of random signs have partial sums sqrt(k Q / n), and equal ones k S / n, each rounded
* moving, selecting and comparing round nothing
* a half precision computes in float32 inside an operation, and rounds the result

A comparison decides in every noisy replica what it decides in the exact one, so that the noise measures rounding alone. Where
rounding could have decided otherwise, that is another matter, and `Decisions` tries it: replicas without noise, in which such
comparisons fall either way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oracle.rounding.operations import kind
from oracle.rounding.replicas import Groups, Replicas, compared, halves, toss

#: Half of the replicas get noise of this strength, and what it does is divided by it: where a slope is 0, as at the bottom of a
#: parabola, rounding errors of usual size show nothing of those that are larger than usual.
STRONG = 4.0
#: The square of this and what is larger does not underflow.
SMALL = 1e-150


@dataclass(frozen=True)
class Format:
    """What a dtype rounds to: its unit roundoff, that inside an operation, and below what size all are rounded alike."""

    unit_roundoff: float
    inside: float
    tiny: float


class RoundingNoise(Replicas):  # type: ignore[no-untyped-call]
    """Noise in all replicas, see `halves`. `reach` says how far it moves what each comparison compares, in their order.

    A reach is `window` times the movement, (groups, rows, ...); None where no comparison is in reach. With the window 0 every
    replica decides for itself.
    """

    def __init__(self, groups: Groups, format: Format, window: float, seed: int) -> None:
        super().__init__(groups)
        self.format, self.window = format, window
        self.at = seed
        self.reach: list[Tensor | None] = []

    def made(self, result: Tensor, func: Any, args: Sequence[Any], kwargs: Any) -> None:
        level = self.format.inside if self.wide_inside else self.format.unit_roundoff
        if kind(func).contracts:
            self.disturb(result, self.format.inside, self._contraction(result, func, args, kwargs))
            if level == self.format.inside:
                return
            if len(args) > 2 and isinstance(args[2], Tensor):  # the product is rounded before something is added to it, or not
                self.disturb(result, level, self.groups.first(result - args[0]))
        if kind(func).positive:
            self.disturb(result, level, self.groups.first(result).clamp_min(self.format.tiny * level))
            result.abs_()
        else:
            self.disturb(result, level)

    def handed_over(self, result: Tensor) -> None:
        """What the next layer gets is not what this one keeps for its way back: each may come from another formula."""
        self.disturb(result, self.format.unit_roundoff)

    def put_together(self, result: Tensor) -> None:
        if self.format.inside != self.format.unit_roundoff:
            self.disturb(result, self.format.unit_roundoff)

    def disturb(self, tensor: Tensor, level: float, scale: Tensor | None = None) -> None:
        """Add level times scale, up or down, in all replicas; `scale` has the form of the exact copies, which it is by default.

        What is not 0 is not rounded more finely than the format's `tiny`, and never to a number of the other sign. A replica
        that decides for itself may be far from the exact copy, and its own numbers are the scale.
        """
        copies = self.groups.apart(tensor)
        own = scale is None and not self.window
        numbers = copies[:, 1:] if own else copies[:, :1] if scale is None else scale.view(copies[:, :1].shape)
        size = numbers.abs()
        size = torch.maximum(size, torch.clamp(size / (level * STRONG), max=self.format.tiny))
        sizes = halves(size, 1) if own else (size, size)
        for moved, scale, strength in zip(halves(copies[:, 1:], 1), sizes, (1.0, STRONG), strict=True):
            moved.addcmul_(toss(self.at, moved.shape), scale, value=level * strength)
            self.at += moved.numel()

    def _contraction(self, result: Tensor, func: Any, args: Sequence[Any], kwargs: Any) -> Tensor:
        """The scale of a sum or product in its exact copies; of three tensors the first is added to the product of the others."""
        exact = [self.groups.first(arg) if self.groups.hold(arg) else arg for arg in args]
        tensors = [arg if arg.layout is torch.strided else arg.to_dense() for arg in exact if isinstance(arg, Tensor)]
        if len(tensors) > 1:
            *added, first, second = tensors
            rows, columns = _largest(first, (-1,)), _largest(second, (-2,))
            root = ((first / rows).square_() @ (second / columns).square_()).sqrt_()  # of squares that do not overflow
            if (root < SMALL).any():  # but underflow, as where small numbers stand beside large ones that meet none: no less are
                root = torch.where(root < SMALL, (first / rows).abs_() @ (second / columns).abs_(), root)
            size, length = rows * columns, first.shape[-1]
        else:
            added, (terms,), axes = [], tensors, (args[1] if len(args) > 1 else None) or tuple(range(tensors[0].ndim))
            most = _largest(terms, axes)
            root = func((terms / most).square_(), *args[1:], **kwargs).sqrt_()
            size, length = most.reshape(root.shape), terms.numel() // max(root.numel(), 1)
        scale = partial_sums(self.groups.first(result), root.mul_(size))
        for tensor in added:
            scale = torch.hypot(scale, tensor)
        return scale.mul_(length**0.5)

    def decide(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.window:
            return func(*args, **kwargs)
        self.reach.append(self._reach(args))
        first = [self.groups.first(arg) if self.groups.hold(arg) else arg for arg in args]
        return self.groups.spread(func(*first, **kwargs))

    def _reach(self, args: Sequence[Any]) -> Tensor | None:
        difference = self.groups.apart(compared(args))
        weak, strong = halves((difference[:, 1:] - difference[:, :1]).square_(), 1)
        far = self.window * torch.maximum(weak.mean(1), strong.mean(1) / STRONG**2).sqrt_()
        near = (difference[:, 0].abs() <= far) & (far > 0)
        return torch.where(near, far, 0.0) if near.any() else None


def _largest(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """The size of the largest number along some axes, which stay; never 0 and never infinite."""
    limits = torch.finfo(tensor.dtype)
    return tensor.abs().amax(tuple(axes), keepdim=True).nan_to_num_(0.0).clamp_(limits.tiny, limits.max)


def partial_sums(result: Tensor, root: Tensor) -> Tensor:
    """The root mean square of the partial sums of one sum, from it and the root of the sum of squares."""
    return torch.hypot(root, result / 3**0.5)
