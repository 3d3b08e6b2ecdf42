"""Losses with parameters: they make their logits from the network's output by affine maps of their own."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np

from manualbp.blocks import Array, widened
from manualbp.domains import Domain
from manualbp.layer import Params
from manualbp.linear import Linear
from manualbp.loss import Loss
from manualbp.losses.classification import CrossEntropyLoss
from manualbp.losses.weighted import Weighted
from manualbp.targets import ClassIndices, ClassTargets


class Headed(Loss):
    """A loss whose `terms` and `gradient` are those of logits (rows, m), and the maps that make these from the output a.

    Backward: delta = dC/d logits; then each map from the last to the first as in a Linear layer. dC/da adds up over the heads,
    since each of them takes the same a.
    """

    extra_axes: ClassVar[int | None] = 0

    @property
    @abstractmethod
    def heads(self) -> tuple[dict[str, Linear], ...]:
        """The maps that follow each other in every head, by torch's name; the heads' rows follow each other in the logits."""

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        maps = {name: linear for head in self.heads for name, linear in head.items()}
        return {f"{name}.{own}": shape for name, linear in maps.items() for own, shape in linear.parameter_shapes().items()}

    def forward(self, params: Params, input: Array, target: Array) -> tuple[Any, Any]:
        dtype, logits, kept = input.dtype, [], {}
        for head in self.heads:
            a = input.astype(widened(dtype), copy=False)
            for name, linear in head.items():
                a, kept[name] = linear.forward(_own(params, name), a)
            logits.append(a)
        if target.dtype == dtype:
            target = target.astype(widened(dtype), copy=False)
        total, residuals = super().forward({}, np.concatenate(logits), target)
        return total.astype(dtype, copy=False), (residuals, kept, dtype)

    def backward(self, params: Params, residuals: Any, grad_output: Any = 1.0) -> tuple[Array, dict[str, Array]]:
        of_logits, kept, dtype = residuals
        delta, _ = super().backward({}, of_logits, grad_output)
        grads: dict[str, Array] = {}
        parts, start = [], 0
        for head in self.heads:
            rows = [*head.values()][-1].out_features
            grad, start = delta[start : start + rows], start + rows
            for name, linear in reversed([*head.items()]):
                grad, own = linear.backward(_own(params, name), kept[name], grad)
                grads |= {f"{name}.{parameter}": value.astype(dtype, copy=False) for parameter, value in own.items()}
            parts.append(grad)
        return sum(parts[1:], parts[0]).astype(dtype, copy=False), {name: grads[name] for name in self.parameter_shapes()}


def _own(params: Params, name: str) -> dict[str, Array]:
    """The parameters of one map, in the dtype that losses compute in."""
    own = {parameter: params.get(f"{name}.{parameter}") for parameter in ("weight", "bias")}
    return {parameter: value.astype(widened(value.dtype), copy=False) for parameter, value in own.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class LinearCrossEntropyLoss(Headed, Weighted):
    """An affine map to logits and their cross entropy.

    Shapes
        input a (in_features, m); weight V (num_classes d1 .., in_features) and bias c of as many, as torch keeps them, where
        out_features = (d1, ..) are positions with logits of their own; target (d1, .., m), integers, or
        (num_classes, d1, .., m), a probability for every class; C a scalar.
    Forward
        z = V a + c, its rows read as (num_classes, d1, ..); C is the cross entropy of the logits z.
    Backward
        delta = dC/dz is that of CrossEntropyLoss; then, as in a Linear layer,
        dC/da = V^T delta,  dC/dV = delta a^T,  dC/dc = delta summed over the batch.
    Conventions
        Any ignore_index, also -100, makes torch 2.13 refuse probabilities; without one, -100 is ignored among indices. torch
        rounds the logits to the input's dtype; here they stay in float64.
    Raises
        ValueError for widths below 1, another reduction, a label_smoothing outside [0, 1], a number of weights that is not
        num_classes, an input that has not in_features rows; TypeError for probabilities together with an ignore_index.
    References
        torch.nn.LinearCrossEntropyLoss.
    """

    formula: ClassVar[str] = "cross entropy of the logits z = V a + c"
    derivative_formula: ClassVar[str] = "V^T delta, with delta that of the cross entropy"
    per_sample: ClassVar[bool] = True
    symbols: ClassVar[Mapping[str, str]] = {"linear.weight": "V", "linear.bias": "c"}

    in_features: int
    num_classes: int
    out_features: tuple[int, ...] = ()
    bias: bool = False
    ignore_index: int | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight is not None and len(self.weight) != self.num_classes:
            raise ValueError(
                f"LinearCrossEntropyLoss takes one weight for each class, {self.num_classes} here; got {len(self.weight)}."
            )
        _ = self.heads, self.cross_entropy  # which refuse widths and smoothing that are none

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        weight = (0.5, 1.25, 0.75, 2.0)
        plain = {"in_features": rows, "num_classes": len(weight)}
        return (
            plain,
            {**plain, "bias": True, "weight": weight, "label_smoothing": 0.25},
            {**plain, "bias": True, "weight": weight, "out_features": (2, 3), "ignore_index": 1},
        )

    @property
    def heads(self) -> tuple[dict[str, Linear], ...]:
        return ({"linear": Linear(self.in_features, self.num_classes * prod(self.out_features), self.bias)},)

    @cached_property
    def cross_entropy(self) -> CrossEntropyLoss:
        """The loss of the logits."""
        ignored = -100 if self.ignore_index is None else self.ignore_index
        return CrossEntropyLoss(self.reduction, self.weight, ignored, self.label_smoothing)

    @property
    def target_domain(self) -> Domain:  # type: ignore[override]  # an option decides
        return ClassTargets() if self.ignore_index is None else ClassIndices(self.ignore_index)

    def target_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        self.heads[0]["linear"].rows_out(shape[0])
        return (self.num_classes, *self.out_features, *shape[1:])

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        return self.cross_entropy.terms(input.reshape(self.num_classes, *self.out_features, input.shape[-1]), target)

    def gradient(self, saved: Any, scale: Array) -> Array:
        grad = self.cross_entropy.gradient(saved, scale)
        return grad.reshape(np.prod(grad.shape[:-1], dtype=int), grad.shape[-1])

    def count(self, terms: Array, saved: Any) -> Any:
        return self.cross_entropy.count(terms, saved)
