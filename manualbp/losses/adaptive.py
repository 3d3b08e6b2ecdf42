"""The adaptive softmax: cross entropy over many classes, of which the rare ones are reached in two steps."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np

from manualbp.blocks import Array
from manualbp.domains import Domain
from manualbp.linear import Linear
from manualbp.losses.classification import CrossEntropyLoss
from manualbp.losses.fused import Headed
from manualbp.targets import ClassIndices


@dataclass(frozen=True)
class AdaptiveLogSoftmaxWithLoss(Headed):
    """Cross entropy where frequent classes have logits of their own, and rare ones share a cluster.

    Shapes
        input a (in_features, m); target y (m), integers 0 .. n_classes - 1, the frequent ones first; C a scalar. Below the
        first cutoff a class is in the head; the classes from one cutoff to the next are a cluster. The head has a row for
        each of its classes and then one for each cluster; cluster i, counted from 0, two matrices, of which the first narrows a
        to in_features // div_value^(i + 1) rows.
    Forward
        log P(y) is the log-softmax of the head at y, or, for a class in a cluster, at that cluster, plus the log-softmax of the
        cluster's own logits at y. C = -sum log P(y) / m.
    Backward
        Each softmax has the gradient of a CrossEntropyLoss, in a cluster for the samples whose class lies there and 0 for the
        others; then each matrix as in a Linear layer.
    Conventions
        torch's module returns the log-probabilities besides the loss. It does not evaluate a cluster that no sample lies in, and
        leaves its weights without a gradient; here they have the gradient 0 (torch 2.13).
    Raises
        ValueError for widths below 1 and cutoffs that do not increase from 1 to n_classes - 1.
    References
        torch.nn.AdaptiveLogSoftmaxWithLoss; Grave et al. 2017, Efficient softmax approximation for GPUs, arXiv 1609.04309.
    """

    formula: ClassVar[str] = "-sum log P(y) / m"
    derivative_formula: ClassVar[str] = "W^T delta, added up over head and clusters, with delta that of their cross entropies"
    per_sample: ClassVar[bool] = True
    reduction = "mean"

    in_features: int
    n_classes: int
    cutoffs: tuple[int, ...]
    div_value: float = 4.0
    head_bias: bool = False

    def __post_init__(self) -> None:
        ends = (0, *self.cutoffs, self.n_classes)
        if not self.cutoffs or any(int(low) != low or low >= high for low, high in pairwise(ends)):
            raise ValueError(
                f"AdaptiveLogSoftmaxWithLoss takes cutoffs that increase from 1 to n_classes - 1, "
                f"{self.n_classes - 1}; got {self.cutoffs}."
            )
        _ = self.heads  # which refuse widths below 1

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(rows, 7, (3, 5), div_value=1.0), cls(rows, 5, (2,), div_value=1.0, head_bias=True)

    @cached_property
    def heads(self) -> tuple[dict[str, Linear], ...]:
        sizes = [high - low for low, high in pairwise((*self.cutoffs, self.n_classes))]
        head = Linear(self.in_features, self.cutoffs[0] + len(sizes), self.head_bias)
        narrow = [int(self.in_features // self.div_value ** (i + 1)) for i in range(len(sizes))]
        return {"head": head}, *(
            {
                f"tail.{i}.0": Linear(self.in_features, width, bias=False),
                f"tail.{i}.1": Linear(width, size, bias=False),
            }
            for i, (width, size) in enumerate(zip(narrow, sizes, strict=True))
        )

    @property
    def target_domain(self) -> Domain:  # type: ignore[override]
        return ClassIndices()

    def target_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        self.heads[0]["head"].rows_out(shape[0])
        return (self.n_classes, *shape[1:])

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        ends = np.cumsum([[*head.values()][-1].out_features for head in self.heads])
        cluster = np.searchsorted(self.cutoffs, target, side="right")  # 0 for the head, i + 1 for cluster i
        places = [np.where(cluster == 0, target, self.cutoffs[0] + cluster - 1)]
        for i, low in enumerate(self.cutoffs):
            places.append(np.where(cluster == i + 1, target - low, _OTHERS.ignore_index))
        found = [_OTHERS.terms(z, y) for z, y in zip(np.split(input, ends[:-1]), places, strict=True)]
        return np.sum([terms for terms, _ in found], axis=0), [saved for _, saved in found]

    def gradient(self, saved: Any, scale: Array) -> Array:
        return np.concatenate([_OTHERS.gradient(own, scale) for own in saved])


#: The cross entropy of one softmax, which ignores the samples whose class lies elsewhere.
_OTHERS = CrossEntropyLoss(reduction="none")
