"""Mistakes in the gradients of an affine layer's own parameters, W and b."""

from typing import Any

import numpy as np

from manualbp import Activation, Linear, Network
from manualbp.layer import Array, Elementwise
from oracle.mistakes.linear import BIAS, DECAY, WEIGHT, W_of, a_of, delta_of, linear, square, with_bias
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import columns, grad_params, wide
from oracle.mistakes.step import Gradients, Step, record

EACH = f"{WEIGHT},  {BIAS}"


def _before_is_elementwise(network: Network, position: int) -> bool:
    return linear(network, position) and position > 0 and isinstance(network.layers[position - 1], Elementwise)


def _behind_is_elementwise(network: Network, position: int) -> bool:
    return linear(network, position) and isinstance(record(network, position + 1), Elementwise)


def _takes_its_own_activation(network: Network, position: int) -> bool:
    if not linear(network, position) or not isinstance(behind := record(network, position + 1), Activation):
        return False
    layer: Any = network.layers[position]
    return behind.rows_out(layer.out_features) == layer.in_features


def _takes_the_input(network: Network, position: int) -> bool:
    first = next((layer for layer in network.layers if isinstance(layer, Linear)), None)
    layer: Any = record(network, position)
    return linear(network, position) and layer is not first and first is not None and layer.in_features == first.in_features


def _one_position(x: Any) -> Array:
    """Of every axis between features and batch the first position."""
    return wide(x)[(slice(None), *(0,) * (x.ndim - 2))]


def _of(delta: Array, a: Array, step: Step) -> Gradients:
    """The right gradient of the input, and the parameters' from other operands."""
    parameters = {"weight": delta @ a.T, "bias": delta.sum(axis=1)}
    return step.right[0], {name: parameters[name] for name in step.right[1]}


