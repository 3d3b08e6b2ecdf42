"""Mistakes that can be made with any loss: its scale, its sign, its target, and which of its inputs gets a gradient."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from manualbp import AdaptiveLogSoftmaxWithLoss, CTCLoss, LinearCrossEntropyLoss
from manualbp.layer import Array
from manualbp.loss import Loss, ReducedLoss
from manualbp.targets import NoTarget, Signs
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Wrong, grad_params, on, times, wide
from oracle.mistakes.step import Gradients, Step

REDUCTION = "C = sum of the terms / their number for 'mean', / m for 'batchmean', / 1 for 'sum'"
CHAIN = "dC'/da = dC'/dC dC/da"
INPUTS = "every input of the loss has a gradient of its own"

_loss = on(Loss)
_several = on(Loss, when=lambda loss: len(loss.inputs) > 1)
_divides = on(Loss, when=lambda loss: loss.reduction in ("mean", "batchmean"))


def _reduced(given: str, taken: str) -> dict[str, Any]:
    """Where the reduction is the one, backward as if it were the other."""
    return {
        "applies": on(ReducedLoss, when=lambda loss: loss.reduction == given and taken in loss.reductions),
        "wrong": lambda step: step.through(replace(step.layer, reduction=taken)),
    }


def _per_sample(step: Step) -> float:
    """How many elements of one input a sample has."""
    return step.input.size / len(step.layer.inputs) / step.m


def _blocks(change: Callable[[list[Array]], list[Array]]) -> Wrong:
    """The gradients of the loss's inputs, one array each, changed."""

    def spoilt(step: Step) -> Gradients:
        gradient, parameters = step.right
        return np.concatenate(change(np.split(wide(gradient), len(step.layer.inputs)))), parameters

    return spoilt


def _all_summed(step: Step) -> Gradients:
    """The sum of all upstream gradients in the place of each."""
    return step.through(upstream=np.full_like(step.upstream, wide(step.upstream).sum()))


def _head_only(step: Step) -> Gradients:
    gradient, parameters = step.right
    return gradient, {name: own if name.startswith("head") else np.zeros_like(own) for name, own in parameters.items()}


