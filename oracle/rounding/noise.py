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

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Operations that move, select or fill in numbers, and make no new ones. Views are known by their schema.
EXACT = _names("""
    _to_copy _unsafe_view abs amax amin arange cat clamp clamp_max clamp_min clone constant_pad_nd copy copy_ empty empty_like
    empty_permuted empty_strided fill fill_ flip full full_like gather index index_copy_ index_put index_select lift_fresh
    lift_fresh_copy masked_fill masked_fill_ max maximum min minimum nan_to_num neg new_empty new_full new_zeros ones ones_like
    relu repeat roll scalar_tensor scatter select_backward select_scatter slice_backward slice_scatter sort stack topk where
    zero_ zeros zeros_like
""")
#: Operations that decide by the sign of a difference.
DECISIONS = _names("eq ge gt le lt ne sgn sign")
#: Sums and inner products.
CONTRACTIONS = _names("addmm baddbmm bmm mm sum")
#: Rounded once as they are, though torch could take them apart.
ROUNDED_ONCE = _names("""
    add add_ cos div div_ erf erfc exp expm1 index_add log log1p mul mul_ pow pow_ reciprocal rsqrt rsub scatter_add sigmoid sin
    sqrt sub sub_ tanh true_divide
""")
WHOLE = EXACT | DECISIONS | CONTRACTIONS | ROUNDED_ONCE
#: Never 0: where their result is, it was flushed, and may be anything below the smallest normal number.
POSITIVE = _names("erfc exp sigmoid")
#: Kernels that compute in the half precision itself also inside (measured, torch 2.13 on a CPU).
NARROW_INSIDE = _names("_log_softmax binary_cross_entropy_with_logits glu_backward")


