"""What else a computation gives where rounding, or a tie, lets a comparison fall otherwise."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from oracle.rounding.replicas import Groups, Replicas, compared, toss

#: So many times as far as those replicas go in which comparisons fell otherwise, others may go: they fell in other ways.
FURTHER = 2.0


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
        apart = compared(args)
        difference = self.groups.apart(apart)
        if self.ties:
            reach = (difference == 0).to(difference) * torch.finfo(difference.dtype).tiny
        else:
            reach = self._within(difference, given).unsqueeze(1)
        if not reach.any():
            return plain
        moved = self._sides(difference) * reach
        zero = [torch.zeros((), dtype=apart.dtype) if isinstance(other, Tensor) else 0.0 for other in args[1:]]
        otherwise = func((difference + moved).view(apart.shape), *zero, **kwargs)
        return torch.where(moved.view(apart.shape) != 0, otherwise, plain)

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
