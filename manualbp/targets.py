"""The kinds of targets that are not simply numbers from an interval: labels, signs, probabilities, sequences, none."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp.domains import REALS, UNIT, Domain, check_form, first_index

Array = NDArray[Any]


def check_integers(target: Array, kind: str, owner: object) -> None:
    """Raise TypeError unless the target holds integers."""
    if target.dtype.kind not in "iu":
        raise TypeError(f"{owner} takes integer {kind}; got dtype {target.dtype}. Convert them: target.astype(np.int64).")


@dataclass(frozen=True)
class ClassIndices(Domain):
    """Integer labels 0 .. n-1, one per sample, for a loss whose input has n rows; `ignore_index` is allowed besides."""

    ignore_index: int | None = None

    def __str__(self) -> str:
        return "class indices"

    def check(self, target: Array, shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        classes, samples = shape[0], shape[1:]
        check_integers(target, "class indices", owner)
        if target.shape != samples:
            raise ValueError(
                f"{owner} takes one class index per sample, shape {samples}; got {target.shape}. "
                "One-hot rows become indices by target.argmax(axis=0)."
            )
        outside = (target < 0) | (target >= classes)
        if not np.count_nonzero(outside):  # takes a quarter of the time of `any`
            return
        outside &= target != self.ignore_index
        if outside.any():
            at = first_index(outside)
            raise ValueError(
                f"{owner} takes class indices from 0 to {classes - 1}, one for each output row; got {target[at]} at {at}. "
                "Labels that start at 1 need a subtraction; more classes need a wider last layer."
            )

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        drawn = rng.integers(0, shape[0], shape[1:])
        if self.ignore_index is not None and drawn.size > 1:  # one sample that counts, one that does not
            flat = drawn.reshape(-1)
            flat[rng.integers(1, flat.size)] = self.ignore_index
            flat[0] = (self.ignore_index + 1) % shape[0]
        return drawn

    def elsewhere(self, target: Any, classes: int) -> Any:
        ignored = target == (-100 if self.ignore_index is None else self.ignore_index)
        return target * ignored + (target + 1) % classes * ~ignored


@dataclass(frozen=True)
class Probabilities(Domain):
    """Numbers from 0 to 1 that add up to 1 over the features; with `log`, their logarithms. As in torch, no sum is refused."""

    log: bool = False

    def __str__(self) -> str:
        return "log-probabilities" if self.log else "probabilities"

    def check(self, target: Array, shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        (REALS if self.log else UNIT).check(target, shape, dtype, owner)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        drawn = rng.gamma(1.0, size=shape)
        drawn /= drawn.sum(axis=0, keepdims=True)
        return (np.log(drawn) if self.log else drawn).astype(dtype)

    def elsewhere(self, target: Any, classes: int) -> Any:
        return target - 1 if self.log else 1 - target


@dataclass(frozen=True)
class ClassTargets(Domain):
    """What cross entropy takes: class indices, or, as floating-point numbers, the probability of every class.

    With an `ignore_index` from 0 on, torch takes indices only.
    """

    ignore_index: int = -100

    def __str__(self) -> str:
        return "class indices or class probabilities"

    @cached_property
    def kinds(self) -> tuple[Domain, ...]:
        """The two kinds of target, or the one."""
        indices = ClassIndices(self.ignore_index)
        return (indices,) if self.ignore_index >= 0 else (indices, Probabilities())

    def check(self, target: Array, shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        shared = target.dtype == dtype and target.shape == shape
        if shared and self.ignore_index >= 0:
            raise TypeError(
                f"{owner} takes class indices; got probabilities, dtype {dtype}. An ignore_index from 0 on needs indices."
            )
        self.kinds[-1 if shared else 0].check(target, shape, dtype, owner)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return self.kinds[rng.integers(len(self.kinds))].sample(rng, shape, dtype)

    def elsewhere(self, target: Any, classes: int) -> Any:
        kind = self.kinds[0] if "int" in str(target.dtype) else self.kinds[-1]
        return kind.elsewhere(target, classes)


@dataclass(frozen=True)
class Signs(Domain):
    """1 or -1 in the network's dtype, one per element, or one per sample."""

    per_sample: bool = False

    def __str__(self) -> str:
        return "1 or -1"

    def check(self, target: Array, shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        check_form(target, shape[1:] if self.per_sample else shape, dtype, owner)
        other = np.abs(target) != 1
        if other.any():
            at = first_index(other)
            raise ValueError(f"{owner} takes the targets 1 and -1; got {target[at]} at {at}. Map 0 to -1: 2 * target - 1.")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return (2 * rng.integers(0, 2, shape[1:] if self.per_sample else shape) - 1).astype(dtype)

    def elsewhere(self, target: Any, classes: int) -> Any:
        return -target


@dataclass(frozen=True)
class LabelSets(Domain):
    """The set of a sample's labels: different class indices from the top of its column on, closed by -1, then anything."""

    def __str__(self) -> str:
        return "sets of class indices"

    def check(self, target: Array, shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        check_integers(target, "class indices", owner)
        if target.shape != shape:
            raise ValueError(
                f"{owner} takes a column of class indices per sample, shape {shape}, filled up with -1; got {target.shape}."
            )
        outside = (target < -1) | (target >= shape[0])
        if outside.any():
            at = first_index(outside)
            raise ValueError(
                f"{owner} takes class indices from 0 to {shape[0] - 1}, and -1 behind them; got {target[at]} at {at}."
            )

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        labels = rng.permuted(np.broadcast_to(np.arange(shape[0])[:, None], (shape[0], shape[-1])), axis=0)
        lengths = rng.integers(0, shape[0] + 1, shape[-1])
        return np.where(np.arange(shape[0])[:, None] < lengths, labels, -1)

    def elsewhere(self, target: Any, classes: int) -> Any:
        listed = target >= 0
        return (target + 1) % classes * listed - 1 * ~listed


@dataclass(frozen=True)
class Sequences(Domain):
    """Label sequences for CTC, one per sample, as one integer array (2 + S, m).

    The first row holds the number of time steps of each sample's input, the second the length of its label sequence, the
    rows below the labels, filled up to S with anything. Labels are class indices other than `blank`.
    """

    blank: int = 0

    def __str__(self) -> str:
        return "label sequences"

    def check(self, target: Array, shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        classes, steps, samples = shape
        if self.blank >= classes:
            raise ValueError(f"{owner} takes a blank that is one of the {classes} classes; got {self.blank}.")
        check_integers(target, "label sequences", owner)
        if target.ndim != 2 or target.shape[0] < 2 or target.shape[1] != samples:
            raise ValueError(
                f"{owner} takes a target (2 + S, {samples}): input lengths, label lengths, then the labels; got {target.shape}."
            )
        input_lengths, lengths, labels = target[0], target[1], target[2:]
        for name, given, limit in (("input lengths", input_lengths, steps), ("label lengths", lengths, len(labels))):
            if given.size and not (given.min() >= 0 and given.max() <= limit):
                raise ValueError(f"{owner} takes {name} from 0 to {limit}; got {given.tolist()}.")
        used = np.arange(len(labels))[:, None] < lengths
        wrong = used & ((labels < 0) | (labels >= classes) | (labels == self.blank))
        if wrong.any():
            at = first_index(wrong)
            raise ValueError(
                f"{owner} takes labels from 0 to {classes - 1} other than the blank, {self.blank}; got {labels[at]} at {at}."
            )

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        classes, steps, samples = shape
        longest = (steps + 1) // 2 if classes > 1 else 0  # so that a blank finds room between any two labels
        labels = rng.integers(0, max(classes - 1, 1), (longest, samples))
        labels += labels >= self.blank
        lengths = rng.integers(0, longest + 1, samples)
        input_lengths = rng.integers(np.maximum(2 * lengths - 1, (steps + 1) // 2), steps + 1)
        return np.vstack([input_lengths, lengths, labels])

    def elsewhere(self, target: Any, classes: int) -> Any:
        return target


@dataclass(frozen=True)
class NoTarget(Domain):
    """For a loss that compares its inputs with each other: an empty array stands for the target."""

    def __str__(self) -> str:
        return "no target"

    def check(self, target: Array, shape: tuple[int, ...], dtype: np.dtype[Any], owner: object) -> None:
        if target.size:
            raise ValueError(f"{owner} takes no target, np.empty(0); got one of shape {target.shape}.")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        return np.empty(0, dtype)

    def elsewhere(self, target: Any, classes: int) -> Any:
        return target
