"""A case's network in many replicas, layer by layer, forward and back."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp import Activation, Trace
from oracle.case import Case
from oracle.rounding.expressions import layer_of_replicas, loss_of_replicas
from oracle.rounding.replicas import Groups, Replicas
from oracle.twins import Params, for_terms, parameter, to_numpy, to_torch, twin


class Chain:
    """The twin of a case in float64, in every copy of one or two groups.

    The first group goes from end to end. In the second each layer gets the input and the upstream gradient that the reference
    has there, as in a layerwise run: what it shows is the layer's own.
    """

    def __init__(self, case: Case, groups: Groups, reference: Trace | None = None) -> None:
        self.case, self.groups, self.reference = case, groups, reference
        for record in (*case.network.layers, case.network.loss):
            twin(record, torch.float64)  # made here: making one is no operation to look after
        self.params = [{name: self._spread(parameter(value)) for name, value in own.items()} for own in case.params]
        self.x = self._spread(to_torch(case.x).double())
        target = to_torch(case.target)
        self.target = target.double() if target.is_floating_point() else target
        self.targets = self.target.repeat(groups.count, *(1,) * (self.target.ndim - 1))
        self.grad_loss = to_torch(np.asarray(case.grad_loss, dtype=np.float64))

    def _spread(self, tensor: Tensor) -> Tensor:
        return tensor.double().expand(self.groups.count, *tensor.shape)

    def run(self, mode: Replicas, *, of_input: bool = True) -> Trace:
        """Values and gradients, each with the leading axis of the groups, while `mode` looks after every operation.

        Without `of_input` the gradient of the network's input is 0: a descent has no use for it.
        """
        layers, count = self.case.network.layers, len(self.case.network.layers)
        values, steps = [self.x], []
        for layer, own in zip(layers, self.params, strict=False):
            drawn = layer.noise(self._case_shape(values[-1]), self.case.dtype) if isinstance(layer, Activation) else None
            extra = () if drawn is None else (self._spread(to_torch(drawn)),)
            params, given = _leaves(own), self._given(values, mode).requires_grad_()
            with mode:
                output = layer_of_replicas(layer, params, given, *extra)
            steps.append((output, given, params))
            values.append(_within(output.detach(), layer))
        params = _leaves(self.params[count] if len(self.params) > count else {})
        given = self._given(values, mode).requires_grad_()
        mode.given.add(self.targets.untyped_storage().data_ptr())
        with mode:
            loss = loss_of_replicas(self.case.network.loss, params, given, self.target, self.targets)
        gradients: list[Tensor] = []
        parameter_gradients: list[Params] = []
        upstream = for_terms(self.grad_loss.unsqueeze(0), loss)
        for output, start, own in [(loss, given, params), *reversed(steps)]:
            with mode:
                if of_input or len(gradients) < count:
                    found = torch.autograd.grad(output, [start, *own.values()], upstream, materialize_grads=True)
                else:
                    found = (
                        torch.zeros_like(start),
                        *torch.autograd.grad(output, [*own.values()], upstream, materialize_grads=True),
                    )
            gradients.append(found[0])
            parameter_gradients.append(dict(zip(own, found[1:], strict=True)))
            upstream = found[0].detach().clone()
            self._as_reference(upstream, "gradients", count + 1 - len(gradients))
        if len(self.params) == count:
            del parameter_gradients[0]
        return Trace(
            self.case.network,
            self._batch_last(loss),
            tuple(map(self._batch_last, values)),
            tuple(map(self._batch_last, gradients[::-1])),
            tuple({name: to_numpy(grad) for name, grad in own.items()} for own in reversed(parameter_gradients)),
        )

    def _given(self, values: list[Tensor], mode: Replicas) -> Tensor:
        """What the next layer is given: the last values, which are numbers of their own where they are not the input."""
        copy = values[-1].detach().clone()
        if len(values) > 1:
            mode.handed_over(copy)
            copy = _within(copy, self.case.network.layers[len(values) - 2])
        self._as_reference(copy, "values", len(values) - 1)
        return copy

    def _as_reference(self, tensor: Tensor, what: str, node: int) -> None:
        """Give the second group the numbers that the reference has at a node."""
        known = getattr(self.reference, what)[node] if self.reference and self.groups.groups > 1 else None
        if known is not None:
            tensor[self.groups.copies :] = to_torch(np.asarray(known)).double()

    def _case_shape(self, value: Tensor) -> tuple[int, ...]:
        """The shape (features, *extra, m) that a node has in the case."""
        samples, *others = value.shape[1:]
        return (*others, samples)

    def _batch_last(self, tensor: Tensor) -> Any:
        """(replicas, m, features, *extra) as an array (replicas, features, *extra, m)."""
        return np.moveaxis(to_numpy(tensor), 1, -1) if tensor.ndim > 1 else to_numpy(tensor)


def _leaves(own: Params) -> Params:
    return {name: value.detach().requires_grad_() for name, value in own.items()}


def _within(output: Tensor, layer: Any) -> Tensor:
    """Rounding never takes a sigmoid above 1: it is monotonic, and 1 is a number."""
    return output.clamp(layer.range.low, layer.range.high) if isinstance(layer, Activation) else output
