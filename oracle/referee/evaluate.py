"""Records on arrays of doubles: each element's value and derivative, enclosed and rounded."""

from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
from flint import arb, arb_series
from numpy.typing import NDArray

from oracle.referee.balls import (
    BITS,
    START,
    Ball,
    Enclosure,
    Straddles,
    Undecided,
    Undefined,
    accurate,
    doubles,
    precision,
    series,
    settle,
    total,
)
from oracle.referee.registry import Named, definition
from oracle.referee.truth import NAN, NOTHING, Floats, Numbers, Row, Truth, numbers, slope_row, value_row

Array = NDArray[Any]
#: What stands for an infinite input: the definition so far out is its limit, to more digits than a double has.
_FAR = 5000


def _balls(values: Floats, far: int, step: int) -> list[Any]:
    """The doubles as balls; the infinities, in their order, are 2^far and from one to the next 2^step times as large."""
    balls, exponent = [], far if step > 0 else 2 * far
    for value in values.tolist():
        if np.isinf(value):
            balls.append(arb(2) ** exponent * int(np.sign(value)))
            exponent += step
        else:
            balls.append(arb(value))
    return balls


def enclose(values: Floats, evaluate: Callable[[list[Any]], Any], side: int = 0) -> Enclosure:
    """evaluate(balls of these doubles), settled.

    Infinite values mean the limit, infinite itself where what is found grows from far out to further; of several infinities
    one that does not depend on which grows faster, or NaN, as where it grows beyond all balls. NaN gives NaN unless the function
    does not look at it. Of finite values raises Undecided as `settle` does.
    """
    nothing, count = arb("nan"), int(np.isinf(values).sum())
    try:
        if np.isnan(values).any():
            return _without(values, evaluate)
        first = settle(lambda: evaluate(_balls(values, _FAR, 64)), side)
        if not count:
            return first
        others = [settle(lambda: evaluate(_balls(values, 4 * _FAR, 64)), side)]
        if count > 1:
            others.append(settle(lambda: evaluate(_balls(values, _FAR, -64)), side))
        found = [first[0], first[1]]
        for other in others:
            found = [_limit(near, further) for near, further in zip(found, other[:2], strict=True)]
    except (Undefined, Straddles):
        return Enclosure(nothing, nothing)
    except Undecided:
        if not count:
            raise
        return Enclosure(nothing, nothing)
    return Enclosure(found[0], found[1], first.at_kink)


def _limit(near: Ball, further: Ball) -> Ball:
    """Where a function goes that has these values far out and further out."""
    one, other = doubles(near)[0], doubles(further)[0]
    if one == other:
        return near
    return arb("inf") * int(np.sign(other)) if one * other > 0 and abs(other) > abs(one) else arb("nan")


def _without(values: Floats, evaluate: Callable[[list[Any]], Any]) -> Enclosure:
    """What does not depend on the values that are NaN; NaN for what does, division by it among them."""
    with precision(START):
        try:
            found = evaluate(_balls(values, _FAR, 64))
        except (ValueError, ZeroDivisionError):
            return Enclosure(arb("nan"), arb("nan"))
        value, slope = (part if accurate(part) else arb("nan") for part in (found[0], found[1]))
        return Enclosure(value, slope)


def elementwise(
    record: Named, z: Any, params: Mapping[str, Any] | None = None, *, wrt: str | None = None, grad_output: Any = None
) -> Truth:
    """True value and derivative of an activation at every element of z, of any floating dtype; a Truth of z's shape.

    `params` are arrays by the record's names: a scalar, one number per feature (axis 0 of z), or z's own shape. RReLU takes the
    slopes of a training run as `slope`. The derivative is the one with respect to z, or to the parameter `wrt`; times
    grad_output, an array of z's shape, where there is one. At a kink, low and high are the two one-sided slopes.
    Raises NoDefinition, Undecided.
    """
    found = definition(record, "elementwise")
    call = found.bind(record.options())
    points = np.asarray(z).astype(np.float64)
    names = [found.parameter(name) for name in params or {}]
    columns = [points, *(_spread(np.asarray(value), points) for value in (params or {}).values())]
    moved = 0 if wrt is None else 1 + names.index(found.parameter(wrt))
    if grad_output is not None:
        columns.append(np.broadcast_to(np.asarray(grad_output).astype(np.float64), points.shape))

    def evaluate(point: Any) -> Any:
        rate = 1 if grad_output is None else point[-1]
        given = [arb_series([x, rate]) if i == moved else arb_series([x]) for i, x in enumerate(point[: 1 + len(names)])]
        return call(given[0], **dict(zip(names, given[1:], strict=True)))

    run = evaluate if names or grad_output is not None else lambda point: call(arb_series([point[0], 1]))
    values, slopes = _sweep(run, [column.ravel().tolist() for column in columns])
    return Truth(numbers(values, points.shape), numbers(slopes, points.shape))


