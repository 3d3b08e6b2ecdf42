"""A few of torch's functions written once more in its plain operations, so that noise and replicas can reach inside.

torch's own come as one kernel that it has no decomposition for, or look at numbers to decide what to do, which no replica can.
They serve to measure rounding; the reference is always torch's own function. Names and layout are torch's.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from manualbp import Loss
from manualbp.layer import Layer
from oracle.twins import Params, call, call_loss

# AdaptiveLogSoftmaxWithLoss copies rows, which vmap does replica by replica, and says so.
torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]

#: A log-probability of which nothing is left beside 1, but not so low that its noise would overflow exp.
_NEVER = -1e5
#: Their mean is no sum of equally weighted terms.
_WHOLE_BATCH = ("CTCLoss",)
#: Options that are deprecated, or change no number.
_WITHOUT_EFFECT = ("size_average", "reduce", "inplace")


class PlainOperations(TorchFunctionMode):
    """Calls the functions of this module in place of torch's own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = _PLAIN.get(func)
        if plain is None:
            return func(*args, **(kwargs or {}))
        return plain(*args, **{name: value for name, value in (kwargs or {}).items() if name not in _WITHOUT_EFFECT})


def layer_of_replicas(layer: Layer, params: Params, value: Tensor, *noise: Tensor) -> Tensor:
    """A layer in every replica: each tensor has a leading axis of replicas."""
    if layer.twin() == "Linear":
        return _linear(params, value)
    with PlainOperations():
        if params:
            output: Tensor = vmap(partial(call, layer))(params, value, *noise)
            return output
        output = call(layer, params, *(each.flatten(0, 1) for each in (value, *noise)))  # replicas are more samples
    return output.reshape(*value.shape[:2], *output.shape[1:])


def loss_of_replicas(loss: Loss, params: Params, output: Tensor, target: Tensor, targets: Tensor) -> Tensor:
    """A loss in every replica; the target is the same for all, and `targets` so many of it in a row.

    Where it can be, replicas are more samples here too: mapped over an axis, torch takes some losses apart before autograd sees
    them, and their gradient is another expression then.
    """
    with PlainOperations():
        if params or "reduction" not in loss.options() or loss.twin() in _WHOLE_BATCH:
            found: Tensor = vmap(lambda own, value: call_loss(loss, own, value, target))(params, output)
            return found
        copies = len(output)
        single: Any = replace(loss, reduction="none")  # type: ignore[type-var]
        terms = call_loss(single, params, output.flatten(0, 1), targets)
    if loss.reduction == "none":
        return terms.reshape(copies, -1, *terms.shape[1:])
    return terms.reshape(copies, -1).sum(1) / _divisor(loss, output[0].detach(), target)


def _divisor(loss: Any, output: Tensor, target: Tensor) -> float:
    """What torch divides the sum of the terms by, which does not depend on them."""
    reduced, total = (float(call_loss(replace(loss, reduction=name), {}, output, target)) for name in (loss.reduction, "sum"))
    return total / reduced if reduced and math.isfinite(total / reduced) else 1.0


def _linear(params: Params, value: Tensor) -> Tensor:
    columns = value.movedim(2, -1)
    rows, weight = columns.flatten(1, -2), params["weight"].mT
    product = torch.baddbmm(params["bias"].unsqueeze(1), rows, weight) if "bias" in params else rows @ weight
    return product.view(*columns.shape[:-1], product.shape[-1]).movedim(-1, 2)


def _relu(input: Tensor) -> Tensor:
    """In torch's own the way back looks at the output, which is 0 far below the kink as well as on it."""
    return torch.where(input > 0, input, 0.0)


