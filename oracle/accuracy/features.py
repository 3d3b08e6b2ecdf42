"""Activations over the features: every row of the Jacobian of small columns, by a one-hot upstream gradient each."""

from functools import partial
from typing import Any

import numpy as np

from manualbp import Activation
from oracle import referee
from oracle.accuracy.columns import above_the_others, joined, listed, reals
from oracle.accuracy.points import NEAR
from oracle.accuracy.sample import Floats, Marks, Sample, failures, quantity
from oracle.accuracy.sides import Side, guarded, ours, torchs
from oracle.accuracy.subject import Subject
from oracle.inputs import generator

#: One column for so many inputs that an elementwise function is asked for; and so many in a half precision.
SHARE = {"float64": 25, "float32": 25, "float16": 50, "bfloat16": 50}


def measure(subject: Subject, inputs: int, seed: int) -> Sample:
    """Value and rows of the Jacobian on `inputs` / 25 columns. Raises NoDefinition, Undecided."""
    record: Any = subject.record
    rng, dtype = generator(seed, f"accuracy/{subject}"), subject.numpy
    count = max(8, inputs // SHARE[subject.dtype])
    rows = 3 if record.rows_in(3) == 3 else record.rows_in(2)
    x = reals((rows, count), dtype, rng).reshape(rows, *[1] * (record.extra_axes or 0), count)
    outputs = record.rows_out(rows)
    flat = (outputs, count)
    truths: list[referee.Truth] = []
    sides: tuple[list[Side], list[Side]] = ([], [])
    for k in range(outputs):
        upstream = np.zeros((outputs, *x.shape[1:]), dtype)
        upstream[k] = 1
        truths.append(referee.features(record, x, upstream))
        for found, side in zip(sides, (ours, torchs), strict=True):
            found.append(guarded(partial(side, record, {}, x, upstream), upstream.shape, x.shape))
    slopes = joined([_flat(truth.derivative, rows, count) for truth in truths])
    jacobians = [np.stack([side.derivative.reshape(rows, count) for side in found]) for found in sides]
    here = x.astype(np.float64).reshape(rows, count)
    gated = outputs != rows

    def describe(i: int) -> Any:
        k, j, column = map(int, np.unravel_index(i, (outputs, rows, count)))
        return {"column": listed(here[:, column]), "output": k, "input": j}

    def describe_value(i: int) -> Any:
        k, column = map(int, np.unravel_index(i, flat))
        return {"column": listed(here[:, column]), "output": k}

    at = here if gated else above_the_others(here)
    value = _flat(truths[0].value, outputs, count)
    return Sample(
        count,
        quantity(value, [found[0].value.reshape(flat) for found in sides], at[:outputs], describe_value),
        quantity(
            slopes,
            jacobians,
            at,
            describe,
            near=_near(record, here, outputs) if gated else False,
            largest=_largest_term(here, value, slopes) if gated else 0.0,
        ),
        failures(*(_worst(found) for found in sides)),
    )


def _flat(numbers: referee.Numbers, rows: int, count: int) -> referee.Numbers:
    return referee.Numbers(*(part.reshape(rows, count) for part in numbers))


def _worst(found: list[Side]) -> Side:
    return next((side for side in found if side.failure), found[0])


def _near(record: Activation, x: Floats, outputs: int) -> Marks:
    """Elements of the Jacobian (outputs, rows, count) that change their sign within 0.1 of the input, by our own slopes."""
    found = np.zeros((outputs, *x.shape), bool)
    with np.errstate(all="ignore"):
        for k in range(outputs):
            upstream = np.zeros((outputs, x.shape[1]))
            upstream[k] = 1
            for j in range(len(x)):
                step = np.zeros(x.shape)
                step[j] = NEAR
                below, above = (ours(record, {}, x + sign * step, upstream)[1][j] for sign in (-1, 1))
                found[k, j] = np.sign(below) * np.sign(above) < 0
    return found


def _largest_term(x: Floats, value: referee.Numbers, slopes: referee.Numbers) -> Floats:
    """For a gate f(u) v the larger term of v f'(u), as for f alone: v h(u) and v u h'(u) with f(u) = u h(u)."""
    with np.errstate(all="ignore"):
        h = value.hi[:, None] / x[None]
        found: Floats = np.maximum(np.abs(h), np.abs(slopes.hi - h))
        return np.where(np.isfinite(found), found, 0.0)
