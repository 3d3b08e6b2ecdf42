"""One call of a submodule once more, as a plain function of the real numbers in its arguments and of its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from oracle.doors.walking import Seen, given_as, like, mapped, tensors_in


@dataclass(frozen=True)
class Replay:
    """The module with the arguments of a call; the values are its real tensors, then the parameters of these names."""

    module: torch.nn.Module
    call: Seen
    params: Mapping[str, str]
    foreign: bool = False

    @classmethod
    def named(cls, call: Seen) -> dict[str, Tensor]:
        """The real tensors of a call, by name."""
        found = list(tensors_in((call.arguments, call.keywords)))
        return dict(zip(["input"] if len(found) == 1 else [f"input {at + 1}" for at in range(len(found))], found, strict=True))

    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        count = len(values) - len(self.params)
        remaining = iter(values[:count])
        arguments, keywords = mapped(
            (self.call.arguments, self.call.keywords), lambda _: next(remaining).clone()
        )  # it may work in place
        own: dict[str, Any] = {name: like(buffer, values) for name, buffer in self.module.named_buffers()}
        for name, value in zip(self.params.values(), values[count:], strict=True):
            own[name] = given_as(self.module.get_parameter(name), value) if self.foreign else value
        return tuple(tensors_in(functional_call(self.module, own, arguments, keywords)))
