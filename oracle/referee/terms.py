"""What the definitions of losses share: the terms of one sample, and the norms they are made of.

A definition is handed one sample at a time. `blocks` holds its features, in as many equal parts as the loss has inputs;
`target` is what the target holds for the sample: an array of numbers, one number, or None. It returns a Term for the sample,
or a list of them, one per feature. How they are reduced is written once, in oracle.referee.losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from oracle.referee.balls import Number, Series, absolute, joint, log, maximum, order, power, series, total

Blocks = list[list[Series]]
Weights = Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a loss, and its share in the number that a mean divides by: 1, or the weight of its class."""

    value: Series
    share: Number = 1


def weighted(values: Sequence[Series], weight: Weights) -> list[Series]:
    """Each feature's value times its own weight."""
    return list(values) if weight is None else [value * float(w) for value, w in zip(values, weight, strict=True)]


def square(s: Series) -> Series:
    return s * s


def norm(x: Sequence[Series], p: float = 2.0) -> Series:
    """(sum |x_i|^p)^(1/p) for p >= 1, the largest |x_i| for infinite p. At x = 0 the slope is the hull of both directions'."""
    sizes = [absolute(s) for s in x]
    if p == 1:
        return total(sizes)
    if p == float("inf"):
        largest = series(0)
        for size in sizes:
            largest = maximum(largest, size)
        return largest
    signs = [order(s[0], 0) for s in x]
    if not any(signs):  # the norm of c t is |t| times that of c
        rates = [series(s[1]) for s in x if s[1] != 0]
        rate = norm(rates, p)[0] if rates else 0
        return joint(series(0), 0, lambda: series(0, -rate), lambda: series(0, rate))
    powers = total([power(size, p) for size, sign in zip(sizes, signs, strict=True) if sign])  # |c t|^p has no part in t
    return powers.sqrt() if p == 2 else (log(powers) / p).exp()


def one_of_two(target: float) -> int:
    """A target of 1 or -1. Raises ValueError for anything else, which the losses do not define."""
    if target not in (1, -1):
        raise ValueError(f"this loss takes the targets 1 and -1; got {target}. Map 0 to -1: 2 * target - 1.")
    return int(target)
