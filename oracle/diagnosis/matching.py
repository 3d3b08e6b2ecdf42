"""Which mistakes of the catalogue would have produced the candidate's numbers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, islice, permutations, product
from typing import Any, NamedTuple

import numpy as np

from manualbp import Trace
from oracle.diagnosis.evidence import Evidence, Slot, State, furthest
from oracle.diagnosis.location import Location
from oracle.manual_run import manual_run
from oracle.mistakes import catalogue
from oracle.mistakes.mistake import Mistake, StepMistake
from oracle.mistakes.step import Gradients, Step

#: So many equally good combinations are listed.
LISTED = 12
#: A layer that uses so much of its allowance may have a mistake of its own, which shows only further back.
NEARLY = 0.5


class Planted(NamedTuple):
    """A mistake at a position."""

    mistake: Mistake
    position: int


class Fit(NamedTuple):
    """Mistakes that together reproduce the candidate, and to how many rounding scales at the worst element.

    Without `whole` they explain every layer's own rows, and end to end there is more.
    """

    planted: tuple[Planted, ...]
    sigmas: float
    whole: bool = True


class _Start(NamedTuple):
    """A network that is right but for what is planted in it: where one more mistake may begin."""

    trace: Trace
    planted: tuple[Planted, ...] = ()
    sigmas: float = 0.0


class _Followed(NamedTuple):
    """How far a predicted network goes with the candidate: up to the position `departs`, or all the way (None)."""

    trace: Trace
    sigmas: float
    departs: int | None
    confirmed: bool


def together(step: Step, mistakes: Sequence[StepMistake]) -> Gradients:
    """What a step with all these mistakes, or with none, returns, each made on top of the one before.

    A mistake that starts from the right result is given the earlier one's; what only one of them changes is its own.
    """
    right, result = step.right, mistakes[0].wrong(step) if mistakes else step.right
    for mistake in mistakes[1:]:
        again = replace(step)
        vars(again)["right"] = result
        result = _merged(right, result, mistake.wrong(step), mistake.wrong(again))
    return result


def _merged(right: Gradients, earlier: Gradients, alone: Gradients, on_top: Gradients) -> Gradients:
    """By output: the earlier mistake's where the later one alone changes nothing there."""
    gradient = earlier[0] if _equal(alone[0], right[0]) else on_top[0]
    names = dict.fromkeys([*earlier[1], *on_top[1]])
    chosen = {name: (earlier if _equal(alone[1].get(name), right[1].get(name)) else on_top)[1].get(name) for name in names}
    return gradient, {name: array for name, array in chosen.items() if array is not None}


def _equal(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b, equal_nan=True))


