"""Losses: gradient and value of small columns, with gaps of all sizes, certain and perfect predictions, margins met exactly."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Loss, Network, init
from manualbp.domains import Interval
from oracle import referee
from oracle.accuracy.columns import above_the_others, blocks, listed
from oracle.accuracy.near import near_zero
from oracle.accuracy.points import limits
from oracle.accuracy.sample import Floats, Marks, Quantity, Sample, failures, quantity
from oracle.accuracy.sides import Params, Side, guarded, ours_of_loss, torchs_of_loss
from oracle.accuracy.subject import Subject
from oracle.alone import at_kinks
from oracle.inputs import generator

Array = NDArray[Any]

#: One column for so many inputs that an elementwise function is asked for; and so many in a half precision.
SHARE = {"float64": 40, "float32": 40, "float16": 80, "bfloat16": 80}
ROWS, STEPS = 3, 4
#: Columns whose value is asked for one by one, where a loss has no reduction "none".
SINGLE = 200


def measure(subject: Subject, inputs: int, seed: int) -> Sample:
    """Value and gradient on `inputs` / 40 columns. Raises NoDefinition, Undecided."""
    record: Any = subject.record
    rng, dtype = generator(seed, f"accuracy/{subject}"), subject.numpy
    params: Params = (*init(Network((), record), rng, dtype=dtype), {})[0]
    x, target = _draw(record, max(8, inputs // SHARE[subject.dtype]), dtype, rng)
    each = replace(record, reduction="none") if "none" in getattr(record, "reductions", ()) else record
    truth, settled = _truth(each, params, x, target)
    terms = record.terms_shape(x.shape) if each is not record else ()
    here = x.astype(np.float64)
    sides = [_run(side, record, each, params, x, target, terms) for side in (ours_of_loss, torchs_of_loss)]

    def describe(i: int) -> Any:
        index = tuple(map(int, np.unravel_index(i, x.shape)))
        return _sample(x, target, index[-1]) | {"element": list(index[:-1])}

    if each is record:
        value = _one_by_one(record, params, x, target)
    else:
        value = quantity(
            truth.value, [side.value for side in sides], _axis_of_terms(here, terms),
            lambda i: _sample(x, target, int(np.unravel_index(i, terms)[-1])), counts=settled,
        )  # fmt: skip
    size = np.abs(truth.derivative.hi)
    normal = (size >= float(limits(dtype).smallest_normal)) & (size <= float(limits(dtype).max))
    near, largest = near_zero(record, params, here, target, size)
    return Sample(
        x.shape[-1],
        value,
        quantity(
            truth.derivative,
            [side.derivative for side in sides],
            _axis(record, here),
            describe,
            counts=settled & (normal | (size == 0) | truth.derivative.at_kink),
            near=near,
            largest=largest,
        ),
        failures(*sides),
    )


def _draw(record: Loss, count: int, dtype: np.dtype[Any], rng: np.random.Generator) -> tuple[Array, Array]:
    """Inputs (blocks of rows, *extra, count) and targets. The first columns lie on the loss's kinks, if it has any."""
    extra = (STEPS,) * (record.extra_axes or 0)
    flat = blocks(record.inputs, (ROWS, int(np.prod(extra)) * count), dtype, rng, huge=not extra)
    parts = [block.reshape(ROWS, *extra, count) for block in flat]
    x = np.concatenate(parts)
    target = record.target_domain.sample(rng, record.target_shape(x.shape), dtype)
    if isinstance(record.target_domain, Interval) and target.shape == parts[0].shape:
        domain = record.target_domain
        certain = [end for end in (domain.low, domain.high) if np.isfinite(end)]
        if certain:
            target = np.where(rng.random(target.shape) < 0.6, rng.choice(certain, target.shape), target).astype(dtype)
        perfect = (rng.random(target.shape) < 0.15) & ~domain.outside(parts[0])
        target = np.where(perfect, parts[0], target)
    if record.kinks and not extra and target.size:
        some = min(count // 5, 50 * len(record.kinks))
        at, target[..., :some] = at_kinks(record, (*x.shape[:-1], some), rng, dtype)
        inside = [~domain.outside(block) for domain, block in zip(record.inputs, np.split(at, len(record.inputs)), strict=True)]
        x[..., :some] = np.where(np.concatenate(inside), at, x[..., :some])
    return x, target


def _run(side: Any, record: Loss, each: Loss, params: Params, x: Array, target: Array, terms: tuple[int, ...]) -> Side:
    """The terms from the loss without a reduction, the gradient from the loss itself."""

    def answer() -> tuple[Any, Any]:
        value, gradient = side(record, params, x, target)
        return (side(each, params, x, target)[0] if each is not record else value), gradient

    return guarded(answer, terms, x.shape)


def _one_by_one(record: Loss, params: Params, x: Array, target: Array) -> Quantity:
    """The values of the first columns, each as a batch of its own."""
    count = min(SINGLE, x.shape[-1])
    columns = [(x[..., i : i + 1], target[..., i : i + 1]) for i in range(count)]
    truths = [referee.loss(record, params, *column).value for column in columns]
    found = [
        np.array([guarded(partial(side, record, params, *column), (), column[0].shape).value for column in columns])
        for side in (ours_of_loss, torchs_of_loss)
    ]
    value = referee.Numbers(*(np.array(part) for part in zip(*truths, strict=True)))
    here = x.astype(np.float64)[..., :count]
    return quantity(value, found, _largest(here.reshape(-1, count)), lambda i: _sample(x, target, i))


def _sample(x: Array, target: Array, i: int) -> dict[str, Any]:
    found = {"column": listed(x[..., i])}
    return found | {"target": listed(target[..., i])} if target.size else found


def _axis(record: Loss, x: Floats) -> Floats:
    """The input on the axis of the picture: its own number; for a loss over classes, how far it is above the others."""
    if record.per_sample and len(record.inputs) == 1 and x.ndim == 2:
        return above_the_others(x)
    return x


def _axis_of_terms(x: Floats, terms: tuple[int, ...]) -> Floats:
    """The same for the terms: one for each element of the first input, or for each sample, whose largest number stands for it."""
    return x[: terms[0]] if len(terms) == x.ndim else _largest(x.reshape(-1, x.shape[-1]))


def _largest(columns: Floats) -> Floats:
    """Of each column the number of the largest size."""
    found: Floats = np.take_along_axis(columns, np.abs(columns).argmax(axis=0)[None], 0)[0]
    return found


def _truth(record: Loss, params: Params, x: Array, target: Array) -> tuple[referee.Truth, Marks]:
    """The truth, and for which samples there is one: two distances may be equal in a way that no arithmetic can prove."""
    try:
        return referee.loss(record, params, x, target), np.ones(x.shape[-1], bool)
    except referee.Undecided:
        if getattr(record, "reduction", "") != "none":
            raise
        if x.shape[-1] == 1:
            nothing = [np.full(shape, np.nan) for shape in (record.terms_shape(x.shape), x.shape)]
            return referee.Truth(*(referee.Numbers(part, part, part, part) for part in nothing)), np.zeros(1, bool)
    half = x.shape[-1] // 2
    pieces = [slice(None, half), slice(half, None)]
    targets = [target[..., piece] if target.size else target for piece in pieces]
    parts = [_truth(record, params, x[..., piece], own) for piece, own in zip(pieces, targets, strict=True)]
    joined = [
        referee.Numbers(*(np.concatenate(own, axis=-1) for own in zip(*numbers, strict=True)))
        for numbers in zip(*(truth for truth, _ in parts), strict=True)
    ]
    return referee.Truth(*joined), np.concatenate([settled for _, settled in parts])
