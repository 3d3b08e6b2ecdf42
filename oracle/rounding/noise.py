"""What rounding does to a computation, by Monte Carlo: every operation of torch's own gets the error it may have made.

A copy of the computation runs in float64 beside the exact one, and after each aten operation its result is moved by a unit
roundoff u of the dtype under test, up or down by a coin (Parker 1997, Monte Carlo arithmetic; Verificarlo 2016). Composite
operations are first taken apart by torch's own decompositions, so what cancels inside gelu or log_softmax is seen. Many copies,
*replicas*, lie side by side on the leading axis; replica 0 stays exact.

* an elementwise operation: u |result|
* a sum of n terms, or an inner product of length n: u sqrt(n times the sum of squares), since it may cancel
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
CONTRACTIONS = _names("bmm mm sum")
#: Rounded once as they are, though torch could take them apart.
ROUNDED_ONCE = _names("""
    add add_ cos div div_ erf erfc exp expm1 index_add log log1p mul mul_ pow pow_ reciprocal rsqrt rsub scatter_add sigmoid sin
    sqrt sub sub_ tanh true_divide
""")
WHOLE = EXACT | DECISIONS | CONTRACTIONS | ROUNDED_ONCE
#: What decides inside one kernel that torch cannot take apart.
_PARTS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.hardshrink_backward.default: lambda grad, x, lambd: torch.where(x.abs() <= lambd, 0.0, grad),
    torch.ops.aten.softshrink_backward.default: lambda grad, x, lambd: torch.where(x.abs() <= lambd, 0.0, grad),
}
#: How many coins are thrown once; a computation takes them in turn.
COINS = 2**20


@dataclass(frozen=True)
class Kind:
    """What an operation does to numbers; `parts` takes it apart."""

    exact: bool
    decides: bool
    contracts: bool
    parts: Callable[..., Any] | None


@cache
def kind(operation: Any) -> Kind:
    """The kind of an aten or prims operation, from its name and schema."""
    name = operation._schema.name.split("::")[1]
    view = any(value.alias_info is not None and not value.alias_info.is_write for value in operation._schema.returns)
    parts = _PARTS.get(operation) or (None if view or name in WHOLE else decomposition_table.get(operation))
    return Kind(view or name in EXACT, name in DECISIONS, name in CONTRACTIONS, parts)


@dataclass(frozen=True)
class Groups:
    """The replicas on a leading axis: the exact one, so many that go end to end, so many of each layer's own."""

    through: int
    own: int

    @property
    def noisy(self) -> tuple[int, int]:
        """How many of each kind that is not exact."""
        return self.through, self.own

    @property
    def count(self) -> int:
        """All of them."""
        return 1 + self.through + self.own

    def first(self, tensor: Tensor) -> Tensor:
        """The exact replica."""
        return tensor[: tensor.shape[0] // self.count]

    def apart(self, tensor: Tensor) -> Tensor:
        """A view with an axis of replicas before the first."""
        return tensor.view(self.count, tensor.shape[0] // self.count, *tensor.shape[1:])

    def hold(self, value: Any) -> bool:
        """Whether this is a tensor of numbers with a leading axis of replicas, or of replicas in a row."""
        return (
            isinstance(value, Tensor)
            and value.ndim > 0
            and value.shape[0] > 0
            and value.shape[0] % self.count == 0
            and value.is_floating_point()
        )


class Replicas(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes every operation apart that can be, and hands the rest to `made` and `decide`."""

    def __init__(self, groups: Groups) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.groups, self.depth = groups, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs, what = kwargs or {}, kind(func)
        if what.parts is not None:
            self.depth += 1
            try:
                with self:
                    result = what.parts(*args, **kwargs)
            finally:
                self.depth -= 1
            if not self.depth:
                for each in result if isinstance(result, tuple) else (result,):
                    if self.groups.hold(each):
                        self.put_together(each)
        elif what.decides and (self.groups.hold(args[0]) or (len(args) > 1 and self.groups.hold(args[1]))):
            result = self.decide(func, *args, **kwargs)
        else:
            result = func(*args, **kwargs)
            if not what.exact and self.groups.hold(result):
                self.made(result, func, args, kwargs)
        return result

    @abstractmethod
    def made(self, result: Tensor, func: Any, args: Sequence[Any], kwargs: Any) -> None:
        """An operation has made these numbers, which may be changed in place."""

    @abstractmethod
    def put_together(self, result: Tensor) -> None:
        """A composite operation has made these numbers, which may be changed in place."""

    @abstractmethod
    def decide(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """What a comparison decides in each replica."""


@dataclass(frozen=True)
class Format:
    """What a dtype rounds to: its unit roundoff, that inside an operation, and its smallest normal number."""

    unit_roundoff: float
    inside: float
    tiny: float


class RoundingNoise(Replicas):  # type: ignore[no-untyped-call]
    """Noise in all replicas but the first. `reach` says how far it moves what each comparison compares, in their order.

    A reach is `window` times the movement, for each group; None where no comparison is in reach.
    """

    def __init__(self, groups: Groups, format: Format, window: float, seed: int) -> None:
        super().__init__(groups)
        self.format, self.window = format, window
        self.at = seed
        self.reach: list[Tensor | None] = []

    def made(self, result: Tensor, func: Any, args: Sequence[Any], kwargs: Any) -> None:
        level = self.format.inside if self.depth else self.format.unit_roundoff
        if kind(func).contracts:
            self.disturb(result, self.format.inside, self._contraction(result, func, args, kwargs))
            if level == self.format.inside:
                return
        self.disturb(result, level, self.groups.first(result))

    def put_together(self, result: Tensor) -> None:
        if self.format.inside != self.format.unit_roundoff:
            self.disturb(result, self.format.unit_roundoff, self.groups.first(result))

    def disturb(self, tensor: Tensor, level: float, scale: Tensor) -> None:
        """Add level times scale, up or down, in all replicas but the first; `scale` has the form of one of them.

        What is not 0 is not rounded more finely than the smallest normal number.
        """
        if self.format.tiny > 1e-30:  # float16; elsewhere such numbers do not come up, and the results' own floor is enough
            scale = torch.where(scale == 0, 0.0, scale.abs().clamp(min=self.format.tiny))
        moved = self.groups.apart(tensor)[1:]
        moved.addcmul_(toss(self.at, moved.shape), scale, value=level)
        self.at += moved.numel()

    def _contraction(self, result: Tensor, func: Any, args: Sequence[Any], kwargs: Any) -> Tensor:
        factors = [self.groups.first(arg) if self.groups.hold(arg) else arg for arg in args]
        squares = [factor.square() if isinstance(factor, Tensor) else factor for factor in factors]
        total = func(*squares, **kwargs)
        pairs = len(args) > 1 and isinstance(args[1], Tensor)
        length = factors[0].shape[-1] if pairs else factors[0].numel() / max(total.numel(), 1)
        return total.mul_(length).sqrt_()

    def decide(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        first = [self.groups.first(arg) if self.groups.hold(arg) else arg for arg in args]
        decided = func(*first, **kwargs)
        self.reach.append(self._reach(args))
        return decided.repeat(self.groups.count, *(1,) * (decided.ndim - 1))

    def _reach(self, args: Sequence[Any]) -> Tensor | None:
        difference = self.groups.apart(_compared(args))
        moved = difference[1:] - difference[:1]
        groups = moved[: self.groups.through], moved[self.groups.through :]
        far = self.window * torch.stack([each.square().mean(0).sqrt() for each in groups])
        near = (difference[:1].abs() <= far) & (far > 0)
        return torch.where(near, far, 0.0) if near.any() else None


def _compared(args: Sequence[Any]) -> Tensor:
    """What a comparison looks at the sign of."""
    found: Tensor = args[0] - args[1] if len(args) > 1 else args[0]
    return found


class Decisions(Replicas):  # type: ignore[no-untyped-call]
    """Replicas without noise in which a comparison falls either way where it is in reach; with `ties` where it compares equals.

    In the first replica of each group all those numbers are larger, in the second smaller, in the others by a coin.
    """

    def __init__(self, groups: Groups, reach: Sequence[Tensor | None] = (), *, ties: bool = False) -> None:
        super().__init__(groups)
        self.reach, self.ties, self.at = reach, ties, 0

    def made(self, result: Tensor, func: Any, args: Sequence[Any], kwargs: Any) -> None:
        pass

    def put_together(self, result: Tensor) -> None:
        pass

    def decide(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        reach = self.reach[self.at] if self.reach else None
        self.at += 1
        plain = func(*args, **kwargs)
        if reach is None and not self.ties:
            return plain
        compared = _compared(args)
        difference = self.groups.apart(compared)
        sides = self._sides(difference.shape[1:])
        moved = torch.zeros_like(difference)
        if reach is not None:
            far = [each.expand(count, *each.shape) for each, count in zip(reach, self.groups.noisy, strict=True)]
            moved[1:] = sides * torch.cat(far)
        if self.ties:
            moved[1:] += sides * (difference[1:] == 0) * torch.finfo(difference.dtype).tiny
        zero = [torch.zeros(()) if isinstance(other, Tensor) else 0.0 for other in args[1:]]
        otherwise = func((difference + moved).reshape(compared.shape), *zero, **kwargs)
        return torch.where(moved.reshape(compared.shape) != 0, otherwise, plain)

    def _sides(self, shape: Sequence[int]) -> Tensor:
        sides = toss(self.at * 65537, (sum(self.groups.noisy), *shape)).clone()
        start = 0
        for replicas in self.groups.noisy:
            sides[start : start + 1], sides[start + 1 : start + 2] = 1.0, -1.0
            start += replicas
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
