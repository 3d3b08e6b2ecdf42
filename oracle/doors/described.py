"""A network of torch.nn in manualbp's records: each module by its class's name, with the options read off it."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

import torch

from manualbp import Layer, Loss, Network, catalogue
from manualbp.layer import Record
from oracle.doors.errors import DoorError

#: Containers that do nothing but call what they hold, one after the other.
CHAINS = (torch.nn.Sequential,)


@cache
def _records() -> dict[str, type[Record]]:
    return {cls.twin(): cls for base in (Layer, Loss) for cls in catalogue(base).values()}


def record_of(module: torch.nn.Module) -> Record | None:
    """The record of manualbp with this module's name and options; None where there is none, or not with these options."""
    name = type(module).__name__
    cls = _records().get(name)
    if cls is None or type(module) is not getattr(torch.nn, name, None):
        return None
    options = {}
    for field in fields(cls):  # type: ignore[arg-type]  # every final record is a dataclass
        if field.init and hasattr(module, field.name):
            options[field.name] = _plain(getattr(module, field.name), field.default)
    try:
        return cls(**options)
    except (TypeError, ValueError):
        return None


def _plain(value: Any, default: Any) -> Any:
    """An attribute of a module as the option that it came from."""
    if isinstance(default, bool) and not isinstance(value, bool):
        return value is not None
    if isinstance(value, torch.Tensor):
        return tuple(value.detach().double().tolist())
    return float(value) if isinstance(default, float) and default is not MISSING and value is not None else value


def modules_of(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The modules of nested chains in the order in which they are called."""
    if type(model) in CHAINS:
        for child in model.children():
            yield from modules_of(child)
    else:
        yield model


def described(model: torch.nn.Module, loss: torch.nn.Module | Loss | None) -> tuple[Network, tuple[dict[str, torch.Tensor], ...]]:
    """A torch.nn.Sequential and its loss as a Network, and the numbers of its parameters.

    Raises DoorError for a module that manualbp has no record of.
    """
    if loss is None:
        raise DoorError("a torch.nn.Sequential takes a loss beside it: loss=torch.nn.MSELoss(); got none.")
    if not isinstance(loss, torch.nn.Module | Loss):
        raise DoorError(f"loss takes a loss of torch.nn or of manualbp, such as torch.nn.MSELoss(); got {loss!r}.")
    modules = list(modules_of(model))
    layers = tuple(_known(module, Layer) for module in modules)
    cost = loss if isinstance(loss, Loss) else _known(loss, Loss)
    holders = [*modules, *([] if isinstance(loss, Loss) else [loss])]
    params: list[dict[str, torch.Tensor]] = [dict(holder.named_parameters()) for holder in holders]
    try:
        network = Network(layers, cost)
    except (TypeError, ValueError) as error:
        raise DoorError(str(error)) from error
    return network, tuple(params[: len(network.holders)])


def _known(module: Any, kind: type[Any]) -> Any:
    if isinstance(module, torch.nn.Module):
        record = record_of(module)
        if isinstance(record, kind):
            return record
    raise DoorError(
        f"check_network takes a chain of {', '.join(catalogue(kind))} from torch.nn; got {module}. "
        "For a network of any other form use oracle.check_module or oracle.check_function."
    )