MISTAKES = (
    StepMistake(
        "the loss's sign",
        "Prediction and target are exchanged in the difference: the gradient points up the cost.",
        "y - a for a - y",
        "dC/da, with a - y for the squared error and for cross entropy",
        _loss,
        times(lambda _: -1),
    ),
    StepMistake(
        "factor 2 too much",
        "The gradient is doubled: a factor 1/2 of the cost is overlooked, or a symmetric term is counted twice.",
        "2 dC/da for dC/da",
        "dC/da = a - y for C = 1/2 |a - y|^2",
        _loss,
        times(lambda _: 2),
    ),
    StepMistake(
        "factor 2 forgotten",
        "The gradient is halved: the 2 that the derivative of a square brings is missing.",
        "dC/da / 2 for dC/da",
        "d(a - y)^2/da = 2 (a - y)",
        _loss,
        times(lambda _: 0.5),
    ),
    StepMistake(
        "upstream of the loss ignored",
        "What the cost is multiplied with afterwards does not reach the gradient.",
        "dC/da for dC'/dC dC/da",
        CHAIN,
        _loss,
        lambda step: step.through(upstream=np.ones_like(step.upstream)),
    ),
    StepMistake(
        "upstream of the loss summed",
        "The terms were not reduced, but each of them gets the sum of all upstream gradients.",
        "sum of dC'/dC_k for dC'/dC_k",
        CHAIN,
        on(Loss, when=lambda loss: loss.reduction == "none"),
        _all_summed,
    ),
    StepMistake(
        "the loss's gradient zero",
        "Nothing comes out of the loss: every gradient of the network is 0.",
        "0 for dC/da",
        CHAIN,
        _loss,
        times(lambda _: 0),
    ),
    StepMistake(
        "sum for mean",
        "The cost is a mean, and its gradient is not divided.",
        "the gradient of the sum for that of the mean",
        REDUCTION,
        **_reduced("mean", "sum"),
    ),
    StepMistake(
        "mean for sum",
        "The cost is a sum, and its gradient is divided by the number of terms.",
        "the gradient of the mean for that of the sum",
        REDUCTION,
        **_reduced("sum", "mean"),
    ),
    StepMistake(
        "mean for none",
        "The terms were not reduced, and their gradients are divided by their number.",
        "dC/da / N for dC/da",
        REDUCTION,
        **_reduced("none", "mean"),
    ),
    StepMistake(
        "mean for batchmean",
        "The cost is divided by the batch size, and its gradient by the number of elements.",
        "dC/da / (n m) for dC/da / m",
        REDUCTION,
        **_reduced("batchmean", "mean"),
    ),
    StepMistake(
        "batchmean for mean",
        "The cost is divided by the number of elements, and its gradient by the batch size alone.",
        "dC/da / m for dC/da / (n m)",
        REDUCTION,
        on(Loss, when=lambda loss: loss.reduction == "mean" and not loss.per_sample),
        times(_per_sample),
    ),
    StepMistake(
        "divided by the elements of a sample too",
        "The cost is divided by the number of samples, and its gradient by the number of their elements too.",
        "dC/da / n for dC/da",
        REDUCTION,
        on(Loss, when=lambda loss: loss.reduction == "mean" and loss.per_sample),
        times(lambda step: 1 / _per_sample(step)),
    ),
    StepMistake(
        "1/m twice",
        "The gradient of a mean is divided by the batch size a second time.",
        "dC/da / m for dC/da of a mean",
        REDUCTION,
        _divides,
        times(lambda step: 1 / step.m),
    ),
    StepMistake(
        "1/m added",
        "The cost is no mean, but its gradient is divided by the batch size.",
        "dC/da / m for dC/da",
        REDUCTION,
        on(Loss, when=lambda loss: loss.reduction in ("sum", "none")),
        times(lambda step: 1 / step.m),
    ),
    StepMistake(
        "targets of other samples",
        "Predictions and targets got out of step: each sample is compared with the target of the one before it.",
        "a_k - y_{k-1} for a_k - y_k",
        "each sample k with its own target y_k",
        on(Loss, when=lambda loss: not isinstance(loss.target_domain, NoTarget)),
        lambda step: step.through(target=np.roll(step.case.target, 1, axis=-1)),
    ),
    StepMistake(
        "the target's sign overlooked",
        "Every pair is treated as if its target were 1.",
        "y = 1 for y = 1 or -1",
        "the gradient changes with the sign y",
        on(Loss, when=lambda loss: isinstance(loss.target_domain, Signs)),
        lambda step: step.through(target=np.ones_like(step.case.target)),
    ),
    StepMistake(
        "first input only",
        "The loss has several inputs, and only the first gets a gradient.",
        "0 for the gradients by the other inputs",
        INPUTS,
        _several,
        _blocks(lambda each: [each[0], *(0 * other for other in each[1:])]),
    ),
    StepMistake(
        "last input only",
        "The loss has several inputs, and only the last gets a gradient.",
        "0 for the gradients by the other inputs",
        INPUTS,
        _several,
        _blocks(lambda each: [*(0 * other for other in each[:-1]), each[-1]]),
    ),
    StepMistake(
        "inputs exchanged",
        "The gradients of the loss's inputs are put together in another order.",
        "dC/db above dC/da for dC/da above dC/db",
        INPUTS,
        _several,
        _blocks(lambda each: each[1:] + each[:1]),
    ),
    StepMistake(
        "sign of the second input",
        "The second input's gradient has the sign of the first.",
        "-dC/db for dC/db",
        INPUTS,
        _several,
        _blocks(lambda each: [each[0], -each[1], *each[2:]]),
    ),
    StepMistake(
        "steps that do not count",
        "All time steps of every sample are used, also those behind its own length.",
        "T for the sample's own number of steps",
        "dC/da[c, t] = -P(path_t = c | labels) / m for t up to the sample's own length",
        on(CTCLoss),
        lambda step: step.through(target=np.vstack([np.full((1, step.m), step.input.shape[1]), step.case.target[1:]])),
    ),
    StepMistake(
        "the loss's matrices without gradient",
        "The matrices that the loss holds itself are never given a gradient.",
        "0 for dC/dV",
        "dC/dV = delta a^T with delta = dC/d logits",
        on(LinearCrossEntropyLoss, AdaptiveLogSoftmaxWithLoss),
        grad_params(lambda _, right: np.zeros_like(right)),
    ),
    StepMistake(
        "the loss's matrices averaged",
        "The gradients of the matrices that the loss holds itself are divided by the batch size once more.",
        "delta a^T / m for delta a^T",
        "dC/dV = delta a^T with delta = dC/d logits",
        on(LinearCrossEntropyLoss, AdaptiveLogSoftmaxWithLoss),
        grad_params(lambda step, right: right / step.m),
    ),
    StepMistake(
        "rare classes without gradient",
        "The matrices of the clusters of rare classes get no gradient; only the head's do.",
        "0 for the gradients of the clusters' matrices",
        "each matrix of a cluster as in a Linear layer",
        on(AdaptiveLogSoftmaxWithLoss),
        _head_only,
    ),
)
