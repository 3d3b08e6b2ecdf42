"""Mistakes in how an affine layer, z = W a + b, hands the error on, and in all that it returns."""

from typing import Any

import ml_dtypes
import numpy as np

from manualbp import Linear, Network
from manualbp.layer import Array
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import columns, grad_input, on, times, wide
from oracle.mistakes.step import Gradients, Step, record

INPUT = "dC/da[l-1] = W[l]^T delta[l]"
WEIGHT = "dC/dW[l] = delta[l] a[l-1]^T"
BIAS = "dC/db[l] = delta[l] summed over the batch"

#: The weight decay and the learning rate that the mistakes are made with.
DECAY, RATE = 0.01, 0.1
#: The dtype that is one step narrower.
NARROWER = {"float64": np.float32, "float32": np.float16, "float16": ml_dtypes.bfloat16, "bfloat16": ml_dtypes.bfloat16}

linear = on(Linear)
square = on(Linear, when=lambda layer: layer.in_features == layer.out_features)
with_bias = on(Linear, when=lambda layer: layer.bias)


def delta_of(step: Step) -> Array:
    """dC/dz as a matrix."""
    return columns(step.upstream)


def a_of(step: Step) -> Array:
    """The layer's input as a matrix."""
    return columns(step.input)


def W_of(step: Step) -> Array:
    """The layer's weights."""
    return wide(step.params["weight"])


def _alike(network: Network, position: int) -> list[int]:
    """The other Linear layers of the same form, the nearest first."""
    layer: Any = record(network, position)
    found = [at for at, other in enumerate(network.layers) if at != position and isinstance(other, Linear)]
    same = [at for at in found if network.layers[at].parameter_shapes()["weight"] == layer.parameter_shapes()["weight"]]
    return sorted(same, key=lambda at: abs(at - position))


def _narrow(step: Step) -> Gradients:
    narrower = NARROWER[step.case.dtype.name]
    delta, a, W = (wide(x.astype(narrower)) for x in (delta_of(step), a_of(step), W_of(step)))
    parameters = {"weight": delta @ a.T, "bias": delta.sum(axis=1)}
    return (W.T @ delta).reshape(step.input.shape), {name: parameters[name] for name in step.right[1]}


MISTAKES = (
    StepMistake(
        "W not transposed",
        "The error goes back through the weights themselves, although going back needs the rows and columns exchanged.",
        "W delta for W^T delta",
        INPUT,
        square,
        grad_input(lambda step: W_of(step) @ delta_of(step)),
    ),
    StepMistake(
        "W left out",
        "The error is handed on to the layer before as it is, without going through the weights.",
        "delta for W^T delta",
        INPUT,
        square,
        grad_input(delta_of),
    ),
    StepMistake(
        "W of another layer",
        "The error goes back through the weights of the neighbouring layer.",
        "W[k]^T delta[l] for W[l]^T delta[l]",
        INPUT,
        lambda network, position: linear(network, position) and bool(_alike(network, position)),
        grad_input(lambda step: wide(step.case.params[_alike(step.case.network, step.position)[0]]["weight"]).T @ delta_of(step)),
    ),
    StepMistake(
        "W after the update",
        f"The weights are updated before the error goes back through them (learning rate {RATE}).",
        "(W - alpha dC/dW)^T delta for W^T delta",
        INPUT,
        linear,
        grad_input(lambda step: (W_of(step) - RATE * wide(step.right[1]["weight"])).T @ delta_of(step)),
    ),
    StepMistake(
        "nothing goes further back",
        "The gradient by the layer's input is never computed, so every layer before gets zero.",
        "0 for W^T delta",
        INPUT,
        linear,
        grad_input(lambda step: np.zeros(step.input.shape)),
    ),
    StepMistake(
        "propagated error times the layer's input",
        "The error that goes back is multiplied by the activation it belongs to, instead of by the derivative later.",
        "(W^T delta) * a[l-1] for W^T delta",
        INPUT,
        linear,
        grad_input(lambda step: (W_of(step).T @ delta_of(step)) * a_of(step)),
    ),
    StepMistake(
        "b in the propagated error",
        "The bias goes back together with the error, although it does not depend on the input.",
        "W^T (delta + b) for W^T delta",
        INPUT,
        with_bias,
        grad_input(lambda step: W_of(step).T @ (delta_of(step) + wide(step.params["bias"])[:, None])),
    ),
    StepMistake(
        "propagated error averaged over the nodes",
        "The errors that reach a node over its connections are averaged, not added up.",
        "W^T delta / n[l] for W^T delta",
        INPUT,
        linear,
        grad_input(lambda step: W_of(step).T @ delta_of(step) / len(W_of(step))),
    ),
    StepMistake(
        "the layer's sign flipped",
        "Everything this layer returns has the wrong sign.",
        "-W^T delta, -delta a^T for W^T delta, delta a^T",
        f"{INPUT},  {WEIGHT}",
        linear,
        times(lambda _: -1),
    ),
    StepMistake(
        "products in a lower precision",
        "Operands are rounded to the next narrower kind of number before they are multiplied.",
        "products of rounded numbers",
        f"{INPUT},  {WEIGHT}",
        linear,
        _narrow,
        loses_digits=True,
    ),
)
