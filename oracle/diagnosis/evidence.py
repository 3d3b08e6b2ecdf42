"""What is known of a failing gradient: which numbers are right, which are wrong, by how many rounding scales."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manualbp import Network, Quantity, Trace
from oracle.case import Case
from oracle.roundoff import Scales, size, unit_roundoff
from oracle.verdict import TOLERANCE


class Slot(NamedTuple):
    """Where a trace keeps an array: values[at], gradients[at], parameter_gradients[at][name], or the loss."""

    what: str
    at: int
    name: str = ""

    def of(self, trace: Trace) -> Any:
        """The array that a trace has here, or None."""
        if self.what == "parameter":
            held = trace.parameter_gradients
            return held[self.at].get(self.name) if self.at < len(held) else None
        return trace.loss if self.what == "loss" else getattr(trace, self.what)[self.at]


def named_slots(network: Network, held: Sequence[Collection[str]] | None = None) -> dict[Slot, Quantity]:
    """Every place of a trace of this network, in the order of the computation, and what it holds.

    `held` names the parameters of each holder, where that is not what the network says.
    """
    nodes = range(len(network.layers) + 1)
    places = Trace(
        network,
        Slot("loss", len(network.layers)),
        tuple(Slot("values", at) for at in nodes),
        tuple(Slot("gradients", at) for at in nodes),
        tuple({name: Slot("parameter", at, name) for name in own} for at, own in enumerate(held or network.shapes)),
    ).quantities()
    return {slot: quantity for quantity, slot in places.items()}


class State(Enum):
    """What is known of an array."""

    RIGHT = "right"
    WRONG = "wrong"
    UNKNOWN = "unknown"


def apart(found: Any, wanted: Any, unit: Any) -> NDArray[np.float64]:
    """How far each element is from the wanted one, in units; 0 where they are the same, infinity where one is no number.

    NaN is like NaN and like nothing else. Where the unit is 0, what is not the same is infinitely far.
    """
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    with np.errstate(all="ignore"):
        distance = np.abs(found - wanted) / unit
        near = np.isfinite(found) & np.isfinite(wanted)
        distance = np.where(near & (distance >= 0), distance, np.inf)
        return np.where((found == wanted) | (np.isnan(found) & np.isnan(wanted)), 0.0, distance)


def furthest(found: Any, wanted: Any, unit: Any) -> float:
    """The largest of these distances; infinity where an array is missing or has another shape."""
    if found is None or wanted is None or np.shape(found) != np.shape(wanted):
        return np.inf
    return float(apart(found, wanted, unit).max(initial=0.0))


def share_of(sigma: Any, wanted: Any, dtype: np.dtype[Any]) -> float:
    """The largest rounding scale of an array as a share of its largest number; a unit roundoff at least."""
    largest = size(wanted)
    return max(size(sigma) / largest if largest else 0.0, unit_roundoff(dtype))


def unit_of(predicted: Any, sigma: Any, wanted: Any, share: float) -> NDArray[np.float64]:
    """The rounding scale of an array that a mistake makes in place of the one wanted, element by element.

    Such an array is rounded as the right one is, relative to its size: the scale is that of the element, and at least the
    right one's share of the largest number predicted. An element that is exactly 0 in both is no rounding's work and has to be
    met.
    """
    unit = np.full(np.shape(predicted), share * size(predicted))
    if np.shape(sigma) != unit.shape:
        return unit
    return np.where((np.asarray(predicted) == 0) & (np.asarray(wanted) == 0), sigma, np.maximum(unit, sigma))


@dataclass(frozen=True)
class Evidence:
    """A candidate beside the reference, end to end and, where `layerwise` is given, layer by layer.

    A parameter gradient that the candidate lacks is wrong, unless it gives none at all; any other array that it lacks is
    unknown. A layer that raised, or that returns only a part layer by layer, lacks what it does not return.

    passed, passed_layerwise   the signs of what differs from autograd and is right all the same: the referee says so
    """

    case: Case
    reference: Trace
    candidate: Trace
    layerwise: Trace | None
    scale: Scales
    passed: Collection[str] = ()
    passed_layerwise: Collection[str] = ()

    @property
    def count(self) -> int:
        """The length of the chain: the position of the loss."""
        return len(self.case.network.layers)

    @property
    def allowed(self) -> float:
        """How many rounding scales an element may be off."""
        return TOLERANCE

    @cached_property
    def slots(self) -> dict[Slot, Quantity]:
        """Everything the reference gives and has a scale for, in the order of the computation."""
        held = self.reference.parameter_gradients
        slots = named_slots(self.case.network, held)
        return {slot: quantity for slot, quantity in slots.items() if quantity in self.scale.through}

    @cached_property
    def flows(self) -> tuple[tuple[Slot, ...], ...]:
        """By position, what its backward step returns: the gradients of its parameters, and the one that flows on."""
        found: list[list[Slot]] = [[] for _ in range(self.count + 1)]
        for slot, quantity in self.slots.items():
            if quantity.is_gradient:
                found[quantity.position].append(slot)
        return tuple(map(tuple, found))

    def sigma(self, slot: Slot, *, own: bool = False) -> NDArray[np.float64]:
        """The rounding scale of the reference's array, from end to end or of the layer's own doing."""
        return np.asarray((self.scale.own if own else self.scale.through)[self.slots[slot]], np.float64)

    @cached_property
    def _shares(self) -> dict[tuple[Slot, bool], float]:
        """By slot, what `share_of` says."""
        return {
            (slot, own): share_of(self.sigma(slot, own=own), slot.of(self.reference), self.case.dtype)
            for slot in self.slots
            for own in (False, True)
        }

    def unit(self, slot: Slot, predicted: Any, *, own: bool = False) -> NDArray[np.float64]:
        """The rounding scale of an array that a mistake makes in place of the reference's, see `unit_of`."""
        return unit_of(predicted, self.sigma(slot, own=own), slot.of(self.reference), self._shares[slot, own])

    def reproduced(self, slot: Slot, found: Any, predicted: Any, *, own: bool = False) -> float:
        """How far what was found is from what a mistake predicts, in rounding scales; infinity for another shape.

        Infinity too where it is wrong and the prediction is right: that explains nothing.
        """
        if found is None or predicted is None or np.shape(found) != np.shape(predicted):
            return 0.0 if found is None and predicted is None else np.inf
        distance = furthest(found, predicted, self.unit(slot, predicted, own=own))
        wrong = not (self.own if own else self.distances).get(slot, 0.0) <= self.allowed
        if wrong and distance <= self.allowed:
            right = furthest(predicted, slot.of(self.reference), self.sigma(slot, own=own)) <= self.allowed
            return np.inf if right else distance
        return distance

    def _off(self, slot: Slot, trace: Trace, *, own: bool) -> float:
        """How far an array is from the reference's; infinitely where it has another dtype, and not at all where it passed."""
        if self.slots[slot].symbol in (self.passed_layerwise if own else self.passed):
            return 0.0
        found, wanted = slot.of(trace), slot.of(self.reference)
        if found is not None and np.asarray(found).dtype != np.asarray(wanted).dtype:
            return np.inf
        return furthest(found, wanted, self.sigma(slot, own=own))

    @cached_property
    def distances(self) -> dict[Slot, float]:
        """How far the candidate's arrays are from the reference's, end to end; only what is known."""
        gives_any = any(array is not None for own in self.candidate.parameter_gradients for array in own.values())
        return {
            slot: self._off(slot, self.candidate, own=False)
            for slot in self.slots
            if slot.of(self.candidate) is not None or self.candidate.failure or (slot.what == "parameter" and gives_any)
        }

    @cached_property
    def own(self) -> dict[Slot, float]:
        """The same layer by layer: each layer's own doing. A layer that gives nothing at all was not asked."""
        if self.layerwise is None:
            return {}
        asked = {
            quantity.position
            for slot, quantity in self.slots.items()
            if self.layerwise.failure or slot.of(self.layerwise) is not None
        }
        return {slot: self._off(slot, self.layerwise, own=True) for slot, each in self.slots.items() if each.position in asked}

    def state(self, slot: Slot) -> State:
        """Whether the candidate's array is right, end to end."""
        if slot not in self.distances:
            return State.UNKNOWN
        return State.RIGHT if self.distances[slot] <= self.allowed else State.WRONG

    def shows_right(self, slot: Slot) -> bool:
        """Whether an array is right in a way that tells something: one that is 0 everywhere is so whatever flows back."""
        return self.state(slot) is State.RIGHT and bool(np.any(slot.of(self.reference)))

    def wrong(self, distances: Mapping[Slot, float]) -> list[Slot]:
        """Those that are not within the allowance, in the order of the computation."""
        return [slot for slot, distance in distances.items() if not distance <= self.allowed]

    def symbols(self, slots: "list[Slot] | tuple[Slot, ...]") -> tuple[str, ...]:
        """The notes' signs."""
        return tuple(self.slots[slot].symbol for slot in slots)
