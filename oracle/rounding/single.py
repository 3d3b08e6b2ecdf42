"""The modes of `noise`, for a computation that is run again and again, one copy at a time and without an axis of replicas.

So can be measured whatever torch can run: code that looks at numbers to decide what to do, calls an autograd.Function, works in
place. The first copy is exact and says what every comparison decides; the others are told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from oracle.rounding.decisions import FURTHER, Decisions
from oracle.rounding.noise import STRONG, Format, RoundingNoise, partial_sums
from oracle.rounding.operations import names
from oracle.rounding.replicas import Groups, compared, in_memory, toss

#: What gives the right result for a matrix that is not further from the one given than rounding moves it (Higham 2002).
BACKWARD_STABLE = names("""
    linalg_inv_ex _linalg_solve_ex linalg_lu_factor_ex linalg_lu linalg_cholesky_ex linalg_qr _linalg_svd _linalg_eigh linalg_eig
    _linalg_eigvals _linalg_det _linalg_slogdet linalg_lstsq linalg_matrix_exp
""")
#: What interpolates at places from -1 to 1, and which argument holds them: right for numbers not further from those given than
#: rounding moves them.
SAMPLES = {"grid_sampler_2d": 1, "grid_sampler_2d_backward": 2, "grid_sampler_3d": 1, "grid_sampler_3d_backward": 2}
#: So far apart are the coins of one copy and the next.
APART = 7919


class _Single(Groups):
    """Every tensor of numbers is the one copy itself."""

    def apart(self, tensor: Tensor) -> Tensor:
        return tensor.view(1, 1, *tensor.shape)

    def first(self, tensor: Tensor) -> Tensor:
        return tensor

    def spread(self, tensor: Tensor) -> Tensor:
        return tensor

    def hold(self, value: Any) -> bool:
        return in_memory(value) and value.numel() > 0


@dataclass
class Comparisons:
    """What the exact copy compares, in its order: the difference, what it decides, and how far noise moves the difference."""

    differences: list[Tensor] = field(default_factory=list)
    decided: list[Tensor] = field(default_factory=list)
    squares: list[dict[float, list[Tensor]]] = field(default_factory=list)

    def reach(self, window: float) -> list[Tensor | None]:
        """For each comparison where it could fall otherwise: `window` times the movement, or None where nowhere."""
        return [self._reach(at, window) for at in range(len(self.differences))]

    def _reach(self, at: int, window: float) -> Tensor | None:
        moved = [torch.stack(found).mean(0) / strength**2 for strength, found in self.squares[at].items()]
        if not moved:
            return None
        far = window * torch.stack(moved).amax(0).sqrt_()
        near = (self.differences[at].abs() <= far) & (far > 0)
        return torch.where(near, far, 0.0).unsqueeze(0) if near.any() else None


class SingleNoise(RoundingNoise):  # type: ignore[no-untyped-call]
    """Noise of a strength in every operation; copy 0 has none, and fills `seen`. Without it every copy decides for itself."""

    def __init__(self, format: Format, copy: int, replicas: int, seed: int, seen: Comparisons | None) -> None:
        super().__init__(_Single(1, 0), format, 0.0, seed + copy * APART)
        self.strength = 0.0 if copy == 0 else 1.0 if copy <= replicas // 2 else STRONG
        self.copy, self.seen, self.compared = copy, seen, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in BACKWARD_STABLE:
            return in_float64(self._disturbed, func, types, args, kwargs)
        if name in SAMPLES:
            return in_float64(self._sampled, func, types, args, kwargs)
        return in_float64(self._summed if func in _SCALES else super().__torch_dispatch__, func, types, args, kwargs)

    def _disturbed(self, func: Any, types: Any, args: Sequence[Any], kwargs: Any) -> Any:
        """The right result for a matrix near the one given."""
        near = args[0].clone()
        size = near.abs().amax((-2, -1), keepdim=True).nan_to_num_(0.0) * near.shape[-1] ** 0.5
        self.disturb(near, self.format.inside, size.expand(near.shape))
        return func(near, *args[1:], **kwargs)

    def _sampled(self, func: Any, types: Any, args: Sequence[Any], kwargs: Any) -> Any:
        """The right result for numbers near those given; places move as far as those at the edge are rounded."""
        near = [arg.clone() if isinstance(arg, Tensor) else arg for arg in args]
        places = SAMPLES[func._schema.name.removeprefix("aten::")]
        for number, each in enumerate(near):
            if isinstance(each, Tensor):
                self.disturb(each, self.format.inside, each.abs().clamp_min(1.0) if number == places else None)
        result = func(*near, **kwargs)
        for each in result if isinstance(result, tuple) else (result,):
            if self.groups.hold(each):
                self.disturb(each, self.format.unit_roundoff)
        return result

    def _summed(self, func: Any, types: Any, args: Sequence[Any], kwargs: Any) -> Any:
        """An operation that sums inside, as it is; of whole numbers without noise."""
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and not self.groups.hold(result):
            return result
        for each, scale in zip(result if isinstance(result, tuple) else (result,), _SCALES[func](result, *args), strict=True):
            if each is not None:
                narrow = func is _aten._trilinear.default  # which computes in the half precision itself (torch 2.13 on a CPU)
                self.disturb(each, self.format.unit_roundoff if narrow else self.format.inside, scale)
                if self.format.inside != self.format.unit_roundoff:
                    self.disturb(each, self.format.unit_roundoff)
        return result

    def disturb(self, tensor: Tensor, level: float, scale: Tensor | None = None) -> None:
        if not self.strength:
            return
        size = (tensor if scale is None else scale.view(tensor.shape)).abs()
        size = size.masked_fill_(size.isinf(), 0.0)  # infinity is not rounded, and an inf that is moved is NaN from there on
        size = torch.maximum(size, torch.clamp(size / (level * STRONG), max=self.format.tiny))
        tensor.addcmul_(toss(self.at, tensor.shape), size, value=level * self.strength)
        self.at += tensor.numel()

    def decide(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        at, seen = self.compared, self.seen
        self.compared += 1
        if seen is None:
            return func(*args, **kwargs)
        difference = compared(args).detach()
        if self.copy == 0:
            result = func(*args, **kwargs)
            seen.differences.append(difference.clone())
            seen.decided.append(result.clone())
            seen.squares.append({})
            return result
        if at >= len(seen.decided) or seen.differences[at].shape != difference.shape:  # it has gone another way
            return func(*args, **kwargs)
        seen.squares[at].setdefault(self.strength, []).append((difference - seen.differences[at]).square_())
        return seen.decided[at].clone()


class SingleDecisions(Decisions):  # type: ignore[no-untyped-call]
    """No noise, and comparisons that fall otherwise: all for larger in copy 1, for smaller in copy 2, by a coin in the others."""

    def __init__(
        self, copy: int, seen: Comparisons | None = None, reach: Sequence[Tensor | None] = (), *, ties: bool = False
    ) -> None:
        super().__init__(_Single(1, 0), reach, ties=ties)
        self.copy, self.seen = copy, seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        whole = _plainly if func in _SCALES or func._schema.name.removeprefix("aten::") in SAMPLES else super().__torch_dispatch__
        return in_float64(whole, func, types, args, kwargs)

    def decide(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        if self.seen and (self.at >= len(self.reach) or self.seen.differences[self.at].shape != compared(args).detach().shape):
            self.at += 1
            return func(*args, **kwargs)
        return super().decide(func, *args, **kwargs)

    def _within(self, difference: Tensor, given: Tensor | None) -> Tensor:
        assert self.seen is not None
        exact = self.seen.differences[self.at - 1]
        fallen = (difference[:, 0] - exact).abs().nan_to_num_(0.0).mul_(FURTHER)
        reach = fallen if given is None else torch.maximum(fallen, given)
        return torch.where(exact.abs() <= reach, reach, 0.0)

    def _sides(self, difference: Tensor) -> Tensor:
        if self.copy in (1, 2):
            return torch.full_like(difference, 1.0 if self.copy == 1 else -1.0)
        return toss((self.at + self.copy * APART) * 65537, difference.shape).clone()


def _plainly(func: Any, _types: Any, args: Sequence[Any], kwargs: Any) -> Any:
    return func(*args, **kwargs)


def in_float64(call: Callable[..., Any], func: Any, types: Any, args: Sequence[Any], kwargs: Any) -> Any:
    """An operation in float64 also where the code asks for less, or has numbers of its own in a narrower dtype."""
    result = call(func, types, [_wide(arg) for arg in args], {name: _wide(value) for name, value in (kwargs or {}).items()})
    return _wide(result) if isinstance(result, Tensor) else result


def _wide(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() and value.dtype != torch.float64 else value
    if isinstance(value, torch.dtype):
        return torch.float64 if value.is_floating_point else value
    return [_wide(each) for each in value] if isinstance(value, list | tuple) else value


def _sum_scale(result: Tensor, squares: Tensor, length: float) -> Tensor:
    """The scale of sums of so many terms, see `noise`."""
    return partial_sums(result, squares.clamp_min(0).sqrt()) * length**0.5


def _convolution(result: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> tuple[Tensor, ...]:
    squares = torch.ops.aten.convolution(input.square(), weight.square(), None, *options)
    terms = weight[:, 0].numel() if options[3] else weight[0].numel()
    scale = _sum_scale(result, squares, terms)
    return (scale if bias is None else torch.hypot(scale, bias.view(-1, *(1,) * (weight.ndim - 2)) * terms**0.5),)


def _convolution_backward(
    result: tuple[Tensor, ...], grad: Tensor, input: Tensor, weight: Tensor, *options: Any
) -> tuple[Tensor | None, ...]:
    squares = torch.ops.aten.convolution_backward(grad.square(), input.square(), weight.square(), *options)
    places = grad.numel() / grad.shape[1]
    terms = (weight.numel() / weight.shape[1], places, places)
    return tuple(
        None if each is None else _sum_scale(each, square, length)
        for each, square, length in zip(result, squares, terms, strict=True)
    )


def _average(of: Any, _: Tensor, terms: Tensor, *others: Any) -> tuple[Tensor, ...]:
    """Sums of numbers divided by their count."""
    return (of(terms.square(), *others).sqrt(),)


def _running(result: Tensor, input: Tensor, axis: int, **_: Any) -> tuple[Tensor, ...]:
    return (_sum_scale(result, input.square().cumsum(axis), input.shape[axis] if input.ndim else 1),)


def _trilinear(result: Tensor, first: Tensor, second: Tensor, third: Tensor, *options: Any) -> tuple[Tensor, ...]:
    factors = [factor.square() for factor in (first, second, third)]
    for factor, added in zip(factors, options[:3], strict=True):
        for axis in sorted(added):
            factor.unsqueeze_(axis)
    terms = prod(torch.broadcast_shapes(*(factor.shape for factor in factors))) / max(result.numel(), 1)  # type: ignore[no-untyped-call]
    squares = torch.ops.aten._trilinear(first.square(), second.square(), third.square(), *options)
    return (_sum_scale(result, squares, terms),)


_aten = torch.ops.aten
#: What sums inside, and is no operation that torch takes apart.
_SCALES: dict[Any, Callable[..., tuple[Tensor | None, ...]]] = {
    _aten.convolution.default: _convolution,
    _aten.convolution_backward.default: _convolution_backward,
    _aten.cumsum.default: _running,
    _aten._trilinear.default: _trilinear,
    **{
        operation: partial(_average, operation)
        for operation in (_aten.avg_pool2d.default, _aten._adaptive_avg_pool2d.default, _aten.avg_pool3d.default)
    },
}
