"""What torch takes where a derivative jumps: a table made from the records, measured on the torch that is installed.

At a kink the mathematics allows every number between the slopes on both sides, the subdifferential. Which one an implementation
takes is a convention, and conventions change between versions.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

from manualbp import Activation, Loss, catalogue
from manualbp.loss import LossKink
from oracle.twins import call, call_loss, to_torch

#: Steps to either side of a loss's kink, small against every number that a record states.
STEP = 1e-6


class Convention(NamedTuple):
    """One kink of one record; gradients are texts, one number or one per input."""

    function: str
    where: str
    subdifferential: str
    torch_takes: str
    stated: str
    holds: bool
    torch: str


def markdown(found: Iterable[Convention]) -> str:
    """The table as Markdown, for the report."""
    rows = list(found)
    lines = [
        "# Conventions: what torch takes where a derivative jumps",
        "",
        f"Measured on torch {torch.__version__} in float64. The subdifferential holds every number between the slopes on both",
        "sides; of a function of several numbers, one interval for each. Made from the records' kinks by `oracle accuracy`.",
        "",
        "| function | where | subdifferential | torch takes | manualbp states |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {row.function} | {row.where} | {row.subdifferential} | {row.torch_takes} | {row.stated} |" for row in rows]
    return "\n".join(lines) + "\n"


def conventions() -> Iterator[Convention]:
    """Every kink of every activation and loss in the catalogue, with all their options."""
    for cls in catalogue(Activation).values():
        for record in cls.examples():
            for kink in record.kinks:
                sides = [_slope(record, at) for at in np.nextafter(kink.at, [-np.inf, np.inf])]
                yield _row(str(record), f"z = {kink.at:g}", [sides], [_slope(record, kink.at)], [kink.derivative])
    for loss_class in catalogue(Loss).values():
        for loss in loss_class.examples():
            if loss.reduction == "sum":
                for point in loss.kinks:
                    around = np.array(list(_gradients_around(loss, point))).T
                    taken = _gradient(loss, np.array(point.input), point)
                    yield _row(str(loss), point.where, around, taken, point.gradient)


def _plain(number: float) -> str:
    return f"{number + 0:.4g}"  # without minus 0


def _row(function: str, where: str, around: Any, taken: Any, stated: Any) -> Convention:
    holds = bool(np.allclose(taken, stated, rtol=1e-6, atol=1e-12))
    hull = [f"[{_plain(min(side))}, {_plain(max(side))}]" for side in around]
    torch_takes, record_says = (", ".join(map(_plain, each)) for each in (taken, stated))
    return Convention(function, where, " x ".join(hull), torch_takes, record_says, holds, torch.__version__)


def _slope(record: Activation, at: float) -> float:
    """Torch's derivative of an activation at one number."""
    z = torch.full((1, 1), at, dtype=torch.float64, requires_grad=True)
    params = {
        name: torch.full(shape, record.centres[name], dtype=z.dtype)
        for name, shape in record.fitted(1).parameter_shapes().items()
    }
    noise = record.noise((1, 1), np.dtype(np.float64))
    call(record.fitted(1), params, z, *(() if noise is None else (to_torch(noise),))).backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    return z.grad.item()


def _gradient(loss: Loss, column: Any, kink: LossKink) -> Any:
    """Torch's gradient of a loss of one sample; where there is a term per element, the sample has one row for each input."""
    value = to_torch(column[:, None]).requires_grad_()
    target = np.empty(0) if kink.target is None else np.array(kink.target)
    given = target[..., None] if loss.per_sample and target.size else target.reshape(-1, 1)
    call_loss(loss, {}, value, to_torch(given)).backward()  # type: ignore[no-untyped-call]
    assert value.grad is not None
    return value.grad.numpy()[0]


def _gradients_around(loss: Loss, kink: LossKink) -> Iterator[Any]:
    """The gradients a small step away in every direction of the grid."""
    at = np.array(kink.input)
    for signs in product((-1, 0, 1), repeat=min(len(at), 4)):
        step = np.zeros(len(at))
        step[: len(signs)] = signs
        if any(signs):
            yield _gradient(loss, at + STEP * step, kink)
