"""Mistakes in the gradient of a slope that is learnt, and shared by many elements."""

import numpy as np

from manualbp import (
    PReLU,
)
from manualbp.layer import Array
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import columns, grad_params, on, wide
from oracle.mistakes.step import Step

ALPHA = "dC/dalpha = sum of dC/da min(z, 0) over all that share alpha"


def _prelu_terms(step: Step) -> Array:
    return np.minimum(wide(step.input), 0) * wide(step.upstream)


def _prelu_sum(terms: Array, step: Step) -> Array:
    return terms.sum() if step.layer.num_parameters == 1 else columns(terms).sum(axis=1)


MISTAKES = (
    StepMistake(
        "shared slope not summed",
        "The slope of a PReLU is shared by many elements, but its gradient is that of the first sample alone.",
        "the sum over the first sample for the sum over all samples",
        ALPHA,
        on(PReLU),
        grad_params(lambda step, right: _prelu_sum(_prelu_terms(step)[..., :1], step).reshape(right.shape), "weight"),
    ),
    StepMistake(
        "shared slope averaged",
        "The gradient of a PReLU's slope is averaged over the batch, not added up.",
        "the sum divided by m for the sum",
        ALPHA,
        on(PReLU),
        grad_params(lambda step, right: right / step.m, "weight"),
    ),
    StepMistake(
        "shared slope from all elements",
        "The gradient of a PReLU's slope counts the positive inputs too, which the slope does not touch.",
        "sum of dC/da z for the sum of dC/da min(z, 0)",
        ALPHA,
        on(PReLU),
        grad_params(lambda step, right: _prelu_sum(wide(step.input) * wide(step.upstream), step).reshape(right.shape), "weight"),
    ),
    StepMistake(
        "shared slope without the error",
        "The gradient of a PReLU's slope is the sum of its inputs, not multiplied by the error that comes back.",
        "sum of min(z, 0) for the sum of dC/da min(z, 0)",
        ALPHA,
        on(PReLU),
        grad_params(lambda step, right: _prelu_sum(np.minimum(wide(step.input), 0), step).reshape(right.shape), "weight"),
    ),
    StepMistake(
        "shared slope's sign",
        "The gradient of a PReLU's slope has the wrong sign, as if it were multiplied by |z|.",
        "-sum of dC/da min(z, 0) for the sum",
        ALPHA,
        on(PReLU),
        grad_params(lambda _, right: -right, "weight"),
    ),
    StepMistake(
        "shared slope zero",
        "The gradient of a PReLU's slope is never filled in.",
        "0 for the sum of dC/da min(z, 0)",
        ALPHA,
        on(PReLU),
        grad_params(lambda _, right: np.zeros_like(right), "weight"),
    ),
)