MISTAKES = (
    StepMistake(
        "dW transposed",
        "The outer product is taken the wrong way round: rows and columns of the weights' gradient are exchanged.",
        "a[l-1] delta[l]^T for delta[l] a[l-1]^T",
        WEIGHT,
        square,
        grad_params(lambda _, right: right.T, "weight"),
    ),
    StepMistake(
        "a[l] for a[l-1] in dW",
        "The weights' gradient takes what the layer gave, where it should take what the layer was given.",
        "delta[l] a[l]^T for delta[l] a[l-1]^T",
        WEIGHT,
        _takes_its_own_activation,
        grad_params(lambda step, _: delta_of(step) @ columns(step.values[step.position + 2]).T, "weight"),
    ),
    StepMistake(
        "z[l-1] for a[l-1] in dW",
        "The weights' gradient takes the layer's input from before the activation.",
        "delta[l] z[l-1]^T for delta[l] a[l-1]^T",
        WEIGHT,
        _before_is_elementwise,
        grad_params(lambda step, _: delta_of(step) @ columns(step.values[step.position - 1]).T, "weight"),
    ),
    StepMistake(
        "x for a[l-1] in dW",
        "The weights' gradient takes the network's input in every layer, not the layer's own.",
        "delta[l] x^T for delta[l] a[l-1]^T",
        WEIGHT,
        _takes_the_input,
        grad_params(lambda step, _: delta_of(step) @ columns(step.values[0]).T, "weight"),
    ),
    StepMistake(
        "dC/da for delta in dW and db",
        "The parameters' gradients take the error from before it passed through the activation: g' is missing in them.",
        "dC/da[l] a[l-1]^T for delta[l] a[l-1]^T",
        EACH,
        _behind_is_elementwise,
        lambda step: _of(columns(step.gradients[step.position + 2]), a_of(step), step),
    ),
    StepMistake(
        "upstream taken as 1",
        "The parameters' gradients are computed as if the error were 1 at every node.",
        "1 a[l-1]^T for delta[l] a[l-1]^T",
        EACH,
        linear,
        lambda step: _of(np.ones_like(delta_of(step)), a_of(step), step),
    ),
    StepMistake(
        "a taken as 1 in dW",
        "The weights' gradient forgets the activation, as if every weight were a bias.",
        "delta[l] 1^T for delta[l] a[l-1]^T",
        WEIGHT,
        linear,
        grad_params(lambda step, _: delta_of(step) @ np.ones_like(a_of(step)).T, "weight"),
    ),
    StepMistake(
        "first sample only in dW",
        "The weights' gradient is that of the first sample, not the sum over the batch.",
        "delta[:, 0] a[:, 0]^T for delta a^T",
        WEIGHT,
        linear,
        grad_params(lambda step, _: delta_of(step)[:, :1] @ a_of(step)[:, :1].T, "weight"),
    ),
    StepMistake(
        "last sample only in dW",
        "Assigned in a loop over the samples where it should be added up: only the last sample's outer product is left.",
        "delta[:, m-1] a[:, m-1]^T for delta a^T",
        WEIGHT,
        linear,
        grad_params(lambda step, _: delta_of(step)[:, -1:] @ a_of(step)[:, -1:].T, "weight"),
    ),
    StepMistake(
        "first position only in dW",
        "Of the axes between features and batch only the first position counts in the weights' gradient.",
        "delta[:, 0] a[:, 0]^T for the sum over all positions",
        WEIGHT,
        linear,
        grad_params(lambda step, _: _one_position(step.upstream) @ _one_position(step.input).T, "weight"),
    ),
    StepMistake(
        "dW zero",
        "The weights' gradient is never filled in.",
        "0 for delta a^T",
        WEIGHT,
        linear,
        grad_params(lambda _, right: np.zeros_like(right), "weight"),
    ),
    StepMistake(
        "dW averaged",
        "The weights' gradient is divided by the batch size, which the cost's own mean has done already, or never does.",
        "delta a^T / m for delta a^T",
        WEIGHT,
        linear,
        grad_params(lambda step, right: right / step.m, "weight"),
    ),
    StepMistake(
        "dW without the sign",
        "The weights' gradient points the wrong way: up the cost.",
        "-delta a^T for delta a^T",
        WEIGHT,
        linear,
        grad_params(lambda _, right: -right, "weight"),
    ),
    StepMistake(
        "weight decay in dW",
        f"The gradient of a penalty on large weights is added, although the cost has none (factor {DECAY}).",
        "delta a^T + lambda W for delta a^T",
        WEIGHT,
        linear,
        grad_params(lambda step, right: right + DECAY * W_of(step), "weight"),
    ),
    StepMistake(
        "dW clipped",
        "The weights' gradient is cut to length 1, as one does against exploding gradients, before it is returned.",
        "dC/dW min(1, 1 / |dC/dW|) for dC/dW",
        WEIGHT,
        linear,
        grad_params(lambda _, right: right / max(1.0, float(np.linalg.norm(right))), "weight"),
    ),
    StepMistake(
        "dW and db times m",
        "The 1/m of the cost's mean is lost in this layer.",
        "m delta a^T for delta a^T",
        EACH,
        linear,
        grad_params(lambda step, right: right * step.m),
    ),
    StepMistake(
        "dW and db averaged",
        "The parameters' gradients are divided by the batch size, where the cost has divided already, or never does.",
        "delta a^T / m, mean of delta for delta a^T, sum of delta",
        EACH,
        linear,
        grad_params(lambda step, right: right / step.m),
    ),
    StepMistake(
        "first column for db",
        "The bias' gradient is the error of the first sample, not the sum over the batch.",
        "delta[:, 0] for the sum of delta",
        BIAS,
        with_bias,
        grad_params(lambda step, _: delta_of(step)[:, 0], "bias"),
    ),
    StepMistake(
        "last column for db",
        "Assigned in a loop over the samples where it should be added up: the error of the last sample is left.",
        "delta[:, m-1] for the sum of delta",
        BIAS,
        with_bias,
        grad_params(lambda step, _: delta_of(step)[:, -1], "bias"),
    ),
    StepMistake(
        "db not summed",
        "The bias was added to every column, but its gradient is not summed over them: it has the shape of delta.",
        "delta for the sum of delta",
        BIAS,
        with_bias,
        grad_params(lambda step, _: wide(step.upstream), "bias"),
    ),
    StepMistake(
        "db summed over the nodes",
        "The bias' gradient is summed over the nodes, not over the batch: one number for each sample.",
        "sum_i delta_i for the sum of delta over the batch",
        BIAS,
        with_bias,
        grad_params(lambda step, _: delta_of(step).sum(axis=0), "bias"),
    ),
    StepMistake(
        "db summed over the batch alone",
        "The axes between features and batch are left standing in the bias' gradient.",
        "delta summed over the last axis for all axes but the first",
        BIAS,
        with_bias,
        grad_params(lambda step, _: wide(step.upstream).sum(axis=-1), "bias"),
    ),
    StepMistake(
        "db averaged",
        "The bias' gradient is the mean over the batch, not the sum.",
        "mean of delta for the sum of delta",
        BIAS,
        with_bias,
        grad_params(lambda step, _: delta_of(step).mean(axis=1), "bias"),
    ),
    StepMistake(
        "db zero",
        "The bias' gradient is never filled in.",
        "0 for the sum of delta",
        BIAS,
        with_bias,
        grad_params(lambda _, right: np.zeros_like(right), "bias"),
    ),
    StepMistake(
        "db missing",
        "The bias has no gradient at all.",
        "nothing for the sum of delta",
        BIAS,
        with_bias,
        lambda step: (step.right[0], {name: own for name, own in step.right[1].items() if name != "bias"}),
    ),
    StepMistake(
        "db through the weights",
        "The bias' gradient is multiplied by the activations, as if the bias were a weight.",
        "the row sums of delta a^T for the sum of delta",
        BIAS,
        with_bias,
        grad_params(lambda step, _: (delta_of(step) @ a_of(step).T).sum(axis=1), "bias"),
    ),
)
