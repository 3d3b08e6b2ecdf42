"""The reference side: the same network through torch.nn and torch.autograd."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp import Activation, Trace
from oracle.case import Case
from oracle.twins import batch_last, call, call_loss, for_terms, parameter, to_numpy, to_torch


class Twin:
    """A case's network in torch: parameters that autograd tracks, and a forward pass that returns every node."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.params = [{name: parameter(value).requires_grad_() for name, value in own.items()} for own in case.params]
        self.x = to_torch(case.x).requires_grad_()
        self.target = to_torch(case.target)

    @property
    def flat(self) -> list[Tensor]:
        return [value for own in self.params for value in own.values()]

    def nodes(self) -> list[Tensor]:
        """The input and the output of every layer, as one graph."""
        nodes = [self.x]
        for layer, own in zip(self.case.network.layers, self.params, strict=False):
            samples, *others = nodes[-1].shape
            drawn = layer.noise((*others, samples), self.case.dtype) if isinstance(layer, Activation) else None
            nodes.append(call(layer, own, nodes[-1], *(() if drawn is None else (to_torch(drawn),))))
        return nodes

    def loss(self, output: Tensor) -> Tensor:
        """The loss, from the network's output."""
        count = len(self.case.network.layers)
        return call_loss(self.case.network.loss, self.params[count] if len(self.params) > count else {}, output, self.target)

    def upstream_of(self, loss: Tensor) -> Tensor:
        """dC'/dC; one number counts for every term of a loss that is not reduced."""
        return for_terms(to_torch(np.asarray(self.case.grad_loss, dtype=self.case.dtype)), loss)


def _plain(tensor: Tensor | None) -> Any:
    """A parameter or its gradient, which have torch's layout on both sides."""
    return None if tensor is None else to_numpy(tensor)


def _batch_last(tensor: Tensor | None) -> Any:
    return None if tensor is None else batch_last(tensor)


def torch_run(case: Case) -> Trace:
    """Values and gradients by autograd, as a trace in manualbp's layout and the case's dtype.

    Where torch refuses the numbers (BCELoss does for NaN), what follows is None and the trace says why.
    """
    net = Twin(case)
    nodes, flat, failure = net.nodes(), net.flat, ""
    loss: Tensor | None = None
    grads: tuple[Tensor | None, ...] = (None,) * (len(nodes) + len(flat))
    try:
        loss = net.loss(nodes[-1])
        grads = torch.autograd.grad(loss, [*nodes, *flat], net.upstream_of(loss), materialize_grads=True)
    except (RuntimeError, ValueError) as error:
        failure = f"torch: {str(error).splitlines()[0]}"
    remaining = iter(grads[len(nodes) :])
    return Trace(
        case.network,
        _batch_last(loss),
        tuple(map(_batch_last, nodes)),
        tuple(map(_batch_last, grads[: len(nodes)])),
        tuple({name: _plain(next(remaining)) for name in own} for own in net.params),
        failure,
    )


@dataclass(frozen=True)
class State:
    """One evaluation on the way down: the parameters, and the loss and gradients there; or why there is none."""

    loss: Any
    parameters: tuple[dict[str, Any], ...]
    gradients: tuple[dict[str, Any], ...]
    failure: str = ""


def torch_descent(case: Case, alpha: float, steps: int) -> Iterator[State]:
    """Gradient descent by torch.optim.SGD from the case's parameters: steps + 1 states, the first before any step."""
    net = Twin(case)
    optimizer = torch.optim.SGD(net.flat, lr=alpha)
    for step in range(steps + 1):
        optimizer.zero_grad()
        loss = net.loss(net.nodes()[-1])
        loss.backward()  # type: ignore[no-untyped-call]
        yield State(
            _batch_last(loss),
            tuple({name: _plain(value).copy() for name, value in own.items()} for own in net.params),
            tuple({name: _plain(value.grad) for name, value in own.items()} for own in net.params),
        )
        if step < steps:
            optimizer.step()
