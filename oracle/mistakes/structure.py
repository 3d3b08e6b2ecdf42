"""Mistakes in how layers are put together: every layer is right, the gradient of the network is not."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from manualbp import Activation, Linear, Network, Trace
from oracle.case import Case
from oracle.mistakes.linear import DECAY, RATE
from oracle.mistakes.mistake import AssemblyMistake
from oracle.mistakes.parts import columns, wide
from oracle.mistakes.step import Gradients, Step

CHAIN = "delta[l] = (W[l+1]^T delta[l+1]) * g'(z[l]),  dC/dW[l] = delta[l] a[l-1]^T,  for l = L .. 1"
UPDATE = "w <- w - alpha dC/dw"

Grads = dict[str, Any]


def _linears(network: Network) -> list[int]:
    return [at for at, layer in enumerate(network.layers) if isinstance(layer, Linear)]


def _always(network: Network) -> bool:
    return bool(_linears(network))


def _deep(network: Network) -> bool:
    return len(_linears(network)) > 1


def _twins(network: Network) -> list[tuple[int, int]]:
    """Neighbouring Linear layers of the same form."""
    shapes = {at: network.layers[at].parameter_shapes() for at in _linears(network)}
    return [(a, b) for a, b in pairwise(shapes) if shapes[a] == shapes[b]]


def _params(change: Callable[[Case, Trace], dict[int, Grads]]) -> Callable[[Case, Trace], Trace]:
    """The trace with other parameter gradients at some positions, rounded to its dtype."""

    def wrong(case: Case, honest: Trace) -> Trace:
        found = list(honest.parameter_gradients)
        for at, own in change(case, honest).items():
            found[at] = {name: np.asarray(value).astype(case.dtype) for name, value in own.items()}
        return replace(honest, parameter_gradients=tuple(found))

    return wrong


def _times(factor: Callable[[Case, Trace], float]) -> Callable[[Case, Trace], Trace]:
    """The trace with every parameter's gradient multiplied by a number."""
    return _params(
        lambda case, honest: {
            at: {name: wide(value) * factor(case, honest) for name, value in own.items()}
            for at, own in enumerate(honest.parameter_gradients)
        }
    )


def _decayed(case: Case, honest: Trace) -> dict[int, Grads]:
    return {
        at: {name: wide(value) + DECAY * wide(case.params[at][name]) for name, value in own.items()}
        for at, own in enumerate(honest.parameter_gradients)
    }


def _chain(back: Callable[[Step], Gradients]) -> Callable[[Case, Trace], Trace]:
    """The trace when every layer goes back by `back`; the loss is right."""

    def wrong(case: Case, honest: Trace) -> Trace:
        gradients, parameters = list(honest.gradients), list(honest.parameter_gradients)
        for at in reversed(range(len(case.network.layers))):
            gradient, own = back(Step(case, at, honest.values, tuple(gradients)))
            gradients[at] = np.asarray(gradient).astype(case.dtype)
            parameters[at] = {name: np.asarray(value).astype(case.dtype) for name, value in own.items()}
        return replace(honest, gradients=tuple(gradients), parameter_gradients=tuple(parameters))

    return wrong


def _length(honest: Trace) -> float:
    """The length of all parameter gradients as one vector."""
    return float(np.sqrt(sum((wide(value) ** 2).sum() for own in honest.parameter_gradients for value in own.values())))


def _in_place(step: Step) -> Gradients:
    overwritten = isinstance(step.layer, Activation) and step.layer.rows_in(1) == 1
    return step.through(input=step.output) if overwritten else step.right


def _after_update(step: Step) -> Gradients:
    if not isinstance(step.layer, Linear):
        return step.right
    W = wide(step.params["weight"]) - RATE * wide(step.right[1]["weight"])
    return (W.T @ columns(step.upstream)).reshape(step.input.shape), step.right[1]


