"""Where a function is defined and where its values lie: small records that check, and draw samples.

An `Interval` describes real numbers (an activation's input and output, a loss's input, a regression target);
`ClassIndices` describes the integer labels of a classification.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Domain(ABC):
    """The set a target comes from."""

    @abstractmethod
    def check(self, target: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any], owner: str) -> None:
        """Raise unless `target` fits a loss whose input has this shape (features, *extra, m) and dtype.

        `owner` is the loss as the message shall call it. Raises TypeError for the wrong kind of number, ValueError for
        the wrong shape or a value outside.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Draw a target for a loss whose input has this shape and dtype; every element is drawn on its own."""

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

    def check(self, target: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any], owner: str) -> None:
        if target.dtype != dtype:
            raise TypeError(
                f"{owner} takes a target of the network's own dtype, {dtype}; got {target.dtype}. "
                f"Convert it: target.astype(np.{dtype})."
            )
        if target.shape != shape:
            hint = " Transpose it: columns are samples." if target.shape == shape[::-1] else ""
            raise ValueError(f"{owner} takes a target of the output's shape {shape}; got {target.shape}.{hint}")
        if self == REALS:
            return
        outside = self.outside(target)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
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


@dataclass(frozen=True)
class ClassIndices(Domain):
    """Integer labels 0 .. n-1, one per sample, for a loss whose input has n rows."""

    def __str__(self) -> str:
        return "class indices"

    def check(self, target: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any], owner: str) -> None:
        classes, samples = shape[0], shape[1:]
        if target.dtype.kind not in "iu":
            raise TypeError(
                f"{owner} takes integer class indices; got dtype {target.dtype}. Convert them: target.astype(np.int64)."
            )
        if target.shape != samples:
            raise ValueError(
                f"{owner} takes one class index per sample, shape {samples}; got {target.shape}. "
                "One-hot rows become indices by target.argmax(axis=0)."
            )
        if target.size and not (target.min() >= 0 and target.max() < classes):
            at = tuple(int(i) for i in np.argwhere((target < 0) | (target >= classes))[0])
            raise ValueError(
                f"{owner} takes class indices from 0 to {classes - 1}, one for each output row; got {target[at]} at {at}. "
                "Labels that start at 1 need a subtraction; more classes need a wider last layer."
            )

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return rng.integers(0, shape[0], shape[1:])

    def elsewhere(self, target: Any, classes: int) -> Any:
        return (target + 1) % classes
