"""Other numbers in place of those that are all equal: a weight that is 1 everywhere hides that it is forgotten."""

from collections.abc import Callable
from typing import Any

import torch

from oracle.doors.question import Named
from oracle.inputs import generator

#: What a case with such numbers is called besides.
UNEVEN = "uneven"


def uneven(held: Named, seed: int) -> dict[str, torch.Tensor]:
    """For each tensor whose numbers are all one number others of the same sign and not larger; from 0 to 1/2 where it is 0.

    A tensor of a single number is one of them where that is 0 or 1.
    """
    rng, found = generator(seed, UNEVEN), {}
    for name, value in held.items():
        plain = value.detach()
        if not plain.is_floating_point() or plain.numel() == 0:
            continue
        first = plain.flatten()[0]
        hides = plain.numel() > 1 or float(first) in (0.0, 1.0)
        if hides and bool((plain == first).all()) and bool(first.isfinite()):
            part = torch.from_numpy(rng.uniform(0, 0.5, tuple(plain.shape))).to(plain.dtype)
            found[name] = (plain * (1 - part) if first else part).requires_grad_(value.requires_grad)
    return found


def shared(reference: Any, candidate: Any, theirs: Callable[[str], str]) -> dict[str, torch.Tensor]:
    """The buffers of one module that another has with the same numbers; `theirs` gives its names. Nothing for anything else."""
    ours, others = (dict(each.named_buffers()) if isinstance(each, torch.nn.Module) else {} for each in (reference, candidate))
    pairs = [(name, value, others.get(theirs(name))) for name, value in ours.items()]
    return {name: value for name, value, other in pairs if other is not None and _same(value, other)}


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)