def _last_half(case: Case, honest: Trace) -> dict[int, Grads]:
    """Parameter gradients of the second half of the batch."""
    half = slice(case.x.shape[-1] // 2, None)
    found = {}
    for at, layer in enumerate(case.network.layers):
        step = Step(case, at, honest.values, honest.gradients)
        found[at] = step.through(layer, step.input[..., half], step.upstream[..., half])[1]
    return found


def _reversed(case: Case, honest: Trace) -> dict[int, Grads]:
    at = _linears(case.network)
    return {here: honest.parameter_gradients[there] for here, there in zip(at, reversed(at), strict=True)}


def _exchanged(case: Case, honest: Trace) -> dict[int, Grads]:
    a, b = _twins(case.network)[0]
    return {a: honest.parameter_gradients[b], b: honest.parameter_gradients[a]}


def _zero(which: int) -> Callable[[Case, Trace], dict[int, Grads]]:
    def change(case: Case, honest: Trace) -> dict[int, Grads]:
        at = _linears(case.network)[which]
        return {at: {name: np.zeros_like(value) for name, value in honest.parameter_gradients[at].items()}}

    return change


def _late(case: Case, honest: Trace) -> dict[int, Grads]:
    return {a: honest.parameter_gradients[b] for a, b in _twins(case.network)}


MISTAKES = (
    AssemblyMistake(
        "layers in reverse order",
        "The layers' gradients are collected from the last to the first and returned in this order.",
        "dC/dW[L+1-l] for dC/dW[l]",
        CHAIN,
        _deep,
        _params(_reversed),
    ),
    AssemblyMistake(
        "two layers exchanged",
        "Two layers of the same shape get each other's gradients.",
        "dC/dW[k] for dC/dW[l], and the reverse",
        CHAIN,
        lambda network: bool(_twins(network)),
        _params(_exchanged),
    ),
    AssemblyMistake(
        "the next layer's gradient",
        "A layer is given the gradient of the layer behind it, as when a loop's variable is read too late.",
        "dC/dW[l+1] for dC/dW[l] where both have one shape",
        CHAIN,
        lambda network: bool(_twins(network)),
        _params(_late),
    ),
    AssemblyMistake(
        "loop stops one too early",
        "The loop over the layers ends before it reaches the first, whose gradient stays 0.",
        "0 for dC/dW[1], dC/db[1]",
        CHAIN,
        _always,
        _params(_zero(0)),
    ),
    AssemblyMistake(
        "loop starts one too late",
        "The loop over the layers leaves out the last, whose gradient stays 0.",
        "0 for dC/dW[L], dC/db[L]",
        CHAIN,
        _deep,
        _params(_zero(-1)),
    ),
    AssemblyMistake(
        "gradients not reset",
        "The gradients of an earlier call are still there and the new ones are added to them.",
        "2 dC/dw for dC/dw",
        CHAIN,
        _always,
        _times(lambda *_: 2),
    ),
    AssemblyMistake(
        "every gradient averaged",
        "All parameters' gradients are divided by the batch size at the end.",
        "dC/dw / m for dC/dw",
        CHAIN,
        _always,
        _times(lambda case, _: 1 / case.x.shape[-1]),
    ),
    AssemblyMistake(
        "every gradient's sign",
        "All parameters' gradients are returned with the sign of the step that goes down.",
        "-dC/dw for dC/dw",
        UPDATE,
        _always,
        _times(lambda *_: -1),
    ),
    AssemblyMistake(
        "the step for the gradient",
        f"What is returned is the step down the gradient, with its learning rate ({RATE}), not the gradient.",
        "-alpha dC/dw for dC/dw",
        UPDATE,
        _always,
        _times(lambda *_: -RATE),
    ),
    AssemblyMistake(
        "weight decay everywhere",
        f"The gradient of a penalty on large parameters is added to all of them (factor {DECAY}).",
        "dC/dw + lambda w for dC/dw",
        UPDATE,
        _always,
        _params(_decayed),
    ),
    AssemblyMistake(
        "all gradients clipped",
        "The gradients are scaled to length 1 together, as one does against exploding gradients, before they are returned.",
        "dC/dw min(1, 1 / |dC/dw|) for dC/dw",
        UPDATE,
        _always,
        _times(lambda _, honest: 1 / max(1.0, _length(honest))),
    ),
    AssemblyMistake(
        "activations changed in place",
        "Activations overwrite their input in forward, and backward reads the output where it expects the input.",
        "g'(a[l]) for g'(z[l]) in every layer",
        CHAIN,
        _always,
        _chain(_in_place),
    ),
    AssemblyMistake(
        "updates on the way back",
        f"Every layer's weights are updated before the error goes back through them (learning rate {RATE}).",
        "(W - alpha dC/dW)^T delta for W^T delta in every layer",
        CHAIN,
        _always,
        _chain(_after_update),
    ),
    AssemblyMistake(
        "only the last half of the batch",
        "The batch is worked off in two halves, and the gradients of the second replace those of the first.",
        "the sum over the samples from m/2 on for the sum over all",
        CHAIN,
        _always,
        _params(_last_half),
    ),
)
