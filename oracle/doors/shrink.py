"""A failing input made small: fewer rows and columns, rounder numbers, and it still fails in the same way."""

import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

Inputs = dict[str, Tensor]

#: So many inputs are tried, or for so many seconds.
TRIES, SECONDS = 60, 3.0
#: Of an input with so few elements each is tried at 1 and at 0.
FEW = 12


def shrunk(inputs: Mapping[str, Tensor], fails: Callable[[Inputs], bool]) -> Inputs:
    """The smallest and roundest input found for which `fails` is still true; the one given where none is."""
    small, tries, until = dict(inputs), TRIES, time.monotonic() + SECONDS
    progress = True
    while progress:
        progress = False
        for step in (_smaller, _rounder, _simpler):
            for smaller in step(small):
                if tries == 0 or time.monotonic() > until:
                    return small
                tries -= 1
                if fails(smaller):
                    small, progress = smaller, True
                    break
            if progress:
                break
    return small


def _smaller(inputs: Inputs) -> Iterator[Inputs]:
    """A part of an axis, the longest first; equal sizes are one axis in all inputs."""
    sizes = sorted({size for value in inputs.values() for size in value.shape if size > 1}, reverse=True)
    for size in sizes:
        for start, stop in dict.fromkeys([(0, size // 2), (size // 2, size), (0, size - 1), (1, size)]):
            yield {name: _cut(value, size, start, stop) for name, value in inputs.items()}


def _cut(value: Tensor, size: int, start: int, stop: int) -> Tensor:
    part = value.detach()
    for axis, length in enumerate(value.shape):
        if length == size:
            part = part.narrow(axis, start, stop - start)
    if not part.is_floating_point() and part.numel() and int(part.max()) >= stop - start and int(value.max()) < size:
        part = part % (stop - start)  # labels of the classes that are left
    return part.clone().requires_grad_(value.requires_grad)


def _rounder(inputs: Inputs) -> Iterator[Inputs]:
    """All numbers with fewer digits; none becomes 0."""
    for size in (1.0, 10.0, 100.0):
        rounded = {
            name: _like(value, value.detach().sign() * (value.detach().abs() * size).ceil() / size)
            if value.is_floating_point()
            else value
            for name, value in inputs.items()
        }
        if any(not torch.equal(rounded[name], value) for name, value in inputs.items()):
            yield rounded


def _simpler(inputs: Inputs) -> Iterator[Inputs]:
    """One number set to 1 or 0."""
    for name, value in inputs.items():
        if value.is_floating_point() and value.numel() <= FEW:
            for at in range(value.numel()):
                for number in (1.0, 0.0):
                    if float(value.detach().flatten()[at]) not in (0.0, 1.0):
                        changed = value.detach().flatten().clone()
                        changed[at] = number
                        yield {**inputs, name: _like(value, changed.view(value.shape))}


def _like(value: Tensor, numbers: Tensor) -> Tensor:
    return numbers.clone().requires_grad_(value.requires_grad)
