"""The two sides that are measured, by hand and torch, each on the same arrays: a value and a gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from manualbp import Activation, Loss
from oracle.twins import call, call_loss, to_numpy, to_torch

Array = NDArray[Any]
Params = dict[str, Array]


class Side(NamedTuple):
    """What one side answers. NaN everywhere where it raised; `failure` says how."""

    value: Array
    derivative: Array
    failure: str = ""


def guarded(answer: Callable[[], tuple[Any, Any]], value_shape: tuple[int, ...], shape: tuple[int, ...]) -> Side:
    """The answer, of these shapes; an exception, or another shape, becomes NaN."""
    try:
        with np.errstate(all="ignore"):
            value, derivative = map(np.asarray, answer())
        if value.shape == value_shape and derivative.shape == shape:
            return Side(value, derivative)
        failure = f"gave the shapes {value.shape} and {derivative.shape} for {value_shape} and {shape}"
    except Exception as error:  # whatever a side raises is its answer
        failure = f"raised {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return Side(np.full(value_shape, np.nan), np.full(shape, np.nan), failure)


def ours(record: Activation, params: Params, x: Array, upstream: Array, wrt: str = "") -> tuple[Array, Array]:
    """Value, and vector-Jacobian product with respect to the input, or the gradient of the parameter `wrt`."""
    value, residuals = record.forward(params, x)
    grad, grads = record.backward(params, residuals, upstream)
    return value, grads[wrt] if wrt else grad


def torchs(record: Activation, params: Params, x: Array, upstream: Array, wrt: str = "") -> tuple[Array, Array]:
    """The same by torch.autograd."""
    leaf = to_torch(x).requires_grad_()
    own = tensors(params)
    noise = record.noise(x.shape, x.dtype)
    value = call(record, own, leaf, *(() if noise is None else (to_torch(noise),)))
    (grad,) = torch.autograd.grad(value, own[wrt] if wrt else leaf, to_torch(upstream))
    return batch_last(value), to_numpy(grad) if wrt else batch_last(grad)


def ours_of_loss(loss: Loss, params: Params, x: Array, target: Array) -> tuple[Array, Array]:
    """Value of a loss, and its gradient with respect to the input for an upstream gradient of 1."""
    value, residuals = loss.forward(params, x, target)
    upstream = np.ones(np.shape(value), x.dtype)
    return value, loss.backward(params, residuals, upstream if upstream.shape else 1.0)[0]


def torchs_of_loss(loss: Loss, params: Params, x: Array, target: Array) -> tuple[Array, Array]:
    """The same by torch.autograd."""
    leaf = to_torch(x).requires_grad_()
    value = call_loss(loss, tensors(params), leaf, to_torch(target))
    (grad,) = torch.autograd.grad(value, leaf, torch.ones_like(value))
    return batch_last(value), batch_last(grad)


def tensors(params: Params) -> dict[str, torch.Tensor]:
    """Parameters, which have torch's layout, as tensors that autograd tracks."""
    return {name: to_torch(np.moveaxis(value, 0, -1)).requires_grad_() for name, value in params.items()}


def batch_last(tensor: torch.Tensor) -> Array:
    found = to_numpy(tensor)
    return np.moveaxis(found, 0, -1) if found.ndim else found