def _reduced(terms: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return terms
    total = terms.sum()
    return total / {"mean": terms.numel(), "batchmean": len(terms)}.get(reduction, 1)


def _gaussian_nll(
    input: Tensor, target: Tensor, var: Tensor, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    var = var + (var.clamp(min=eps) - var).detach()  # torch clamps without a gradient
    terms = 0.5 * (var.log() + (input - target) ** 2 / var)
    return _reduced(terms + 0.5 * math.log(2 * math.pi) if full else terms, reduction)


def _kl_div(input: Tensor, target: Tensor, *_: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    terms = target.exp() * (target - input) if log_target else torch.xlogy(target, target) - target * input
    return _reduced(terms, reduction)


def _margin_ranking(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *_: Any, reduction: str = "mean"
) -> Tensor:
    return _reduced((-target * (input1 - input2) + margin).clamp_min(0), reduction)


def _soft_margin(input: Tensor, target: Tensor, *_: Any, reduction: str = "mean") -> Tensor:
    return _reduced((-target * input).exp().log1p(), reduction)


def _triplet_margin(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *_: Any,
    reduction: str = "mean",
) -> Tensor:
    def distance(x: Tensor, y: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x - y + eps, p, dim=-1)

    far = distance(anchor, negative)
    if swap:
        far = torch.minimum(far, distance(positive, negative))
    return _reduced((margin + distance(anchor, positive) - far).clamp_min(0), reduction)


def _multi_margin(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    *_: Any,
    reduction: str = "mean",
) -> Tensor:
    index = target.unsqueeze(1)
    others = torch.ones_like(input).scatter(1, index, 0.0)
    terms = ((margin - input.gather(1, index)) + input).clamp_min(0) ** p * others
    if weight is not None:
        terms = terms * weight[target].unsqueeze(1)
    return _reduced(terms.sum(1) / input.shape[1], reduction)


def _multilabel_margin(input: Tensor, target: Tensor, *_: Any, reduction: str = "mean") -> Tensor:
    listed = (target >= 0).cumprod(1).to(input.dtype)
    labels = target.clamp_min(0)
    wanted = torch.zeros_like(listed).scatter_add(1, labels, listed).clamp_max(1)
    behind = ((1 - input.gather(1, labels).unsqueeze(2)) + input.unsqueeze(1)).clamp_min(0)  # (m, labels, others)
    return _reduced((behind * listed.unsqueeze(2) * (1 - wanted).unsqueeze(1)).sum((1, 2)) / input.shape[1], reduction)


def _ctc(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """The forward recursion in logarithms (Graves et al. 2006): states are blanks and labels in turn."""
    time, samples, most = log_probs.shape
    states = torch.arange(2 * targets.shape[1] + 1)
    classes = torch.full((samples, len(states)), blank)
    classes[:, 1::2] = targets
    skips = torch.zeros(samples, len(states), dtype=torch.bool)
    skips[:, 3::2] = targets[:, 1:] != targets[:, :-1]
    emitted = log_probs.gather(2, classes.clamp(0, most - 1).expand(time, -1, -1))
    least = _NEVER - 4 * time * log_probs.detach().abs().amax((0, 2))  # far below the logarithm of any path of a sample
    never = least.unsqueeze(1).expand(samples, len(states))
    reached = (states < 2).expand(samples, len(states))
    alpha = torch.where(reached, emitted[0], never)
    for t in range(1, time):
        longer = functional.pad(reached, (2, 0))
        reached = reached | longer[:, 1:-1] | (longer[:, :-2] & skips)
        before = torch.cat([never[:, :1], alpha[:, :-1]], 1)
        earlier = torch.where(skips, torch.cat([never[:, :2], alpha[:, :-2]], 1)[:, : len(states)], never)
        moved = torch.stack([alpha, before, earlier]).logsumexp(0) + emitted[t]
        moved = torch.where(reached, moved, never)  # where no path ends nothing is rounded
        alpha = torch.where((t < input_lengths).unsqueeze(1), moved, alpha)
    last = 2 * target_lengths.unsqueeze(1)
    terms = -torch.where((states == last) | (states == last - 1), alpha, never).logsumexp(1)
    terms = torch.where(terms > -least / 2, 0.0 if zero_infinity else torch.inf, terms)  # no path spells the labels
    return _reduced(terms / target_lengths.clamp_min(1) if reduction == "mean" else terms, reduction)


_PLAIN: dict[Any, Callable[..., Tensor]] = {
    functional.relu: _relu,
    torch.relu: _relu,
    Tensor.relu: _relu,
    functional.gaussian_nll_loss: _gaussian_nll,  # asks whether any variance is negative
    functional.kl_div: _kl_div,  # the others are one operation, which vmap takes replica by replica
    functional.margin_ranking_loss: _margin_ranking,
    functional.soft_margin_loss: _soft_margin,
    functional.triplet_margin_loss: _triplet_margin,
    functional.multi_margin_loss: _multi_margin,
    functional.multilabel_margin_loss: _multilabel_margin,
    functional.ctc_loss: _ctc,
}
