"""A module as a plain function of its inputs and parameters that also gives what each of its submodules makes.

To the output of every submodule a *probe* is added, an input that is 0: its gradient is the one that flows back to there.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call


class Site(NamedTuple):
    """One tensor that a submodule returns: of which call, and which of several. `unit` is the reference's name for it."""

    unit: str
    call: int = 0
    part: int = 0

    def __str__(self) -> str:
        again = f" (call {self.call + 1})" * (self.call > 0)
        return self.unit + again + f" (output {self.part + 1})" * (self.part > 0)


class Seen(NamedTuple):
    """What one call of a submodule is given and makes, in numbers of their own."""

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    outputs: list[Tensor]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of real numbers in a nested structure, in order."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, Mapping):
        yield from tensors_in(tuple(value.values()))


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The structure with every tensor of real numbers changed, in the order of `tensors_in`."""
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(each, change) for each in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(each, change) for each in value)
    if isinstance(value, Mapping):
        return type(value)((key, mapped(each, change)) for key, each in value.items())  # type: ignore[call-arg]
    return value


def _copied(value: Any) -> Any:
    return mapped(value, lambda tensor: tensor.detach().clone())


class Flat(torch.nn.Module):
    """A module that returns the real tensors of another's output, whatever structure they come in."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.flattened = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensors_in(self.flattened(*inputs)))


@dataclass
class Walk:
    """A module as a function of the tensors named `names`: its inputs, parameters and probes.

    units    its submodules that are looked at, by the reference's names
    inputs   how many of the names are inputs
    params   its own name for each parameter of the reference
    sites    where a probe is added; found by `explore`
    foreign  its parameters have numbers of their own, of which the named ones are only the change
    """

    module: torch.nn.Module
    units: Mapping[str, torch.nn.Module]
    names: Sequence[str]
    inputs: int
    params: Mapping[str, str]
    sites: Sequence[Site] = ()
    foreign: bool = False
    seen: dict[str, list[Seen]] = field(default_factory=dict, init=False)
    _order: list[tuple[str, int]] = field(default_factory=list, init=False)

    def __call__(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The outputs, and what the sites hold; an empty tensor where nothing does."""
        held = dict(zip(self.names, values, strict=True))
        buffers = {name: like(buffer, values) for name, buffer in self.module.named_buffers()}
        own = {theirs: self._parameter(theirs, held[ours]) for ours, theirs in self.params.items()}
        probes = {site: held[str(site)] for site in self.sites if str(site) in held}
        found: dict[Site, Tensor] = {}
        counts: Counter[str] = Counter()
        self.seen.clear()
        self._order.clear()
        with ExitStack() as hooks:
            for name, unit in self.units.items():
                handle = unit.register_forward_hook(self._hook(name, probes, found, counts), with_kwargs=True)
                hooks.callback(handle.remove)
                before = unit.register_forward_pre_hook(self._remember(name), with_kwargs=True)
                hooks.callback(before.remove)
            result = functional_call(self.module, {**buffers, **own}, values[: self.inputs])
        outputs = tuple(tensors_in(result))
        if not outputs:
            raise TypeError(f"forward returns no real numbers, but {type(result).__name__}")
        nothing = outputs[0].detach().new_empty(0)
        return (*outputs, *(found.get(site, nothing) for site in self.sites))

    def explore(self, *values: Tensor) -> tuple[Site, ...]:
        """The sites of a call with these tensors, in the order in which they are reached."""
        self(*values)
        calls = [(name, call, seen) for name, every in self.seen.items() for call, seen in enumerate(every)]
        order = {key: number for number, key in enumerate(self._order)}
        calls.sort(key=lambda each: order[each[0], each[1]])
        return tuple(Site(name, call, part) for name, call, seen in calls for part in range(len(seen.outputs)))

    def _parameter(self, name: str, given: Tensor) -> Tensor:
        if not self.foreign:
            return given
        return given_as(self.module.get_parameter(name), given)

    def _remember(self, name: str) -> Callable[..., None]:
        def before(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self.seen.setdefault(name, []).append(Seen(_copied(arguments), _copied(keywords), []))

        return before

    def _hook(
        self, name: str, probes: Mapping[Site, Tensor], found: dict[Site, Tensor], counts: Counter[str]
    ) -> Callable[..., Any]:
        def after(*given: Any) -> Any:
            output, call = given[-1], counts[name]
            counts[name] += 1
            parts = iter(range(len(list(tensors_in(output)))))
            self._order.append((name, call))

            def probed(tensor: Tensor) -> Tensor:
                site = Site(name, call, next(parts))
                probe = probes.get(site)
                if probe is not None and probe.shape == tensor.shape:
                    tensor = tensor + probe
                found[site] = tensor.detach().clone()
                self.seen[name][call].outputs.append(found[site])
                return tensor

            return mapped(output, probed)

        return after


def given_as(own: Tensor, given: Tensor) -> Tensor:
    """The numbers of one tensor, differentiated as if they were another's."""
    return own.detach().to(given.dtype) + (given - given.detach())


def like(buffer: Tensor, values: Sequence[Tensor]) -> Tensor:
    """A copy of a buffer, in the precision of the inputs."""
    kind = next((value.dtype for value in values if value.is_floating_point()), buffer.dtype)
    return buffer.detach().to(kind).clone() if buffer.is_floating_point() else buffer.detach().clone()
