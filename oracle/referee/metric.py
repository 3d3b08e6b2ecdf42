"""Losses between whole vectors: distances, angles and triplets. One term per sample, from two or three blocks of features."""

import numpy as np

from oracle.referee.balls import Series, exact, maximum, minimum, total
from oracle.referee.registry import NoDefinition, define
from oracle.referee.terms import Blocks, Term, norm, one_of_two, square

Vector = list[Series]


@define("CosineEmbeddingLoss", "loss", blocks=2)
def cosine_embedding(blocks: Blocks, target: float, margin: float = 0.0) -> Term:
    """1 - cos for the target 1, max(0, cos - margin) for -1.

    The function torch computes has the float32 nearest to 1e-12 added to each squared length, which its documentation leaves
    out; it keeps the cosine of a vector 0 defined.
    """
    a, b = blocks
    lengths = [total([square(s) for s in x]) + exact(float(np.float32(1e-12))) for x in (a, b)]
    cos = total([s * t for s, t in zip(a, b, strict=True)]) / (lengths[0] * lengths[1]).sqrt()
    return Term(1 - cos if one_of_two(target) == 1 else maximum(cos - margin, 0))


def distance(a: Vector, b: Vector, p: float, eps: float) -> Series:
    """As torch's pairwise_distance, the p-norm of a - b + eps."""
    return norm([s - t + eps for s, t in zip(a, b, strict=True)], p)


@define("TripletMarginLoss", "loss", blocks=3)
def triplet_margin(
    blocks: Blocks, _target: None = None, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False
) -> Term:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin); with swap the lesser of both distances to the negative."""
    anchor, positive, negative = blocks
    far = distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, distance(positive, negative, p, eps))
    return Term(maximum(distance(anchor, positive, p, eps) - far + margin, 0))


@define("TripletMarginWithDistanceLoss", "loss", blocks=3)
def triplet_margin_with_distance(
    blocks: Blocks, _target: None = None, distance_function: str | None = None, margin: float = 1.0, swap: bool = False
) -> Term:
    """The same with pairwise_distance, torch's default, or a plain norm of the difference by its name."""
    norms = {"euclidean": 2.0, "manhattan": 1.0, "chebyshev": float("inf")}
    if distance_function is None:
        return triplet_margin(blocks, None, margin, 2.0, 1e-6, swap)
    if distance_function not in norms:
        raise NoDefinition(f"the referee takes the distances {list(norms)}, or None; got {distance_function!r}.")
    return triplet_margin(blocks, None, margin, norms[distance_function], 0.0, swap)
