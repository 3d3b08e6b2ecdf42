"""What people use to check a gradient, each as a function of the same network and the same gradients.

All of them see what a user has: the input's gradient and those of the parameters. They return True where they accept.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp import Trace
from oracle.case import Case
from oracle.torch_run import Twin
from oracle.twins import to_torch

#: A candidate's gradients in torch's layout: dC/dx, then the parameters'. None where it gives none.
Found = list[Tensor | None]
Tool = Callable[[Twin, Found], bool]


def network(case: Case) -> Twin:
    """The case's network in torch."""
    return Twin(case)


def final(case: Case, trace: Trace) -> Found:
    """The gradients of the input and of the parameters, as a user of torch would hold them."""
    held = trace.parameter_gradients
    own = [held[at].get(name) if at < len(held) else None for at, given in enumerate(case.params) for name in given]
    return [_tensor(trace.gradients[0], 0)] + [_tensor(array, 1) for array in own]


def _tensor(array: Any, parameter: int) -> Tensor | None:
    """The input's gradient with the batch first, a parameter's as it is."""
    if array is None:
        return None
    array = np.asarray(array)
    return to_torch(np.moveaxis(array, 0, -1) if parameter and array.ndim else array)


def plain(net: Twin) -> tuple[Tensor, ...]:
    """One forward and backward pass of torch: the gradients by autograd."""
    loss = net.loss(net.nodes()[-1])
    return torch.autograd.grad(loss, [net.x, *net.flat], net.upstream_of(loss), materialize_grads=True)


def cost(net: Twin, inputs: Sequence[Tensor]) -> Tensor:
    """The number that is differentiated, as a function of the input and the parameters."""
    other, remaining = copy.copy(net), iter(inputs[1:])
    other.x, other.params = inputs[0], [{name: next(remaining) for name in own} for own in net.params]
    loss = other.loss(other.nodes()[-1])
    return (loss * net.upstream_of(loss)).sum()


class _ByHand(torch.autograd.Function):
    """The network with torch's forward pass and the candidate's gradients, as one writes it to try gradcheck."""

    @staticmethod
    def forward(ctx: Any, net: Twin, found: Found, *inputs: Tensor) -> Tensor:
        ctx.found = found
        return cost(net, inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return None, None, *(None if each is None else upstream * each for each in ctx.found)


def gradcheck(*, fast: bool) -> Tool:
    """torch.autograd.gradcheck with its default step and tolerances. What it raises, a wrong shape for example, refuses."""

    def accepts(net: Twin, found: Found) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that float32 is too coarse for it
            try:
                return torch.autograd.gradcheck(
                    lambda *inputs: _ByHand.apply(net, found, *inputs),  # type: ignore[no-untyped-call]
                    [net.x, *net.flat],
                    fast_mode=fast,
                )
            except (RuntimeError, ValueError):  # GradcheckError is a RuntimeError
                return False

    return accepts


def _pairs(net: Twin, found: Found) -> Iterator[tuple[Tensor, Tensor] | None]:
    """Each gradient beside autograd's; None for one that is missing or of another shape."""
    for mine, theirs in zip(found, plain(net), strict=True):
        yield (mine, theirs) if mine is not None and mine.shape == theirs.shape else None


def by_array(close: Callable[[Tensor, Tensor], Any]) -> Tool:
    """Every array has to be close to autograd's. NaN is close to nothing."""
    return lambda net, found: all(pair is not None and bool(close(*pair)) for pair in _pairs(net, found))


def _assert_close(mine: Tensor, theirs: Tensor) -> bool:
    try:
        torch.testing.assert_close(mine, theirs)
    except AssertionError:
        return False
    return True


def _relative(mine: Tensor, theirs: Tensor) -> Tensor:
    """Whether max |a - n| / max(|a|, |n|) <= 1e-7; where both are 0 they are equal."""
    return ((mine == theirs) | ((mine - theirs).abs() / torch.maximum(mine.abs(), theirs.abs()) <= 1e-7)).all()


def _cosine(mine: Tensor, theirs: Tensor) -> Tensor:
    """The cosine of the angle between the arrays as vectors; two of nothing but zeros are equal."""
    if not mine.any() and not theirs.any():
        return torch.tensor(True)
    a, b = (each.double().flatten() for each in (mine, theirs))
    return (a / a.abs().max()) @ (b / b.abs().max()) >= 0.99 * (a / a.abs().max()).norm() * (b / b.abs().max()).norm()


#: By the name in the table. What is compared with autograd costs a pass of it, which is in their time.
TOOLS: dict[str, Tool] = {
    "gradcheck": gradcheck(fast=False),
    "gradcheck, fast_mode": gradcheck(fast=True),
    "torch.allclose": by_array(torch.allclose),
    "torch.testing.assert_close": by_array(_assert_close),
    "relative error 1e-7": by_array(_relative),
    "cosine similarity 0.99": by_array(_cosine),
    "absolute error 2e-2": by_array(lambda mine, theirs: ((mine - theirs).abs() <= 2e-2).all()),
}