@dataclass(frozen=True)
class Search:
    """The catalogue held against the evidence, at the places where the fault can be."""

    evidence: Evidence
    location: Location

    def fits(self) -> list[Fit]:
        """The mistakes that reproduce everything known, best first; two of them where no single one does."""
        if self.location.forward or self.location.assembly:
            found = self._whole()
            if found and self.location.assembly:
                found += self._from(_Start(self._base), self._nearly_outside(), [])
        else:
            found = self.inferred() if self.location.inferred else self._layerwise()
        return sorted(found, key=lambda fit: fit.sigmas)

    def _nearly_outside(self) -> list[int]:
        """Where layers are right by themselves, but so far off that a mistake may hide in what rounding is allowed there."""
        evidence, most = self.evidence, self.evidence.allowed * NEARLY
        found = set()
        for slot in evidence.own:
            given, wanted = (slot.of(trace) for trace in (evidence.layerwise, evidence.reference) if trace)
            if furthest(given, wanted, evidence.sigma(slot, own=True)) > most:
                found.add(evidence.slots[slot].position)
        return sorted(found, reverse=True)

    @cached_property
    def _is_ours(self) -> bool:
        """Whether what is wrong is what manualbp itself computes, which then cannot tell what is right."""
        evidence = self.evidence
        wrong = evidence.wrong(evidence.distances)
        return bool(wrong) and all(_equal(slot.of(self._manual), slot.of(evidence.candidate)) for slot in wrong)

    @cached_property
    def _manual(self) -> Trace:
        return manual_run(self.evidence.case)

    @cached_property
    def _base(self) -> Trace:
        """The right network, with the candidate's own digits wherever they are right."""
        evidence = self.evidence
        right = evidence.reference if self._is_ours or self._manual.failure else self._manual

        def known(what: str) -> tuple[Any, ...]:
            slots = (Slot(what, at) for at in range(evidence.count + 1))
            return tuple(
                slot.of(evidence.candidate if slot in evidence.slots and evidence.state(slot) is State.RIGHT else right)
                for slot in slots
            )

        return replace(right, values=known("values"), gradients=known("gradients"))

    def _step(self, position: int, trace: Trace) -> Step:
        """The step at a position, which knows what lies behind it."""
        behind = (*(None,) * (position + 1), *trace.gradients[position + 1 :])
        step = Step(self.evidence.case, position, trace.values, behind)
        if self._is_ours and (trace is self._base or trace is self.evidence.reference):
            held = trace.parameter_gradients
            vars(step)["right"] = trace.gradients[position], held[position] if position < len(held) else {}
        return step

    @cached_property
    def _catalogue(self) -> tuple[Mistake, ...]:
        return tuple(catalogue())

    @cached_property
    def _by_position(self) -> dict[int, list[StepMistake]]:
        found: dict[int, list[StepMistake]] = {at: [] for at in range(self.evidence.count + 1)}
        for mistake in self._catalogue:
            if isinstance(mistake, StepMistake):
                for at in mistake.places(self.evidence.case.network):
                    found[at].append(mistake)
        return found

    def _whole(self) -> list[Fit]:
        """Mistakes in how the network is put together: each run as a whole."""
        found = []
        for mistake in self._catalogue:
            if isinstance(mistake, StepMistake):
                continue
            for position in mistake.places(self.evidence.case.network):
                sigmas = self._compared(_attempt(lambda m=mistake, at=position: m.run(self.evidence.case, at, self._base)))
                if sigmas <= self.evidence.allowed:
                    found.append(Fit((Planted(mistake, position),), sigmas))
        return found

    def _compared(self, predicted: Trace | None) -> float:
        """How far the candidate is from a predicted trace, in every array that is known."""
        if predicted is None:
            return np.inf
        evidence, worst = self.evidence, 0.0
        for slot in evidence.distances:
            worst = max(worst, evidence.reproduced(slot, slot.of(evidence.candidate), slot.of(predicted)))
            if not worst <= evidence.allowed:
                return np.inf
        return worst

    # Layer by layer: each failing layer explains itself, on the reference's numbers.

    def _layerwise(self) -> list[Fit]:
        """Every failing layer on its own; then whether all of them together give the candidate end to end."""
        each = [self._own(position) for position in self.location.positions]
        if not all(each):
            return []
        found = []
        for chosen in islice(product(*each), LISTED):
            planted = tuple(single for fit in chosen for single in fit.planted)
            worst, end_to_end = max(fit.sigmas for fit in chosen), self._chain(planted)
            whole = end_to_end <= self.evidence.allowed
            found.append(Fit(planted, max(worst, end_to_end) if whole else worst, whole))
        return [fit for fit in found if fit.whole] or found

    def _own(self, position: int) -> list[Fit]:
        """The mistakes with which a layer returns its own rows; two at once where no single one does."""
        known = _Known(self.evidence, position, own=True)
        step = self._step(position, self.evidence.reference)
        returned = self._each(step)
        found = [
            Fit((Planted(mistake, position),), sigmas)
            for mistake, result in returned.items()
            if (sigmas := known.furthest(result)) <= self.evidence.allowed
        ]
        for pair in () if found or self._is_ours else _pairs(step, known, returned):
            result = _returned(step, pair)
            if result and (sigmas := known.furthest(result)) <= self.evidence.allowed:
                found.append(Fit(tuple(Planted(mistake, position) for mistake in pair), sigmas))
        return _without_reversed(found)

    def _each(self, step: Step) -> dict[StepMistake, Gradients]:
        """What a step returns with each mistake that can be made there."""
        found = {mistake: _returned(step, (mistake,)) for mistake in self._by_position[step.position]}
        return {mistake: result for mistake, result in found.items() if result is not None}

    def _chain(self, planted: tuple[Planted, ...]) -> float:
        """How far the candidate is, end to end, from the network with all of these in it."""
        positions = tuple(dict.fromkeys(single.position for single in planted))
        trace, worst = self._base, 0.0
        if any(self.evidence.slots[slot].position > positions[0] for slot in self.evidence.wrong(self.evidence.distances)):
            return np.inf  # something before the first of them is wrong too
        for number, position in enumerate(positions):
            mistakes = tuple(m for m, at in planted if at == position and isinstance(m, StepMistake))
            until = positions[number + 1] if number + 1 < len(positions) else -1
            went = self._follow(trace, position, mistakes, until)
            if went is None or went.departs is not None:
                return np.inf
            trace, worst = went.trace, max(worst, went.sigmas)
        return worst

    # Without layerwise rows: walk back with a mistake planted, for as long as it agrees with what is known.

    def inferred(self) -> list[Fit]:
        """The mistakes at the places where the fault can be; in every layer, or two of them, where no single one fits."""
        start = _Start(self._base)
        partial: list[tuple[_Start, int]] = []
        found = [*self._from(start, self.location.positions, partial), *self._whole()]
        if not found:
            found = self._everywhere(partial)
        if not found and not self._is_ours:  # which would be pairs of what is wrong already
            found = [fit for position in self.location.positions for fit in self._twice(start, position)]
        if not found:
            for begun, departs in partial:
                begins = max(at for _, at in begun.planted)
                found += self._from(begun, self._between(begins, departs), [])
        return found[:LISTED] if found and len(found[0].planted) > 1 else found

    def _between(self, begins: int, departs: int) -> range:
        """Where a second mistake can be: behind the last array that agrees, down to the first that does not."""
        evidence = self.evidence
        agreeing = [at for at in range(departs + 1, begins) if Slot("gradients", at) in evidence.distances]
        used = [at - 1 for at in range(departs + 1, begins) if _param_known(evidence, at)]
        return range(min([begins - 1, *(at - 1 for at in agreeing), *(at + 1 for at in used)]), departs - 1, -1)

    def _from(self, start: _Start, positions: Iterable[int], partial: list[tuple[_Start, int]]) -> list[Fit]:
        """One more mistake at one of these positions; those that fit only for a while go to `partial`."""
        found = []
        for position in positions:
            seen: dict[Any, _Followed | None] = {}
            step = self._step(position, start.trace)
            for mistake, result in self._each(step).items():
                key = _key(result)
                if key not in seen:
                    seen[key] = self._followed(start.trace, step, result)
                went = seen[key]
                if went is None:
                    continue
                planted = (*start.planted, Planted(mistake, position))
                if went.departs is None:
                    found.append(Fit(planted, max(start.sigmas, went.sigmas)))
                elif went.confirmed and len(planted) == 1:
                    partial.append((_Start(went.trace, planted, went.sigmas), went.departs))
        return found

    def _everywhere(self, partial: list[tuple[_Start, int]]) -> list[Fit]:
        """The same mistake in every layer that it can be made in, which is how a wrong formula in a loop looks."""
        found = []
        for begun, _ in partial:
            ((mistake, position),) = begun.planted
            places = sorted((at for at in mistake.places(self.evidence.case.network) if at <= position), reverse=True)
            planted = tuple(Planted(mistake, at) for at in places)
            sigmas = self._chain(planted) if len(places) > 1 else np.inf
            if sigmas <= self.evidence.allowed:
                found.append(Fit(planted, sigmas))
        return found

    def _twice(self, start: _Start, position: int) -> list[Fit]:
        """Two mistakes in one step."""
        step, known = self._step(position, start.trace), _Known(self.evidence, position, own=False)
        found = []
        for pair in _pairs(step, known, self._each(step)):
            result = _returned(step, pair)
            went = self._followed(start.trace, step, result) if result else None
            if went and went.departs is None:
                found.append(Fit(tuple(Planted(mistake, position) for mistake in pair), went.sigmas))
        return _without_reversed(found)

    def _follow(self, trace: Trace, position: int, mistakes: tuple[StepMistake, ...], until: int = -1) -> _Followed | None:
        step = self._step(position, trace)
        result = _returned(step, mistakes)
        return None if result is None else self._followed(trace, step, result, until)

    def _followed(self, trace: Trace, first: Step, result: Gradients, until: int = -1) -> _Followed | None:
        """Walk from a step back to just before `until` with this in place of its result, comparing on the way.

        None where a later step cannot go on from what this one returns.
        """
        evidence, worst, confirmed, departs = self.evidence, 0.0, False, None
        gradients, parameters, position = list(trace.gradients), list(trace.parameter_gradients), first.position
        right = _returned(first, ())
        unchanged = right is not None and _equal(result[0], right[0])
        for at in range(position, until, -1):
            if at < position:
                if unchanged:
                    break
                step = Step(evidence.case, at, trace.values, tuple(gradients))
                again = _attempt(lambda: step.right)  # noqa: B023 # called at once
                if again is None:
                    return None
                result = again
            if not unchanged:
                gradients[at] = result[0]
            if at < len(parameters):
                parameters[at] = result[1]
            if departs is not None:
                continue  # the trace is completed for those who go on from it
            for slot in evidence.flows[at]:
                if slot not in evidence.distances:
                    continue
                distance = evidence.reproduced(slot, slot.of(evidence.candidate), _output(slot, result))
                if distance <= evidence.allowed:
                    worst = max(worst, distance)
                    confirmed = confirmed or evidence.state(slot) is State.WRONG
                else:
                    departs = at
            if departs is not None and not confirmed:
                return None
        predicted = replace(trace, gradients=tuple(gradients), parameter_gradients=tuple(parameters))
        if unchanged and departs is None:
            departs, behind = self._as_before(predicted, position, until)
            worst = max(worst, behind)
        return None if departs is not None and not confirmed else _Followed(predicted, worst, departs, confirmed)

    def _as_before(self, trace: Trace, position: int, until: int) -> tuple[int | None, float]:
        """Where nothing that flows on has changed: whether the rest, as it was predicted before, is the candidate's."""
        evidence, worst = self.evidence, 0.0
        for at in range(position - 1, until, -1):
            for slot in evidence.flows[at]:
                if slot in evidence.distances:
                    distance = evidence.reproduced(slot, slot.of(evidence.candidate), slot.of(trace))
                    if not distance <= evidence.allowed:
                        return at, worst
                    worst = max(worst, distance)
        return None, worst


