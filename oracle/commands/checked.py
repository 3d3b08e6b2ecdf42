"""Which door a target goes through, and the report on it."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch

from manualbp import Network
from oracle.case import SpecError
from oracle.commands.target import find
from oracle.doors.backward import check_backward
from oracle.doors.errors import DoorError
from oracle.doors.function import check_function
from oracle.doors.guard import TooLongError, limited
from oracle.doors.module import check_module
from oracle.doors.network import check_network
from oracle.report import Report


@dataclass(frozen=True, repr=False)
class TargetReport(Report):
    """The report on one target; `definition` is the file and line where it is defined."""

    definition: tuple[str, int] = ("", 0)

    def place(self, case: str) -> tuple[str, int]:
        return self.definition

    def repeat(self, case: str) -> str:
        return self.command


class Door(NamedTuple):
    """A door, and what it is for."""

    check: Callable[..., Report]
    what: str


NETWORK, MODULE = Door(check_network, "a network"), Door(check_module, "a module of several submodules")
FUNCTION, PAIR = Door(check_function, "a function"), Door(check_backward, "a NumPy pair")


def _door(candidate: Any, reference: Any) -> Door:
    """The door that a candidate and a reference go through."""
    if isinstance(reference, Network):
        return NETWORK
    both = isinstance(candidate, torch.nn.Module) and isinstance(reference, torch.nn.Module)
    return MODULE if both and any(reference.children()) else FUNCTION


def checked(
    target: str, reference: str, backward: str, inputs: Sequence[str], options: Mapping[str, Any], command: str
) -> TargetReport:
    """Check what the texts name. Raises SpecError where they name nothing, or the call does not suit what they name."""
    torch.manual_seed(options["seed"])  # a file may draw the parameters of its modules
    np.random.seed(options["seed"])  # noqa: NPY002 # ditto
    seconds = options.get("timeout", math.inf)
    try:
        with limited(seconds if seconds > 0 else math.inf):  # the door refuses what is no time
            found = find(target)
            candidate, wanted = found.value, find(reference, beside=found).value
            door, given = _door(candidate, wanted), [candidate]
            if backward:
                door, found = PAIR, find(backward, beside=found)
                given.append(found.value)
    except TooLongError as error:
        raise SpecError(
            f"reading the files of {target} and {reference} did not end within {seconds:g} seconds (--timeout)."
        ) from error
    _fitting(door, inputs, options)
    try:
        report = door.check(*given, wanted, *inputs, **options)
    except DoorError as error:
        raise SpecError(str(error)) from error
    own = {field.name: getattr(report, field.name) for field in fields(report)}
    return TargetReport(**own | {"command": command}, definition=found.definition)


def _fitting(door: Door, inputs: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise SpecError for an option that the door does not take, or inputs that it lacks."""
    taken = inspect.signature(door.check).parameters
    for name in options:
        if name not in taken:
            raise SpecError(f"--{name} has no meaning for {door.what}; leave it away.")
    if "inputs" not in taken and inputs:
        raise SpecError(f"the numbers of {door.what} are drawn as it takes them; leave --shapes away.")
    if "inputs" in taken and not inputs:
        raise SpecError("--shapes describes the inputs, for example --shapes 4x7,3x7 or --shapes '4x7 positive'; got none.")
