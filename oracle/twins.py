"""The module of torch.nn that computes what a record computes, found by name; and the way between two layouts.

This is the one place that knows torch's layout: there the batch comes first, (m, features, *extra), here it comes last.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from manualbp import Loss
from manualbp.layer import Record
from manualbp.targets import NoTarget

Params = dict[str, Tensor]

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def to_torch(array: NDArray[Any]) -> Tensor:
    """A copy of an array (.., m) as a tensor (m, ..); integers become int64, torch's only class indices."""
    moved = np.moveaxis(array, -1, 0) if array.ndim else array
    if array.dtype.kind in "iu":
        return torch.from_numpy(np.array(moved, dtype=np.int64, order="C"))
    owned = np.array(moved, order="C")
    if owned.dtype == _BFLOAT16:  # numpy and torch agree on its bits and not on its name
        return torch.from_numpy(owned.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(owned)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """A tensor's numbers in torch's own layout."""
    plain = tensor.detach().contiguous()
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.int16).numpy().view(_BFLOAT16)
    return plain.numpy()


def parameter(array: NDArray[Any]) -> Tensor:
    """A copy of a parameter as a tensor; it has torch's own layout."""
    return to_torch(np.moveaxis(array, 0, -1) if array.ndim else array)


def batch_last(tensor: Tensor) -> Any:
    """(m, features, *extra) as an array (features, *extra, m), in the order of memory that manualbp's own arrays have."""
    return np.ascontiguousarray(np.moveaxis(to_numpy(tensor), 0, -1)) if tensor.ndim else to_numpy(tensor)[()]


def for_terms(upstream: Tensor, loss: Tensor) -> Tensor:
    """dC'/dC of the loss's shape; one number counts for every term of a loss that is not reduced."""
    return upstream.reshape((*upstream.shape, *(1,) * (loss.ndim - upstream.ndim))).expand_as(loss)


class _HalfSquaredError(torch.nn.Module):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return 0.5 * ((input - target) ** 2).sum()


class _Linear(torch.nn.Linear):
    """torch takes the features last where there are axes besides them and the batch."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim == 2:
            return super().forward(input)
        return super().forward(input.movedim(1, -1)).movedim(-1, 1).contiguous()


class _Gate(torch.nn.Module):
    """The first half of the features through an activation, times the second half."""

    def __init__(self, activation: Callable[..., Tensor], **options: Any) -> None:
        super().__init__()
        self.activation, self.options = activation, options

    def forward(self, input: Tensor) -> Tensor:
        gated, plain = input.chunk(2, 1)
        return self.activation(gated, **self.options) * plain


class _Upstream(torch.nn.Module):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return (target * input).sum()


class _KLDivLoss(torch.nn.KLDivLoss):
    """torch warns that a later version may divide the mean by something else; the sweep would show it."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return super().forward(input, target)


class _GaussianNLLLoss(torch.nn.GaussianNLLLoss):
    """torch takes the target between the two inputs."""

    def forward(self, input: Tensor, var: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input, target, var)


class _AdaptiveLogSoftmaxWithLoss(torch.nn.AdaptiveLogSoftmaxWithLoss):
    """torch gives the log-probabilities of the targets besides the loss."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input, target).loss


class _TripletMarginWithDistanceLoss(torch.nn.TripletMarginWithDistanceLoss):
    """torch takes a function where a record has a name."""

    def __init__(self, distance_function: str | None = None, **options: Any) -> None:
        orders = {"euclidean": 2, "manhattan": 1, "chebyshev": torch.inf}
        norm = partial(torch.linalg.vector_norm, ord=orders.get(distance_function or "", 2), dim=-1)
        super().__init__(distance_function=(lambda x, y: norm(x - y)) if distance_function else None, **options)


class _CTCLoss(torch.nn.CTCLoss):
    """torch takes time first, and lengths and labels apart."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input.permute(2, 0, 1), target[:, 2:], target[:, 0], target[:, 1])


class _RReLU(torch.nn.RReLU):
    """In training the slopes are the case's own, not torch's next random numbers."""

    def forward(self, input: Tensor, noise: Tensor | None = None) -> Tensor:
        return super().forward(input) if noise is None else torch.where(input <= 0, input * noise, input)


#: Records whose twin is not in torch.nn under their own name, or takes its arguments in another form, each with its reason.
_NO_NAMESAKE: dict[str, Callable[..., torch.nn.Module]] = {
    "HalfSquaredError": _HalfSquaredError,  # the notes' cost; torch.nn has the squared error only without the 1/2
    "Linear": _Linear,  # an array of more than two axes has its features elsewhere
    "SwiGLU": lambda: _Gate(torch.nn.functional.silu),  # torch.nn has the gates' parts, not the gates
    "GEGLU": lambda **options: _Gate(torch.nn.functional.gelu, **options),  # ditto
    "ReGLU": lambda: _Gate(torch.nn.functional.relu),  # ditto
    "_Upstream": _Upstream,  # stands behind an activation alone
    "KLDivLoss": _KLDivLoss,  # warns at every call
    "GaussianNLLLoss": _GaussianNLLLoss,  # its inputs come first here
    "AdaptiveLogSoftmaxWithLoss": _AdaptiveLogSoftmaxWithLoss,  # gives more than the loss
    "TripletMarginWithDistanceLoss": _TripletMarginWithDistanceLoss,  # its distance has a name here
    "CTCLoss": _CTCLoss,  # one array holds lengths and labels here
    "RReLU": _RReLU,  # its random slopes are part of the case
}


@lru_cache(maxsize=4096)
def twin(record: Record, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    """The module of torch.nn with the record's name and options. It owns no parameters: they are passed to each call."""
    name = record.twin()
    make = _NO_NAMESAKE.get(name) or getattr(torch.nn, name)
    options = {
        key: torch.from_numpy(value).to(dtype) if isinstance(value, np.ndarray) else value
        for key, value in record.twin_options().items()
    }
    with torch.device("meta"):
        module: torch.nn.Module = make(**options)
    return module.eval()


def call(record: Record, params: Params, *inputs: Tensor) -> Tensor:
    """Run a record's twin. Where torch has no kernel for a half precision, its float32 kernel runs and the result is rounded."""
    dtype = inputs[0].dtype
    module = twin(record, dtype)
    try:
        output: Tensor = functional_call(module, params, inputs) if params else module(*inputs)
    except (RuntimeError, NotImplementedError) as error:
        if "not implemented for" not in str(error):
            raise
        wide = [value.float() if value.is_floating_point() else value for value in inputs]
        return call(record, {name: value.float() for name, value in params.items()}, *wide).to(dtype)
    return output


def call_loss(loss: Loss, params: Params, output: Tensor, target: Tensor) -> Tensor:
    """Run a loss's twin on a network's output (m, features, *extra): its inputs are blocks of the features."""
    arguments = list(output.chunk(len(loss.inputs), 1)) if len(loss.inputs) > 1 else [output]
    if not isinstance(loss.target_domain, NoTarget):
        arguments.append(target)
    if not loss.features_last or output.ndim == 2:
        return call(loss, params, *arguments)
    result = call(loss, params, *(each.movedim(1, -1) if each.ndim == output.ndim else each for each in arguments))
    return result.movedim(-1, 1) if result.ndim == output.ndim else result