def _spread(parameter: Array, points: Floats) -> Floats:
    """One number, one per feature, or one per element, as an array of the shape of points."""
    value = parameter.astype(np.float64)
    if value.size == 1:
        return np.full(points.shape, value.item())
    if value.ndim == 1 and points.ndim > 1:
        value = value.reshape(-1, *[1] * (points.ndim - 1))
    return np.broadcast_to(value, points.shape)


def _sweep(run: Callable[[Any], Any], columns: list[list[float]]) -> tuple[list[Row], list[Row]]:
    """All points at the first precision; those for which it does not suffice once more, one by one."""
    values: list[Row] = []
    slopes: list[Row] = []
    again: list[int] = []
    points = list(zip(*columns, strict=True))
    with precision(START):
        for at, point in enumerate(points):
            settled = all(map(isfinite, point))
            try:
                if settled:
                    found = run(point)
                    value, slope = found[0], found[1]
                    settled = value.rel_accuracy_bits() >= BITS and slope.rel_accuracy_bits() >= BITS
            except ArithmeticError:
                settled = False
            if not settled:
                again.append(at)
                values.append(NOTHING)
                slopes.append(NOTHING)
                continue
            hi = float(value)
            values.append((hi, float(value - hi), hi, hi) if abs(hi) != np.inf else (hi, 0.0, hi, hi))
            hi = float(slope)
            slopes.append((hi, float(slope - hi), hi, hi) if abs(hi) != np.inf else (hi, 0.0, hi, hi))
    for at in again:
        values[at], slopes[at] = _one(run, np.array(points[at]))
    return values, slopes


def _one(run: Callable[[Any], Any], point: Floats) -> tuple[Row, Row]:
    found = enclose(point, run)
    if not found.at_kink:
        return value_row(found), slope_row(found)
    sides = [slope_row(enclose(point, run, side)) for side in (-1, 1)]
    low, high = sorted(row[0] for row in sides)
    return value_row(found), sides[0] if low == high else (NAN, NAN, low, high)


def features(record: Named, x: Any, grad_output: Any) -> Truth:
    """True output of an activation over the features, and its vector-Jacobian product with grad_output.

    x (features, *extra, m); grad_output and value (features_out, *extra, m); derivative of x's shape. For small arrays: each
    sample takes features^2 evaluations. Raises NoDefinition, Undecided.
    """
    call = definition(record, "features").bind(record.options())
    points, upstream = (np.asarray(array).astype(np.float64) for array in (x, grad_output))
    rows = points.shape[0]
    samples = points.reshape(rows, -1)
    weights = upstream.reshape(upstream.shape[0], -1)
    values: list[list[Row]] = []
    slopes: list[list[Row]] = []

    def output(k: int, balls: list[Any]) -> Any:
        return call([series(ball) for ball in balls])[k]

    def product(weight: Floats, moved: int, balls: list[Any]) -> Any:
        out = call([series(ball, int(i == moved)) for i, ball in enumerate(balls)])
        return slope_only(total([s * float(g) for s, g in zip(out, weight, strict=True) if g]))

    for column, weight in zip(samples.T, weights.T, strict=True):
        values.append([value_row(enclose(column, partial(output, k))) for k in range(len(weight))])
        slopes.append([slope_row(enclose(column, partial(product, weight, i))) for i in range(rows)])
    return Truth(by_column(values, upstream.shape), by_column(slopes, points.shape))


def slope_only(found: Any) -> Any:
    """The slope of a function whose own value does not matter and may cancel; only an infinite one is kept."""
    return found if found[0] == arb("inf") else arb_series([0, found[1]])


def by_column(columns: list[list[Row]], shape: tuple[int, ...]) -> Numbers:
    """Rows of one column after the other, as arrays of shape (features, *extra, m)."""
    table = np.array(columns, dtype=np.float64).reshape(len(columns), -1, 4)
    return Numbers(*(np.ascontiguousarray(part.T).reshape(shape) for part in np.moveaxis(table, 2, 0)))
