"""torch's own run with the truth in the place of what it gets wrong: what a right gradient is where the network has no referee.

A network may be too large for ball arithmetic, or lie on a kink. But where one layer of torch's is inaccurate, the referee has
proved that on the layer alone. This run goes through the network in float64, layer by layer, by torch, and in those layers by
the referee, so that what follows from the inaccuracy is told from a mistake.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch

from manualbp import Activation, Network, Trace
from manualbp.domains import REALS
from oracle import judge
from oracle.alone import UPSTREAM
from oracle.case import Case
from oracle.twins import batch_last, call, call_loss, for_terms, to_numpy, to_torch


class UnknownTruthError(ValueError):
    """The referee cannot say what the truth is on the numbers that come up."""


def corrected_run(case: Case, inaccurate: Collection[int], disturb: Callable[[Any], Any] = np.asarray) -> Trace:
    """Values and gradients in float64, by the referee at these positions and by torch at all others.

    `disturb` is what happens to numbers that a layer hands on: nothing, or a rounding. Raises UnknownTruthError where the referee
    does not know.
    """
    layers, count = case.network.layers, len(case.network.layers)
    params = [{name: array.astype(np.float64) for name, array in own.items()} for own in case.params]
    values: list[Any] = [case.x.astype(np.float64)]
    with np.errstate(all="ignore"):
        for at, (layer, own) in enumerate(zip(layers, params, strict=False)):
            if at in inaccurate:
                shape = Network((layer,), UPSTREAM).output_shape(values[-1].shape)
                by_torch = batch_last(_forward(case, layer, own, values[-1])[0])
                value = _truth(_alone(layer, own, values[-1], np.ones(shape)), by_torch, "value", 1)
            else:
                value = batch_last(_forward(case, layer, own, values[-1])[0])
            reach = layer.range if isinstance(layer, Activation) else REALS
            values.append(np.clip(disturb(value), reach.low, reach.high))  # rounding is monotonic, and 1 a number
        of_loss = params[count] if len(params) > count else {}
        loss, gradient, own_gradients = _through_loss(case, of_loss, values[-1], referee=count in inaccurate)
        gradients, parameter_gradients = [disturb(gradient)], [own_gradients] if of_loss else []
        for at in reversed(range(count)):
            layer, own, upstream = layers[at], params[at], gradients[-1]
            output, given, leaves = _forward(case, layer, own, values[at])
            found = torch.autograd.grad(output, [given, *leaves.values()], to_torch(upstream), materialize_grads=True)
            gradient, own_gradients = batch_last(found[0]), dict(zip(leaves, map(to_numpy, found[1:]), strict=True))
            if at in inaccurate:
                alone = _alone(layer, own, values[at], upstream)
                gradient = _truth(alone, gradient, "gradient")
                own_gradients = {name: _truth(alone, array, "parameter", 0, name) for name, array in own_gradients.items()}
            gradients.append(disturb(gradient))
            parameter_gradients.append(own_gradients)
    return Trace(case.network, loss, tuple(values), tuple(gradients[::-1]), tuple(parameter_gradients[::-1]))


def _alone(layer: Any, own: dict[str, Any], value: Any, upstream: Any) -> Case:
    return Case("", Network((layer,), UPSTREAM), (own,), value, upstream)


def _truth(case: Case, by_torch: Any, *place: Any) -> Any:
    """The true values at a place of a case, rounded to float64; torch's where the truth is a set, on a kink."""
    from oracle.referee import Place

    found = judge.truths(case, judge.MOST_OF_A_LAYER).get(Place(*place))
    if found is None:
        raise UnknownTruthError(f"no truth of {place} for {case.network}")
    return np.where(np.isnan(found[0]), by_torch, found[0])


def _forward(case: Case, layer: Any, own: dict[str, Any], value: Any) -> tuple[Any, Any, dict[str, Any]]:
    """A layer by torch in float64: its output, and the leaves of its graph."""
    drawn = layer.noise(value.shape, case.dtype) if isinstance(layer, Activation) else None
    extra = () if drawn is None else (to_torch(drawn).double(),)
    leaves = {name: torch.from_numpy(array).requires_grad_() for name, array in own.items()}
    given = to_torch(value).requires_grad_()
    return call(layer, leaves, given, *extra), given, leaves


def _through_loss(case: Case, own: dict[str, Any], value: Any, *, referee: bool) -> tuple[Any, Any, dict[str, Any]]:
    """The loss, and its gradients with respect to its input and its parameters."""
    target = case.target if case.target.dtype.kind in "iu" else case.target.astype(np.float64)
    grad_loss = np.asarray(case.grad_loss, dtype=np.float64)
    leaves = {name: torch.from_numpy(array).requires_grad_() for name, array in own.items()}
    given = to_torch(value).requires_grad_()
    loss = call_loss(case.network.loss, leaves, given, to_torch(target))
    found = torch.autograd.grad(loss, [given, *leaves.values()], for_terms(to_torch(grad_loss), loss), materialize_grads=True)
    total, gradient = batch_last(loss), batch_last(found[0])
    own_gradients = dict(zip(leaves, map(to_numpy, found[1:]), strict=True))
    if referee:
        number = grad_loss if grad_loss.ndim else float(grad_loss)
        alone = Case("", Network((), case.network.loss), (own,) if own else (), value, target, number)
        total, gradient = _truth(alone, total, "loss"), _truth(alone, gradient, "gradient")
        own_gradients = {name: _truth(alone, array, "parameter", 0, name) for name, array in own_gradients.items()}
    return total, gradient, own_gradients