@dataclass(frozen=True)
class _Known:
    """What is known of the candidate's step at a position, layer by layer or end to end."""

    evidence: Evidence
    position: int
    own: bool

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What the step returns."""
        return self.evidence.flows[self.position]

    @cached_property
    def arrays(self) -> dict[Slot, Any]:
        trace, distances = self.evidence.candidate, self.evidence.distances
        if self.own and self.evidence.layerwise:
            trace, distances = self.evidence.layerwise, self.evidence.own
        return {slot: slot.of(trace) for slot in self.slots if slot in distances}

    def agrees(self, slot: Slot, result: Gradients) -> bool:
        """Whether a result gives this array, as far as is known."""
        return slot not in self.arrays or self._distance(slot, result) <= self.evidence.allowed

    def furthest(self, result: Gradients) -> float:
        """The largest distance of a result from any of them; infinity beyond the allowance."""
        worst = 0.0
        for slot in self.arrays:
            worst = max(worst, self._distance(slot, result))
            if not worst <= self.evidence.allowed:
                return np.inf
        return worst

    def _distance(self, slot: Slot, result: Gradients) -> float:
        return self.evidence.reproduced(slot, self.arrays[slot], _output(slot, result), own=self.own)


def _pairs(step: Step, known: _Known, returned: dict[StepMistake, Gradients]) -> Iterator[tuple[StepMistake, StepMistake]]:
    """The pairs that can fit: an array that only one of them changes is right with it, and they change all that is wrong."""
    right = _attempt(lambda: step.right)
    if right is None:
        return
    wrong = {slot for slot in known.arrays if not known.agrees(slot, right)}
    changes = {
        mistake: {slot for slot in known.slots if not _equal(_output(slot, result), _output(slot, right))}
        for mistake, result in returned.items()
    }
    fitting = {mistake: {slot for slot in changes[mistake] if known.agrees(slot, result)} for mistake, result in returned.items()}
    for one, other in combinations([mistake for mistake, changed in changes.items() if changed], 2):
        both = changes[one] & changes[other]
        either = changes[one] | changes[other]
        if wrong <= either and either - both <= fitting[one] | fitting[other]:
            yield from permutations((one, other)) if both else ((one, other),)


def _param_known(evidence: Evidence, position: int) -> bool:
    return any(slot.what == "parameter" and slot in evidence.distances for slot in evidence.flows[position])


def _attempt(compute: Any) -> Any:
    """The result, or None where the numbers do not go through: a wrong shape, say."""
    try:
        with np.errstate(all="ignore"):
            return compute()
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, ArithmeticError):
        return None


def _returned(step: Step, mistakes: tuple[StepMistake, ...]) -> Gradients | None:
    """What the step with these mistakes, or none, returns, in the case's dtype; None where they cannot be made here."""
    result = _attempt(lambda: together(step, mistakes))
    if result is None or not isinstance(result, tuple):
        return None
    dtype = step.case.dtype
    gradient, parameters = result
    return np.asarray(gradient).astype(dtype), {
        name: np.asarray(own).astype(dtype) for name, own in parameters.items() if own is not None
    }


def _output(slot: Slot, result: Gradients) -> Any:
    return result[1].get(slot.name) if slot.what == "parameter" else result[0]


def _key(result: Gradients) -> Any:
    """Equal for equal results."""
    arrays = {"": result[0]} | result[1]
    return tuple((name, array.shape, array.tobytes()) for name, array in sorted(arrays.items()))


def _without_reversed(fits: list[Fit]) -> list[Fit]:
    """Of two orders of the same mistakes the better one."""
    found: dict[Any, Fit] = {}
    for fit in sorted(fits, key=lambda fit: fit.sigmas):
        found.setdefault(frozenset((mistake.name, at) for mistake, at in fit.planted), fit)
    return list(found.values())
