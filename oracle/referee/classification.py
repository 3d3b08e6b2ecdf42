"""The losses on classes: one term per sample, from all its features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import arb

from oracle.referee.balls import exact, log, log_sigmoid, maximum, order, pack, power, series, total
from oracle.referee.features import log_softmax
from oracle.referee.registry import define
from oracle.referee.terms import Blocks, Term, Weights


def _weight(weight: Weights, index: int) -> float:
    return 1.0 if weight is None else float(weight[index])


@define("NLLLoss", "loss")
def nll(blocks: Blocks, target: int, weight: Weights = None, ignore_index: int = -100) -> Term:
    """-w_y x_y; an ignored sample counts neither in the sum nor in the number the mean divides by."""
    if target == ignore_index:
        return Term(series(0), 0)
    w = _weight(weight, target)
    return Term(blocks[0][target] * -w, w)


@define("CrossEntropyLoss", "loss")
def cross_entropy(
    blocks: Blocks, target: Any, weight: Weights = None, ignore_index: int = -100, label_smoothing: float = 0.0
) -> Term:
    """-sum_c w_c q_c log softmax(x)_c, where q mixes the target with the uniform distribution.

    The target is a class, whose weight is the sample's share in a mean, or a probability for each class, with share 1.
    """
    classes = len(blocks[0])
    indexed = np.ndim(target) == 0
    if indexed and target == ignore_index:
        return Term(series(0), 0)
    right: Sequence[float] = [float(c == target) for c in range(classes)] if indexed else [float(y) for y in target]
    logs, kept = log_softmax(blocks[0]), 1 - exact(label_smoothing)
    mixed = [kept * y + exact(label_smoothing) / classes for y in right]
    value = total([s * (q * -_weight(weight, c)) for c, (s, q) in enumerate(zip(logs, mixed, strict=True)) if q != 0])
    return Term(value, _weight(weight, target) if indexed else 1)


@define("LinearCrossEntropyLoss", "loss", parameters=("linear_weight", "linear_bias"))
def linear_cross_entropy(
    blocks: Blocks,
    target: Any,
    linear_weight: Any,
    linear_bias: Any = None,
    weight: Weights = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    out_features: tuple[int, ...] = (),
) -> Any:
    """Cross entropy of W x + b; the rows of W are classes x out_features, and every output has a term of its own."""
    logits = linear_weight @ pack(blocks[0])
    if linear_bias is not None:
        logits = logits + linear_bias
    by_class, right = logits.reshape(-1, *out_features), np.asarray(target)
    ignored = -100 if ignore_index is None else ignore_index
    found = [
        cross_entropy([list(by_class[(..., *at)])], right[(..., *at)], weight, ignored, label_smoothing)
        for at in np.ndindex(out_features)
    ]
    return pack(found, out_features) if out_features else found[0]


@define("AdaptiveLogSoftmaxWithLoss", "loss", parameters=("head_weight", "head_bias"))
def adaptive(
    blocks: Blocks,
    target: int,
    head_weight: Any,
    cutoffs: Sequence[int],
    head_bias: Any = None,
    **tails: Any,
) -> Term:
    """-log P(y): P is the head's softmax for a frequent class, else the head's for its cluster times the cluster's own."""
    x = pack(blocks[0])
    logits = list(head_weight @ x)
    if isinstance(head_bias, np.ndarray):
        logits = [z + b for z, b in zip(logits, head_bias, strict=True)]
    if target < cutoffs[0]:
        return Term(-log_softmax(logits)[target])
    cluster = sum(target >= cutoff for cutoff in cutoffs) - 1
    inner = list(tails[f"tail_{cluster}_1_weight"] @ (tails[f"tail_{cluster}_0_weight"] @ x))
    return Term(-log_softmax(logits)[cutoffs[0] + cluster] - log_softmax(inner)[target - cutoffs[cluster]])


@define("MultiMarginLoss", "loss")
def multi_margin(blocks: Blocks, target: int, p: int = 1, margin: float = 1.0, weight: Weights = None) -> Term:
    """The sum over the other classes i of w_y max(0, margin - x_y + x_i)^p, divided by the number of classes."""
    x, w = blocks[0], _weight(weight, target)
    terms = [power(maximum(margin - x[target] + s, 0), p) for i, s in enumerate(x) if i != target]
    return Term(total(terms) * w / len(x))


@define("MultiLabelMarginLoss", "loss")
def multi_label_margin(blocks: Blocks, target: Sequence[int]) -> Term:
    """The sum of max(0, 1 - (x_j - x_i)) over the sample's labels j and all other classes i, by the number of classes."""
    x = blocks[0]
    listed = [int(label) for label in target]
    labels = listed[: listed.index(-1)] if -1 in listed else listed
    others = [i for i in range(len(x)) if i not in labels]
    return Term(total([maximum(1 - x[j] + x[i], 0) for j in labels for i in others]) / len(x))


@define("MultiLabelSoftMarginLoss", "loss")
def multi_label_soft_margin(blocks: Blocks, target: Sequence[float], weight: Weights = None) -> Term:
    """-w_i (y_i log s(x_i) + (1 - y_i) log(1 - s(x_i))), averaged over the classes; s is the logistic function."""
    x = blocks[0]
    terms = [
        (log_sigmoid(s) * float(y) + log_sigmoid(-s) * (1 - exact(y))) * -_weight(weight, i)
        for i, (s, y) in enumerate(zip(x, target, strict=True))
    ]
    return Term(total(terms) / len(x))


@define("CTCLoss", "loss", axes=2)
def ctc(blocks: Any, target: Sequence[int], blank: int = 0, zero_infinity: bool = False, reduction: str = "mean") -> Term:
    """-log of the sum, over all paths that collapse to the labels, of exp(sum_t x[class at t, t]).

    `blocks[0]` is the sample's input, a list of classes, each a list over time. The target holds the input's length, the
    labels' length, the labels. Paths are summed as Graves et al. 2006 (ICML, section 4.1) do: position s of the labels with
    blanks between them is reached from s, from s - 1, and, unless that skips a blank between equal labels, from s - 2.
    A mean divides each sample's loss by the length of its labels, at least 1, first.
    """
    x, steps, length = blocks[0], int(target[0]), int(target[1])
    path = [blank]
    for label in target[2 : 2 + length]:
        path += [int(label), blank]
    sums = [series(1)] + [series(0)] * (len(path) - 1)  # before the first step: one empty path, at the first blank
    for t in range(steps):
        reached = []
        for s, label in enumerate(path):
            back = 3 if s > 1 and label not in (blank, path[s - 2]) else 2
            sources = sums[max(s + 1 - back, 0) : s + 1]
            reached.append(total(sources) * x[label][t].exp())
        sums = reached
    probability = total(sums[-2:])
    none = series(0) if zero_infinity else series(arb("inf"), arb("nan"))  # where no path is long enough
    value = -log(probability) if order(probability[0], 0) else none
    return Term(value / max(length, 1) if reduction == "mean" else value)
