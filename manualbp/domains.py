"""Where a function is defined and where its values lie: small records that check, and draw samples.

An `Interval` describes real numbers (an activation's input and output, a loss's input, a regression target). The other
domains are kinds of targets; those that are more than numbers from an interval are in manualbp.targets.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Domain(ABC):
    """The set a target comes from."""

    @abstractmethod
    def check(self, target: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        """Raise unless `target` fits a loss whose input has this shape (features, *extra, m) and dtype.

        `owner` is the loss, or what else the message shall call it. Raises TypeError for the wrong kind of number, ValueError for
        the wrong shape or a value outside.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Draw a target for a loss whose input has this shape and dtype."""

    @abstractmethod
    def elsewhere(self, target: Any, classes: int) -> Any:
        """A target of the same shape, NumPy's or torch's, that a good prediction of `target` is far from."""


@dataclass(frozen=True)
class Interval(Domain):
    """All real numbers from `low` to `high`; an end belongs to it unless it is open."""

    low: float = -np.inf
    high: float = np.inf
    low_open: bool = False
    high_open: bool = False

    def __str__(self) -> str:
        left = "(" if self.low_open or np.isinf(self.low) else "["
        right = ")" if self.high_open or np.isinf(self.high) else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"

    def covers(self, other: "Interval") -> bool:
        """True when every number of `other` lies in this interval."""
        low = other.low > self.low or (other.low == self.low and (other.low_open or not self.low_open))
        high = other.high < self.high or (other.high == self.high and (other.high_open or not self.high_open))
        return low and high

    def outside(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Mark the elements outside. NaN is not outside: it is no number, and shows itself in the result."""
        below = values <= self.low if self.low_open else values < self.low
        above = values >= self.high if self.high_open else values > self.high
        return below | above

    def check(self, target: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        check_form(target, shape, dtype, owner)
        if self == REALS:
            return
        outside = self.outside(target)
        if np.count_nonzero(outside):  # takes a quarter of the time of `any`
            at = first_index(outside)
            raise ValueError(f"{owner} takes targets in {self}; got {target[at]} at {at}. Rescale or clip the target.")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        if np.isfinite(self.low) and np.isfinite(self.high):
            return rng.uniform(self.low, self.high, shape).astype(dtype)
        drawn = rng.standard_normal(shape)
        if np.isfinite(self.low):
            drawn = self.low + np.abs(drawn)
        elif np.isfinite(self.high):
            drawn = self.high - np.abs(drawn)
        return drawn.astype(dtype)

    def elsewhere(self, target: Any, classes: int) -> Any:
        return target * 0 + min(max(0.0, self.low), self.high)


REALS = Interval()
UNIT = Interval(0.0, 1.0)
POSITIVE = Interval(low=0.0)
NEGATIVE = Interval(high=0.0)


def common(intervals: Iterable[Interval]) -> Interval:
    """The numbers that lie in every one of these intervals."""
    first, *others = intervals
    for other in others:
        low = first if first.low > other.low or (first.low == other.low and first.low_open) else other
        high = first if first.high < other.high or (first.high == other.high and first.high_open) else other
        first = Interval(low.low, high.high, low.low_open, high.high_open)
    return first


def check_form(target: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
    """Raise unless a target of real numbers has this shape and dtype: TypeError for the dtype, ValueError for the shape."""
    if target.dtype != dtype:
        raise TypeError(
            f"{owner} takes a target of the network's own dtype, {dtype}; got {target.dtype}. "
            f"Convert it: target.astype(np.{dtype})."
        )
    if target.shape != shape:
        hint = " Transpose it: columns are samples." if target.shape == shape[::-1] else ""
        raise ValueError(f"{owner} takes a target of the output's shape {shape}; got {target.shape}.{hint}")


def first_index(marked: NDArray[np.bool_]) -> tuple[int, ...]:
    """Index of the first element that is marked."""
    return tuple(int(i) for i in np.argwhere(marked)[0])
