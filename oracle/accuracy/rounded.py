"""Kinks that lie between two floats: which side of them a float is on is a matter of how an option was rounded.

A threshold of 1.2 is another number in float32, and threshold / beta is rounded in any dtype. Implementations may hold an option
in the dtype, or in a wider one; the truth near such a kink is therefore a set that holds what either makes of it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Activation
from oracle.accuracy.points import around
from oracle.referee import Numbers, Truth

Array = NDArray[Any]
Ask = Callable[[Any, Array], Truth]


def either_side(record: Activation, dtype: np.dtype[Any], x: Array, truth: Truth, ask: Ask) -> Truth:
    """The truth at x (rows, n), widened at such kinks to what is right on either side; `ask(record, points)` is the referee.

    For a function with such a kink, also what the options rounded to the dtype give, everywhere.
    """
    found = Truth(*(Numbers(*(part.copy() for part in numbers)) for numbers in truth))
    rounded = with_rounded_options(record, dtype)
    for kink in record.kinks:
        nearest = around(kink.at, dtype, 2)  # two floats on each side: what both sides of the kink say
        there = np.broadcast_to(nearest, (len(x), len(nearest)))
        sides = ask(record, there)
        if sides.derivative.at_kink[:, 0].all():
            continue
        here = np.isin(x[0], nearest[[0, 1, 3]])
        for part, own in zip(found, sides, strict=True):
            _widen(part, here, np.nanmin(own.low, 1, keepdims=True), np.nanmax(own.high, 1, keepdims=True))
        if rounded is not None:
            for part, own in zip(found, ask(rounded, x), strict=True):
                _widen(part, np.ones(x.shape[1], bool), own.low, own.high)
            rounded = None  # one kink like that suffices
    return found


def with_rounded_options(record: Any, dtype: np.dtype[Any]) -> Any:
    """The record with its numbers as the dtype holds them; None where it holds them all."""
    options = {name: value for name, value in record.options().items() if isinstance(value, float)}
    rounded = {name: float(np.array(value).astype(dtype)) for name, value in options.items()}
    return replace(record, **rounded) if rounded != options else None


def _widen(part: Numbers, columns: NDArray[np.bool_], low: Array, high: Array) -> None:
    """Let the truth in these columns, of every row, reach from low to high as well, in place."""
    lows, highs = np.minimum(part.low[:, columns], low), np.maximum(part.high[:, columns], high)
    part.low[:, columns], part.high[:, columns] = lows, highs
    part.hi[:, columns] = np.where(lows < highs, np.nan, part.hi[:, columns])