def _unless_single(operation: Any, alone: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """The parts of a softmax; over a single number it is a constant, and nothing is rounded."""
    parts = decomposition_table[operation]
    axis = 2 if "backward" in operation._schema.name else 1

    def run(x: Tensor, *args: Any) -> Any:
        return alone(x) if x.shape[(x, *args)[axis]] == 1 else parts(x, *args)

    return run


#: What decides inside one kernel that torch cannot take apart; and constants.
_PARTS: dict[Any, Callable[..., Any]] = {
    **{
        operation: _unless_single(operation, alone)
        for operation, alone in (
            (torch.ops.aten._softmax.default, torch.ones_like),
            (torch.ops.aten._softmax_backward_data.default, torch.zeros_like),
            (torch.ops.aten._log_softmax.default, torch.zeros_like),
            (torch.ops.aten._log_softmax_backward_data.default, torch.zeros_like),
        )
    },
    torch.ops.aten.hardshrink_backward.default: lambda grad, x, lambd: torch.where(x.abs() <= lambd, 0.0, grad),
    torch.ops.aten.softshrink_backward.default: lambda grad, x, lambd: torch.where(x.abs() <= lambd, 0.0, grad),
}
#: Half of the replicas get noise of this strength, and what it does is divided by it: where a slope is 0, as at the bottom of a
#: parabola, rounding errors of usual size show nothing of those that are larger than usual.
STRONG = 4.0
#: So many times as far as those replicas go in which comparisons fell otherwise, others may go: they fell in other ways.
FURTHER = 2.0
#: How many coins are thrown once; a computation takes them in turn.
COINS = 2**20


@dataclass(frozen=True)
class Kind:
    """What an operation does to numbers; `parts` takes it apart."""

    exact: bool
    decides: bool
    contracts: bool
    narrow: bool
    positive: bool
    parts: Callable[..., Any] | None


@cache
def kind(operation: Any) -> Kind:
    """The kind of an aten or prims operation, from its name and schema."""
    name = operation._schema.name.split("::")[1]
    view = any(value.alias_info is not None and not value.alias_info.is_write for value in operation._schema.returns)
    parts = _PARTS.get(operation) or (None if view or name in WHOLE else decomposition_table.get(operation))
    return Kind(view or name in EXACT, name in DECISIONS, name in CONTRACTIONS, name in NARROW_INSIDE, name in POSITIVE, parts)


@dataclass(frozen=True)
class Groups:
    """The leading axis of every tensor: one or more groups, each an exact copy followed by so many replicas.

    A tensor whose leading axis is a multiple of it has rows of samples there, group by group and replica by replica.
    """

    groups: int
    replicas: int

    @property
    def copies(self) -> int:
        """The copies of a group, the exact one included."""
        return 1 + self.replicas

    @property
    def count(self) -> int:
        """The copies of all groups."""
        return self.groups * self.copies

    def apart(self, tensor: Tensor) -> Tensor:
        """A view (groups, copies, rows, ...)."""
        return tensor.view(self.groups, self.copies, tensor.shape[0] // self.count, *tensor.shape[1:])

    def first(self, tensor: Tensor) -> Tensor:
        """The exact copies alone, as a tensor of the same form."""
        return self.apart(tensor)[:, 0].flatten(0, 1)

    def spread(self, tensor: Tensor) -> Tensor:
        """What `first` took apart, for every copy."""
        rows = tensor.view(self.groups, 1, tensor.shape[0] // self.groups, *tensor.shape[1:])
        return rows.expand(-1, self.copies, *rows.shape[2:]).flatten(0, 2)

    def hold(self, value: Any) -> bool:
        """Whether this is a tensor of numbers with such a leading axis."""
        return (
            isinstance(value, Tensor)
            and value.ndim > 0
            and value.shape[0] > 0
            and value.shape[0] % self.count == 0
            and value.is_floating_point()
        )


def halves(copies: Any, axis: int) -> tuple[Any, Any]:
    """The replicas with noise of a unit roundoff, and those with noise of STRONG ones."""
    half = copies.shape[axis] // 2
    before = (slice(None),) * axis
    return copies[(*before, slice(half))], copies[(*before, slice(half, None))]


class Replicas(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes every operation apart that can be, and hands the rest to `made` and `decide`.

    `given` holds where numbers lie in memory that are given and not computed, such as labels: on them nothing but they decides.
    """

    def __init__(self, groups: Groups) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.groups, self.depth, self.wide_inside = groups, 0, False
        self.given: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs, what = kwargs or {}, kind(func)
        if what.parts is not None:
            if not self.depth:
                self.wide_inside = not what.narrow
            self.depth += 1
            try:
                with self:
                    result = what.parts(*args, **kwargs)
            finally:
                self.depth -= 1
                self.wide_inside &= self.depth > 0
            if not self.depth:
                for each in result if isinstance(result, tuple) else (result,):
                    if self.groups.hold(each):
                        self.put_together(each)
        elif what.decides and any(map(self._computed, args)):
            result = self.decide(func, *args, **kwargs)
        else:
            result = func(*args, **kwargs)
            if not what.exact and self.groups.hold(result):
                self.made(result, func, args, kwargs)
        return result

    def _computed(self, value: Any) -> bool:
        return self.groups.hold(value) and value.untyped_storage().data_ptr() not in self.given

    @abstractmethod
    def made(self, result: Tensor, func: Any, args: Sequence[Any], kwargs: Any) -> None:
        """An operation has made these numbers, which may be changed in place."""

    @abstractmethod
    def put_together(self, result: Tensor) -> None:
        """A composite operation has made these numbers, which may be changed in place."""

    def handed_over(self, result: Tensor) -> None:
        """A layer hands these numbers on, which may be changed in place."""

    @abstractmethod
    def decide(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """What a comparison decides in each replica."""


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
        tensors = [arg for arg in exact if isinstance(arg, Tensor)]
        if len(tensors) > 1:
            *added, first, second = tensors
            rows, columns = _largest(first, (-1,)), _largest(second, (-2,))
            squares = (first / rows).square_() @ (second / columns).square_()  # which neither overflow nor underflow
            size, length = rows * columns, first.shape[-1]
        else:
            added, (terms,), axes = [], tensors, (args[1] if len(args) > 1 else None) or tuple(range(tensors[0].ndim))
            most = _largest(terms, axes)
            squares = func((terms / most).square_(), *args[1:], **kwargs)
            size, length = most.reshape(squares.shape), terms.numel() // max(squares.numel(), 1)
        scale = torch.hypot(squares.sqrt_().mul_(size), self.groups.first(result) / 3**0.5)
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
        difference = self.groups.apart(_compared(args))
        weak, strong = halves((difference[:, 1:] - difference[:, :1]).square_(), 1)
        far = self.window * torch.maximum(weak.mean(1), strong.mean(1) / STRONG**2).sqrt_()
        near = (difference[:, 0].abs() <= far) & (far > 0)
        return torch.where(near, far, 0.0) if near.any() else None


def _largest(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """The size of the largest number along some axes, which stay; never 0 and never infinite."""
    limits = torch.finfo(tensor.dtype)
    return tensor.abs().amax(tuple(axes), keepdim=True).nan_to_num_(0.0).clamp_(limits.tiny, limits.max)


def _compared(args: Sequence[Any]) -> Tensor:
    """What a comparison looks at the sign of."""
    found: Tensor = args[0] - args[1] if len(args) > 1 else args[0]
    return found


class Decisions(Replicas):  # type: ignore[no-untyped-call]
    """Replicas without noise in which a comparison falls either way where it is in reach; with `ties` where it compares equals.

    In the first replica of a group all those numbers are larger, in the second smaller, in the others by a coin.
    """

    def __init__(self, groups: Groups, reach: Sequence[Tensor | None] = (), *, ties: bool = False) -> None:
        super().__init__(groups)
        self.reach, self.ties, self.at = reach, ties, 0

    def made(self, result: Tensor, func: Any, args: Sequence[Any], kwargs: Any) -> None:
        pass

    def put_together(self, result: Tensor) -> None:
        pass

    def decide(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        given = self.reach[self.at] if self.reach else None
        self.at += 1
        plain = func(*args, **kwargs)
        compared = _compared(args)
        difference = self.groups.apart(compared)
        if self.ties:
            reach = (difference == 0).to(difference) * torch.finfo(difference.dtype).tiny
        else:
            reach = self._within(difference, given).unsqueeze(1)
        if not reach.any():
            return plain
        moved = self._sides(difference) * reach
        zero = [torch.zeros((), dtype=compared.dtype) if isinstance(other, Tensor) else 0.0 for other in args[1:]]
        otherwise = func((difference + moved).view(compared.shape), *zero, **kwargs)
        return torch.where(moved.view(compared.shape) != 0, otherwise, plain)

    def _within(self, difference: Tensor, given: Tensor | None) -> Tensor:
        """The reach of rounding and, where that is further, of what fell otherwise before; 0 where it does not reach."""
        fallen = (difference[:, 1:] - difference[:, :1]).abs().amax(1).nan_to_num_(0.0).mul_(FURTHER)
        reach = fallen if given is None else torch.maximum(fallen, given)
        return torch.where(difference[:, 0].abs() <= reach, reach, 0.0)

    def _sides(self, difference: Tensor) -> Tensor:
        """1 for larger, -1 for smaller, and 0 in the exact copies."""
        sides = toss(self.at * 65537, difference.shape).clone()
        for copy, side in enumerate((0.0, 1.0, -1.0)):
            sides[:, copy] = side
        return sides


@cache
def coins() -> Tensor:
    """Coins for everyone: 1 or -1, always the same."""
    rng = torch.Generator().manual_seed(20261124)
    return torch.randint(0, 2, (COINS,), dtype=torch.int8, generator=rng).double().mul_(2).sub_(1)


def toss(at: int, shape: Sequence[int]) -> Tensor:
    """So many of the coins, from the one at this number on; they come round."""
    size, start = prod(shape), at % COINS
    if start + size > COINS:
        start = start * 31 % max(COINS - size, 1)  # anywhere else
    found = coins()[start : start + size]
    return (found if len(found) == size else coins().repeat(-(-size // COINS))[:size]).view(shape)
