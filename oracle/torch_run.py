"""The reference side: the same network through torch.nn and torch.autograd.

This is the one place that knows torch's layout: there the batch comes first, (m, features, *extra), here it comes last.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, vmap

from manualbp import Activation, Trace
from manualbp.layer import Record
from oracle.case import Case


class _HalfSquaredError(torch.nn.Module):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return 0.5 * ((input - target) ** 2).sum()


#: Records whose twin is not in torch.nn under their own name, each with its reason.
_NO_NAMESAKE: dict[str, type[torch.nn.Module]] = {
    "HalfSquaredError": _HalfSquaredError,  # the notes' cost; torch.nn has the squared error only without the 1/2
}


@lru_cache(maxsize=1024)
def twin(record: Record) -> torch.nn.Module:
    """The module of torch.nn with the record's name and options. It owns no numbers: parameters are passed to each call."""
    name = record.twin()
    make = _NO_NAMESAKE.get(name) or getattr(torch.nn, name)
    with torch.device("meta"):
        module: torch.nn.Module = make(**record.twin_options())
    return module


def _call(module: torch.nn.Module, params: dict[str, Tensor], *inputs: Tensor) -> Tensor:
    output: Tensor = functional_call(module, params, inputs) if params else module(*inputs)
    return output


@dataclass(frozen=True)
class Replicas:
    """So many copies of a run side by side, on a leading axis of every tensor, each disturbed on its own.

    `perturb` is applied to every parameter and to what every layer hands on.
    """

    count: int
    perturb: Callable[[Tensor], Tensor]


