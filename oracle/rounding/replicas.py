"""Many copies of a computation side by side, the first of them exact; every operation in its parts."""

import sys
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from oracle.rounding.operations import kind

#: How many coins are thrown once; a computation takes them in turn.
COINS = 2**20


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
        return in_memory(value) and value.ndim > 0 and value.shape[0] > 0 and value.shape[0] % self.count == 0


def in_memory(value: Any) -> bool:
    """Whether this is a tensor of floating-point numbers, all in memory: not sparse, a mere shape, or autograd's own zeros."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout is torch.strided
        and not value.is_meta
        and not value._is_zerotensor()
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

    #: Whether torch's compiler knows that it does not compile the operations' own dispatch.
    left_alone: ClassVar[bool] = False

    def __init__(self, groups: Groups) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.groups, self.depth, self.wide_inside = groups, 0, False
        self.given: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: else torch loads its whole compiler at the first operation, so that it leaves the method below alone."""
        return False

    def __enter__(self) -> Any:
        if "torch._dynamo" in sys.modules and not Replicas.left_alone:  # somebody compiles
            Replicas.left_alone = True
            Replicas.__torch_dispatch__ = torch.compiler.disable(Replicas.__torch_dispatch__)  # type: ignore[method-assign, no-untyped-call]
        return super().__enter__()  # type: ignore[no-untyped-call]

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


def compared(args: Sequence[Any]) -> Tensor:
    """What a comparison looks at the sign of."""
    found: Tensor = args[0] - args[1] if len(args) > 1 else args[0]
    return found


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
