"""The reference side: the same network through torch.nn and torch.autograd."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from manualbp import Activation, Trace
from manualbp.layer import Layer
from oracle.case import Case
from oracle.twins import Params, call, call_loss, to_numpy, to_torch


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
        self.params = [{name: self.leaf(_as_is(value)) for name, value in own.items()} for own in case.params]
        self.x = self.leaf(to_torch(case.x))
        self.target = self._spread(to_torch(case.target))
        self.upstream = self._spread(to_torch(np.asarray(case.grad_loss, dtype=case.dtype)))

    @property
    def flat(self) -> list[Tensor]:
        return [value for own in self.params for value in own.values()]

    def _spread(self, tensor: Tensor) -> Tensor:
        if self.dtype and tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        return tensor.expand(self.replicas.count, *tensor.shape).clone() if self.replicas else tensor

    def leaf(self, tensor: Tensor) -> Tensor:
        return self._spread(tensor).requires_grad_()

    def perturb(self, tensor: Tensor) -> Tensor:
        return self.replicas.perturb(tensor) if self.replicas else tensor

    def noise_of(self, tensor: Tensor) -> Tensor:
        """What perturbing a tensor of ones adds to it."""
        return self.perturb(torch.ones_like(tensor)) - 1

    def call(self, layer: Layer, params: Params, value: Tensor) -> Tensor:
        """One layer, in every replica."""
        drawn = layer.noise(self._case_shape(value), self.case.dtype) if isinstance(layer, Activation) else None
        extra = () if drawn is None else (self._spread(to_torch(drawn)),)
        if not self.replicas:
            return call(layer, params, value, *extra)
        if params:
            output: Tensor = vmap(partial(call, layer))(params, value, *extra)
        else:  # to a layer without parameters the replicas are more samples
            output = call(layer, params, *(each.flatten(0, 1) for each in (value, *extra)))
            output = output.reshape(*value.shape[:2], *output.shape[1:])
        output = self.perturb(output)
        if isinstance(layer, Activation):
            if layer.rows_in(1) == 1:
                output = output + self._inner_noise(value)
            else:  # a gate: the first half of the features through an activation, times the second
                gated, plain = value.chunk(2, 2)
                output = output + self._inner_noise(gated) * plain
            # Rounding never takes a sigmoid above 1; but where it takes it to 1, gradients still flow.
            output = output + (output.clamp(layer.range.low, layer.range.high) - output).nan_to_num().detach()
        return output

    def _case_shape(self, value: Tensor) -> tuple[int, ...]:
        """The shape (features, *extra, m) that a node has in the case."""
        samples, *others = value.shape[1:] if self.replicas else value.shape
        return (*others, samples)

    def _inner_noise(self, z: Tensor) -> Tensor:
        """What cancellation inside an activation may leave: its value is made of terms up to min(|z|, 1), its slope of 1s."""
        constant = z.detach()
        return self.noise_of(z) * (constant.abs().clamp(max=1) + (z - constant).nan_to_num())

    def nodes(self) -> list[Tensor]:
        """The input and the output of every layer, as one graph. A loss alone gets its input perturbed: its condition."""
        nodes, value = [self.x], self.x
        if self.case.close and not self.case.network.layers:
            return [self.perturb(self.x)]
        for layer, own in zip(self.case.network.layers, self.params, strict=False):
            value = self.call(layer, {name: self.perturb(tensor) for name, tensor in own.items()}, value)
            nodes.append(value)
        return nodes

    def loss(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of every replica, and a number that is 0 and whose gradient is what rounding may leave in the loss's own."""
        count = len(self.case.network.layers)
        params = {name: self.perturb(tensor) for name, tensor in self.params[count].items()} if len(self.params) > count else {}
        loss = self._each(params, output, self.target)
        if not self.replicas:
            return loss, output.new_zeros(())
        loss = self.perturb(loss)
        constant = output.detach().requires_grad_()
        # What may cancel, as in p - 1, is as large as the loss and its gradient at a target elsewhere.
        elsewhere = self.case.network.loss.target_domain.elsewhere(self.target, self._classes())
        value = self._each({name: tensor.detach() for name, tensor in params.items()}, constant, elsewhere)
        (slope,) = torch.autograd.grad(value, constant, self.upstream_of(value))
        slope = slope.abs() * self.noise_of(slope)
        return loss + value.detach().abs() * self.noise_of(value), (slope * (output - constant.detach()).nan_to_num()).sum()

    def upstream_of(self, loss: Tensor) -> Tensor:
        """dC'/dC in every replica; one number counts for every term of a loss that is not reduced."""
        given = self.upstream
        return given.reshape((*given.shape, *(1,) * (loss.ndim - given.ndim))).expand_as(loss)

    def _classes(self) -> int:
        network = self.case.network
        return network.loss.target_shape(network.output_shape(self.case.x.shape))[0]

    def _each(self, params: Params, output: Tensor, target: Tensor) -> Tensor:
        """The loss, replica by replica: not every loss of torch can be mapped over an axis."""
        loss = self.case.network.loss
        if not self.replicas:
            return call_loss(loss, params, output, target)
        return torch.stack(
            [
                call_loss(loss, {name: tensor[i] for name, tensor in params.items()}, output[i], target[i])
                for i in range(self.replicas.count)
            ]
        )

    def plain(self, tensor: Tensor | None) -> Any:
        """A parameter or its gradient, which have torch's layout on both sides."""
        return None if tensor is None else to_numpy(tensor)

    def batch_last(self, tensor: Tensor | None) -> Any:
        """(m, features, *extra) as an array (features, *extra, m), in the order of memory that manualbp's own arrays have."""
        if tensor is None:
            return None
        axis = 1 if self.replicas else 0
        return np.ascontiguousarray(np.moveaxis(to_numpy(tensor), axis, -1)) if tensor.ndim > axis else to_numpy(tensor)[()]


def _as_is(array: NDArray[Any]) -> Tensor:
    """A parameter as a tensor; it has torch's own layout."""
    return to_torch(np.moveaxis(array, 0, -1))


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
        loss, noise = net.loss(nodes[-1])
        objectives, upstreams = [loss], [net.upstream_of(loss)]
        if replicas:
            objectives, upstreams = [loss, noise], [*upstreams, torch.ones_like(noise)]
        grads = torch.autograd.grad(objectives, [*nodes, *flat], upstreams, materialize_grads=True)
    except (RuntimeError, ValueError) as error:
        failure = f"torch: {str(error).splitlines()[0]}"
    remaining = iter(grads[len(nodes) :])
    return Trace(
        case.network,
        None if loss is None else net.batch_last(loss),
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
        loss, noise = net.loss(net.nodes()[-1])
        (loss.sum() + noise).backward()  # type: ignore[no-untyped-call]  # one loss, or one per replica
        yield State(
            net.batch_last(loss),
            tuple({name: net.plain(value).copy() for name, value in own.items()} for own in net.params),
            tuple({name: net.plain(value.grad) for name, value in own.items()} for own in net.params),
        )
        if step < steps:
            optimizer.step()
        with torch.no_grad():  # the update rounds too, and what it loses stays lost
            for value in net.flat:
                value.copy_(net.perturb(value))