class _Twin:
    """A case's network in torch: parameters that autograd tracks, and a forward pass that returns every node."""

    def __init__(self, case: Case, dtype: torch.dtype | None, replicas: Replicas | None) -> None:
        self.case, self.dtype, self.replicas = case, dtype, replicas
        self.params = [{name: self.leaf(value) for name, value in own.items()} for own in case.params]
        self.x = self.leaf(np.moveaxis(case.x, -1, 0))
        self.target = self._spread(np.moveaxis(case.target, -1, 0))

    @property
    def flat(self) -> list[Tensor]:
        return [value for own in self.params for value in own.values()]

    def _spread(self, array: NDArray[Any]) -> Tensor:
        native = array.astype(np.int64) if array.dtype.kind in "iu" else np.array(array, order="C")  # torch's only class indices
        tensor = torch.from_numpy(np.ascontiguousarray(native))
        if self.dtype and tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        return tensor.expand(self.replicas.count, *tensor.shape).clone() if self.replicas else tensor

    def leaf(self, array: NDArray[Any]) -> Tensor:
        return self._spread(array).requires_grad_()

    def perturb(self, tensor: Tensor) -> Tensor:
        return self.replicas.perturb(tensor) if self.replicas else tensor

    def call(self, record: Record, params: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        module = twin(record)
        if not self.replicas:
            return _call(module, params, *inputs)
        if params or len(inputs) > 1:
            output: Tensor = vmap(partial(_call, module))(params, *inputs)
        else:  # to a layer without parameters the replicas are more samples
            output = module(inputs[0].flatten(0, 1)).unflatten(0, inputs[0].shape[:2])
        output = self.perturb(output)
        if isinstance(record, Activation):
            output = output + self._inner_noise(*inputs)
            # Rounding never takes a sigmoid above 1; but where it takes it to 1, gradients still flow.
            output = output + (output.clamp(record.range.low, record.range.high) - output).nan_to_num().detach()
        return output

    def _inner_noise(self, z: Tensor) -> Tensor:
        """What cancellation inside an activation may leave: its value is made of terms up to min(|z|, 1), its slope of 1s."""
        noise, constant = self.perturb(torch.ones_like(z)) - 1, z.detach()
        return noise * (constant.abs().clamp(max=1) + (z - constant).nan_to_num())

    def nodes(self) -> list[Tensor]:
        """The input and the output of every layer, as one graph."""
        nodes, value = [self.x], self.x
        for layer, own in zip(self.case.network.layers, self.params, strict=True):
            value = self.call(layer, {name: self.perturb(tensor) for name, tensor in own.items()}, value)
            nodes.append(value)
        return nodes

    def loss(self, output: Tensor) -> Tensor:
        loss = self.call(self.case.network.loss, {}, output, self.target)
        return loss + self._loss_noise(output) if self.replicas else loss

    def _loss_noise(self, output: Tensor) -> Tensor:
        """What cancellation inside the loss may leave where the output nearly is the target, as in p - 1.

        The terms that cancel there are as large as the loss and its gradient at a target elsewhere.
        """
        loss, constant = self.case.network.loss, output.detach().requires_grad_()
        elsewhere = loss.target_domain.elsewhere(self.target, output.shape[2])
        value = vmap(twin(loss))(constant, elsewhere)
        (slope,) = torch.autograd.grad(value.sum(), constant)
        slope = slope.abs() * (self.perturb(torch.ones_like(slope)) - 1)
        size = value.detach().abs() * (self.perturb(torch.ones_like(value)) - 1)
        return size + (slope * (output - constant.detach()).nan_to_num()).flatten(1).sum(1)

    def plain(self, tensor: Tensor | None) -> Any:
        """A parameter or its gradient, which have torch's layout on both sides."""
        return None if tensor is None else tensor.detach().numpy()

    def batch_last(self, tensor: Tensor | None) -> Any:
        """(m, features, *extra) as an array (features, *extra, m), in the order of memory that manualbp's own arrays have."""
        if tensor is None:
            return None
        return np.ascontiguousarray(np.moveaxis(tensor.detach().numpy(), 1 if self.replicas else 0, -1))


def torch_run(case: Case, *, dtype: torch.dtype | None = None, replicas: Replicas | None = None) -> Trace:
    """Values and gradients by autograd, as a trace in manualbp's layout; in the case's own dtype unless one is given.

    With `replicas`, every array of the trace has a leading axis of that length. Where torch refuses the numbers (BCELoss
    does for NaN), what follows is None and the trace says why.
    """
    net = _Twin(case, dtype, replicas)
    nodes, flat, failure = net.nodes(), net.flat, ""
    loss: Tensor | None = None
    grads: tuple[Tensor | None, ...] = (None,) * (len(nodes) + len(flat))
    try:
        loss = net.loss(nodes[-1])
        grads = torch.autograd.grad(loss, [*nodes, *flat], torch.full_like(loss, case.grad_loss), allow_unused=True)
    except RuntimeError as error:
        failure = f"torch: {str(error).splitlines()[0]}"
    remaining = iter(grads[len(nodes) :])
    return Trace(
        case.network,
        None if loss is None else loss.detach().numpy()[()],
        tuple(net.batch_last(node) for node in nodes),
        tuple(net.batch_last(grad) for grad in grads[: len(nodes)]),
        tuple({name: net.plain(next(remaining)) for name in own} for own in net.params),
        failure,
    )


@dataclass(frozen=True)
class State:
    """One evaluation on the way down: the parameters, and the loss and gradients there; or why there is none."""

    loss: Any
    parameters: tuple[dict[str, Any], ...]
    gradients: tuple[dict[str, Any], ...]
    failure: str = ""


def torch_descent(
    case: Case, alpha: float, steps: int, *, dtype: torch.dtype | None = None, replicas: Replicas | None = None
) -> Iterator[State]:
    """Gradient descent by torch.optim.SGD from the case's parameters: steps + 1 states, the first before any step."""
    net = _Twin(case, dtype, replicas)
    optimizer = torch.optim.SGD(net.flat, lr=alpha)
    for step in range(steps + 1):
        optimizer.zero_grad()
        loss = net.loss(net.nodes()[-1])
        loss.sum().backward()  # type: ignore[no-untyped-call]  # one loss, or one per replica
        yield State(
            loss.detach().numpy()[()],
            tuple({name: net.plain(value).copy() for name, value in own.items()} for own in net.params),
            tuple({name: net.plain(value.grad) for name, value in own.items()} for own in net.params),
        )
        if step < steps:
            optimizer.step()
        with torch.no_grad():  # the update rounds too, and what it loses stays lost
            for value in net.flat:
                value.copy_(net.perturb(value))
