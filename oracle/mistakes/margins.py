"""Mistakes in hinges, and in losses on the distance or the angle between vectors."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from manualbp import (
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    MarginRankingLoss,
    MultiLabelMarginLoss,
    MultiMarginLoss,
    TripletMarginLoss,
    TripletMarginWithDistanceLoss,
)
from manualbp.layer import Array
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Terms, of_terms, on, times, wide
from oracle.mistakes.step import Gradients, Step

HINGE = "the slope of max(0, z) is 1 for z > 0 and 0 for z < 0"
COSINE = "dcos/du = v / (|u| |v|) - cos u / |u|^2"
TRIPLET = "at a: D'(a, p) - D'(a, n), at p: -D'(a, p), at n: D'(a, n), where margin + D(a, p) - D(a, n) > 0"
CLASSES = "w[y] p max(0, z_i)^(p-1) / classes at i; at y minus their sum"

_TRIPLET = (TripletMarginLoss, TripletMarginWithDistanceLoss)
_classes = on(MultiMarginLoss, MultiLabelMarginLoss)

#: A margin that no lead reaches.
FAR = 1e300


def _never_satisfied(step: Step) -> Gradients:
    """Every hinge counts as open."""
    if isinstance(step.layer, MultiMarginLoss | MultiLabelMarginLoss):
        return step.through(input=np.zeros_like(step.input))  # where no class leads
    far = -FAR if isinstance(step.layer, CosineEmbeddingLoss) else FAR
    return step.through(replace(step.layer, margin=far))


def _no_margin(step: Step) -> Gradients:
    tiny = np.finfo(np.float64).tiny  # the triplet losses refuse 0
    return step.through(replace(step.layer, margin=tiny))


def _exchanged_slopes(step: Step) -> Gradients:
    """Where the hinge is open nothing passes, and where it is closed all that could."""
    every, right = wide(_never_satisfied(step)[0]), wide(step.right[0])
    return every - right, {}


def _wrong_classes_only(step: Step) -> Gradients:
    """The right classes are those whose scores are pushed up."""
    unit, _ = step.through(upstream=np.ones_like(step.upstream))
    return np.where(unit < 0, 0.0, wide(step.right[0])), {}


def _cosine(t: Terms, along: float, lengths: bool) -> tuple[Array, Array]:
    """The gradient with a part of its terms, and divided by the lengths or not."""
    u, v = t.inputs
    uv = (u * v).sum(axis=0)
    uu, vv = ((x * x).sum(axis=0) + t.loss._EPS for x in (u, v))
    size = np.sqrt(uu * vv)
    slope = np.where(t.y == 1, -1.0, uv / size >= t.loss.margin) / (size if lengths else 1.0)
    return slope * (v - along * uv / uu * u), slope * (u - along * uv / vv * v)


def _norm(t: Terms, distance: Callable[[Array, float], Array], far: float = 1.0) -> tuple[Array, ...]:
    """Another derivative of the distance; `far` is the share of the negative's."""
    a, p, n = t.inputs
    power, eps = t.loss.norm
    near, away = a - p + eps, a - n + eps
    z = t.loss.margin + np.linalg.norm(near, power, axis=0) - np.linalg.norm(away, power, axis=0)
    of_near, of_away = (np.where(z > 0, distance(d, power), 0.0) for d in (near, away))
    return of_near - far * of_away, -of_near, far * of_away


def _right_norm(d: Array, power: float) -> Array:
    return np.sign(d) * (np.abs(d) / np.linalg.norm(d, power, axis=0)) ** (power - 1)


MISTAKES = (
    StepMistake(
        "gradient on the satisfied side",
        "Samples that are right by the margin cost nothing, but still get the gradient of those that are not.",
        "1 for [z > 0]",
        HINGE,
        on(
            HingeEmbeddingLoss,
            MarginRankingLoss,
            CosineEmbeddingLoss,
            *_TRIPLET,
            MultiLabelMarginLoss,
            MultiMarginLoss,
            when=lambda loss: getattr(loss, "p", 1) == 1 or not isinstance(loss, MultiMarginLoss),
        ),
        _never_satisfied,
    ),
    StepMistake(
        "hinge inverted",
        "Samples that are right by the margin get a gradient, and those that are not get none.",
        "[z < 0] for [z > 0]",
        HINGE,
        on(MarginRankingLoss, *_TRIPLET),
        _exchanged_slopes,
    ),
    StepMistake(
        "margin taken as 0",
        "Backward asks who leads, not who leads by the margin.",
        "[-y (a - b) > 0] for [margin - y (a - b) > 0]",
        HINGE,
        on(
            HingeEmbeddingLoss,
            *_TRIPLET,
            MultiMarginLoss,
            when=lambda loss: loss.margin != 0,
        ),
        _no_margin,
    ),
    StepMistake(
        "the right class gets nothing",
        "The wrong classes are pushed down, but the right one is not pushed up.",
        "0 for minus the sum of the others at the right class",
        CLASSES,
        _classes,
        _wrong_classes_only,
    ),
    StepMistake(
        "hinges not divided by the classes",
        "The term is divided by the number of classes, and its gradient is not.",
        "[z_i > 0] for [z_i > 0] / classes",
        CLASSES,
        _classes,
        times(lambda step: len(step.input)),
    ),
    StepMistake(
        "length taken as a constant",
        "The lengths in the denominator of the cosine are not differentiated.",
        "v / (|u| |v|) for v / (|u| |v|) - cos u / |u|^2",
        COSINE,
        on(CosineEmbeddingLoss),
        of_terms(lambda t: _cosine(t, 0.0, lengths=True)),
    ),
    StepMistake(
        "lengths not divided by",
        "The gradient is that of vectors of length 1.",
        "v - (u.v / |u|^2) u for that divided by |u| |v|",
        COSINE,
        on(CosineEmbeddingLoss),
        of_terms(lambda t: _cosine(t, 1.0, lengths=False)),
    ),
    StepMistake(
        "cosine for the inner product",
        "The cosine is differentiated as if it were the inner product.",
        "v for v / (|u| |v|) - cos u / |u|^2",
        COSINE,
        on(CosineEmbeddingLoss),
        of_terms(lambda t: _cosine(t, 0.0, lengths=False)),
    ),
    StepMistake(
        "distance for its square",
        "The distance is differentiated like half its square: the difference is not divided by the distance.",
        "d for d / D",
        TRIPLET,
        on(*_TRIPLET, when=lambda loss: loss.norm[0] == 2 and not loss.swap),
        of_terms(lambda t: _norm(t, lambda d, _: d)),
    ),
    StepMistake(
        "the negative forgotten",
        "Only the distance to the positive example is differentiated.",
        "D'(a, p) at a, -D'(a, p) at p, 0 at n",
        TRIPLET,
        on(*_TRIPLET, when=lambda loss: np.isfinite(loss.norm[0]) and not loss.swap),
        of_terms(lambda t: _norm(t, _right_norm, far=0.0)),
    ),
)
