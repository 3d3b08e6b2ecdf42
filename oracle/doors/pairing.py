"""Two modules side by side: which submodule of one is which of the other, and the same numbers in both."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oracle.doors.errors import DoorError
from oracle.doors.session import checked_parameters
from oracle.doors.uneven import shared, uneven


def copied(module: torch.nn.Module) -> torch.nn.Module:
    """A copy. Raises DoorError for a module that has none."""
    try:
        return copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:
        raise DoorError(f"modules are copied, so that yours stay as they are; copying failed: {error}") from error


@torch.no_grad()
def hand_over(values: Iterable[tuple[str, Tensor]], held: Mapping[str, Tensor], theirs: Callable[[str], str]) -> None:
    """Write the values into those of the same shape that are held under the names that are theirs."""
    for name, value in values:
        other = held.get(theirs(name))
        if other is not None and other.shape == value.shape:
            other.copy_(value)


@dataclass(frozen=True)
class Pairing:
    """Copies of both modules, and the candidate's name for each name of the reference.

    mapping  from a submodule or parameter of the reference to that of the candidate, where it has another name
    load     the candidate has the reference's parameters and buffers; without it each has its own
    """

    candidate: torch.nn.Module
    reference: torch.nn.Module
    mapping: Mapping[str, str]
    load: bool

    @classmethod
    def of(cls, candidate: Any, reference: Any, mapping: Mapping[str, str] | None, *, load: bool) -> "Pairing":
        """Copy both. Raises DoorError unless they are modules whose names, and shapes of parameters, pair up."""
        for what, given in (("candidate", candidate), ("reference", reference)):
            if not isinstance(given, torch.nn.Module):
                hint = "an instance, not the class" if isinstance(given, type) else "oracle.check_function takes functions"
                raise DoorError(
                    f"{what} takes a torch.nn.Module; got {given if isinstance(given, type) else type(given).__name__}: {hint}."
                )
            checked_parameters(given, what)
        if mapping is not None and not isinstance(mapping, Mapping):
            raise DoorError(f"mapping takes a dictionary, the candidate's name by the reference's; got {type(mapping).__name__}.")
        pair = cls(copied(candidate), copied(reference), dict(mapping or {}), load)
        pair._check()
        return pair

    def theirs(self, name: str) -> str:
        """The candidate's name for a submodule or parameter of the reference."""
        for prefix in _prefixes(name):
            if prefix in self.mapping:
                return self.mapping[prefix] + name[len(prefix) :]
        return name

    @property
    def params(self) -> dict[str, str]:
        """The candidate's name for each parameter of the reference."""
        return {name: self.theirs(name) for name, _ in self.reference.named_parameters()}

    @property
    def held(self) -> dict[str, Tensor]:
        """The reference's parameters, as tensors of their own."""
        named = self.reference.named_parameters()
        return {name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in named}

    def uneven(self, seed: int) -> "Pairing | None":
        """The same with other parameters, and buffers of both, in place of those that are all equal; None without any."""
        other = type(self)(copy.deepcopy(self.candidate), copy.deepcopy(self.reference), self.mapping, self.load)
        held = dict(other.reference.named_parameters()) | shared(other.reference, other.candidate, other.theirs)
        numbers = uneven(held, seed)
        with torch.no_grad():
            for name, value in numbers.items():
                held[name].copy_(value)
        other._loaded()
        return other if numbers else None

    def units(self) -> Iterator[tuple[str, torch.nn.Module, torch.nn.Module]]:
        """The submodules of the reference that have none of their own, with the candidate's; those that it has.

        A module of torch.nn with parameters of its own is one as a whole: attention never calls what it holds.
        """
        known, inside = dict(self.candidate.named_modules()), "\0"
        for name, module in self.reference.named_modules():
            whole = type(module).__module__.startswith("torch.nn.") and any(True for _ in module.parameters(recurse=False))
            if not name or name.startswith(inside) or not (whole or not any(module.children())):
                continue
            inside = f"{name}." if whole else inside
            if self.theirs(name) in known:
                yield name, module, known[self.theirs(name)]

    def _check(self) -> None:
        known = [{*dict(each.named_modules()), *dict(each.named_parameters())} for each in (self.reference, self.candidate)]
        for name, other in self.mapping.items():
            if name not in known[0] or other not in known[1]:
                missing = f"the reference has no {name!r}" if name not in known[0] else f"the candidate has no {other!r}"
                raise DoorError(f"mapping takes the candidate's name for a name of the reference; {missing}.")
        held = dict(self.candidate.named_parameters())
        if set(self.params.values()) != set(held):
            raise DoorError(
                f"both modules take the same parameters: the reference has {', '.join(self.params) or 'none'}, the candidate "
                f"{', '.join(held) or 'none'}. Pass mapping={{'name in the reference': 'name in the candidate'}}."
            )
        for name, parameter in self.reference.named_parameters():
            ours, theirs = (f"{each.dtype} {tuple(each.shape)}" for each in (parameter, held[self.theirs(name)]))
            if ours != theirs:
                raise DoorError(
                    f"{name} is {ours} in the reference and {theirs} in the candidate; they take the same. "
                    "Wrap the candidate in a module that transposes or converts it."
                )
            if parameter.requires_grad != held[self.theirs(name)].requires_grad:
                which = ("reference", "candidate")[:: 1 if parameter.requires_grad else -1]
                raise DoorError(
                    f"{name} requires a gradient in the {which[0]} and none in the {which[1]}; say requires_grad_() in both."
                )
        if self.load:
            self._loaded()

    def _loaded(self) -> None:
        """Give the candidate the reference's parameters, and the buffers of the same name."""
        held = dict(self.candidate.named_parameters()) | dict(self.candidate.named_buffers())
        hand_over((*self.reference.named_parameters(), *self.reference.named_buffers()), held, self.theirs)


def _prefixes(name: str) -> Iterator[str]:
    """The name, and what stands before each of its dots, the longest first."""
    while name:
        yield name
        name = name.rpartition(".")[0]
