"""A few of torch's functions as a course writes them, operation by operation, for `slips` to look into.

With an option that is not written here a function stays whole.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def in_parts(function: Any) -> Callable[..., Tensor | None] | None:
    """The same in parts, None where it is none of these; what it returns is None for options that are not written."""
    parts = _PARTS.get(function)
    return None if parts is None else lambda *args, **kwargs: _tried(parts, *args, **kwargs)


#: Options that change nothing of a result, and values at which others do not; nor does None.
_WITHOUT_EFFECT = ("momentum", "_stacklevel", "running_mean", "running_var")
_NEUTRAL = {"ignore_index": -100, "label_smoothing": 0.0}


def _tried(parts: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor | None:
    neutral = (name for name, value in kwargs.items() if value is None or _NEUTRAL.get(name) == value)
    left_out = {*_WITHOUT_EFFECT, *neutral}
    try:
        return parts(*args, **{name: value for name, value in kwargs.items() if name not in left_out})
    except TypeError:  # an option that is not written
        return None


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = input @ weight.mT
    return product if bias is None else product + bias


def _normalized(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    variance = (centred**2).mean(axes, keepdim=True)
    return centred * (1 / (variance + eps).sqrt())


def _layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    found = _normalized(input, tuple(range(-len(normalized_shape), 0)), eps)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


def _batch_norm(
    input: Tensor,
    _mean: Tensor | None = None,
    _var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        raise TypeError("running statistics are constants")
    found = _normalized(input, (0, *range(2, input.ndim)), eps)
    over = (-1, *(1,) * (input.ndim - 2))
    found = found if weight is None else found * weight.view(over)
    return found if bias is None else found + bias.view(over)


def _rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    found = input * (1 / ((input**2).mean(axes, keepdim=True) + (torch.finfo(input.dtype).eps if eps is None else eps)).sqrt())
    return found if weight is None else found * weight


def _softmax(input: Tensor, dim: int) -> Tensor:
    e = (input - input.detach().amax(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)


def _log_softmax(input: Tensor, dim: int) -> Tensor:
    return input - input.logsumexp(dim, keepdim=True)


def _cross_entropy(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    if target.is_floating_point() or input.ndim != 2:
        raise TypeError("probabilities, or more axes")
    terms = -torch.log_softmax(input, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    return {"mean": terms.mean, "sum": terms.sum}.get(reduction, lambda: terms)()


def _mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    terms = (input - target) ** 2
    return {"mean": terms.mean, "sum": terms.sum}.get(reduction, lambda: terms)()


def _variance(input: Tensor, dim: int | Sequence[int] | None = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    axes = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    squares = ((input - input.mean(axes, keepdim=True)) ** 2).sum(axes, keepdim=keepdim)
    return squares / (math.prod(input.shape[axis] for axis in axes) - unbiased)


def _silu(input: Tensor) -> Tensor:
    return input * torch.sigmoid(input)


def _gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate != "none":
        raise TypeError("another form")
    return input * (0.5 * (1 + torch.erf(input / math.sqrt(2))))


def _attention(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None) -> Tensor:
    scores = (query @ key.mT) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    return torch.softmax(scores, -1) @ value


def _norm(input: Tensor, ord: float = 2, dim: int | None = None, keepdim: bool = False) -> Tensor:
    if ord != 2:
        raise TypeError("another norm")
    squares = input**2
    return (squares.sum() if dim is None else squares.sum(dim, keepdim=keepdim)).sqrt()


_PARTS: dict[Any, Callable[..., Tensor]] = {
    functional.linear: _linear,
    functional.layer_norm: _layer_norm,
    functional.batch_norm: _batch_norm,
    functional.rms_norm: _rms_norm,
    functional.softmax: _softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
    functional.log_softmax: _log_softmax,
    torch.log_softmax: _log_softmax,
    Tensor.log_softmax: _log_softmax,
    functional.cross_entropy: _cross_entropy,
    functional.mse_loss: _mse_loss,
    torch.var: _variance,
    Tensor.var: _variance,
    functional.silu: _silu,
    functional.gelu: _gelu,
    functional.scaled_dot_product_attention: _attention,
    torch.linalg.vector_norm: _norm,
}
