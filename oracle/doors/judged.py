"""A candidate for the gradient of a network, called on one case and held against autograd."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from manualbp import Quantity, Trace
from oracle.case import Case
from oracle.check import rows
from oracle.diagnosis import Line, diagnose
from oracle.diagnosis.advice import Advice
from oracle.diagnosis.evidence import Slot, named_slots
from oracle.discrepancy import Row
from oracle.doors import decay, otherwise
from oracle.doors.contract import duty, of_rows, own_scale, printed, told
from oracle.doors.drawing import Setup
from oracle.doors.errors import DoorError
from oracle.doors.forms import as_array
from oracle.doors.guard import SETTINGS, Outcome, guarded
from oracle.doors.reading import Reader
from oracle.rounding import Scales, scales
from oracle.tables import CONTRACT, NOT_READ
from oracle.torch_run import torch_run
from oracle.verdict import Verdict

Candidate = Callable[[Any, Any, Any], Any]
LAID = "It depends on how arrays lie in memory: reshape, ravel or a pointer to the data?"
RETURNS = "return a dictionary W1, b1, ... or a list with a pair for each layer."


class _Read(NamedTuple):
    """What a candidate gives, and the names of other arrays that it returns."""

    arrays: dict[Slot, Any]
    unread: list[str]


@dataclass(frozen=True)
class Judged:
    """One case: the candidate is called on it twice, and held against autograd."""

    candidate: Candidate
    case: Case
    known: Setup
    l2: float
    timeout: float

    @cached_property
    def reader(self) -> Reader:
        return Reader(replace(self.known.form, network=self.case.network))

    @cached_property
    def names(self) -> dict[Slot, Quantity]:
        return named_slots(self.case.network)

    def _arguments(self, reader: Reader | None = None) -> tuple[Any, Any, Any]:
        """Parameters, input and target as the candidate takes them: copies of its own."""
        reader, structure = reader or self.reader, self.known.structure
        params = reader.symbols(self.case.params) if structure is None else copy.deepcopy(structure)
        arrays = (reader.form.data_out(array) for array in (self.case.x, self.case.target))
        return params, *(self.known.handed(which, array) for which, array in enumerate(arrays))

    def _other_form(self) -> str:
        """A form in which the candidate runs and every gradient has its shape, where neither is so in the one that was said."""
        if self.known.x is not None or self.known.params is not None or self.calls[1].late or self._fitting(self.given):
            return ""
        for form in self.reader.form.others():
            reader = Reader(form)
            outcome = guarded(self.candidate, *self._arguments(reader), timeout=self.timeout)
            try:
                found = {} if outcome.error else reader.read(outcome.value)
            except Exception:  # nothing that can be read
                continue
            if self._fitting(found):
                options = ", ".join(f"{name}={value!r}" for name, value in form.beside(self.reader.form).items())
                return f"It fits with {options}: if that is how it takes its arrays, say so."
        return ""

    def _fitting(self, found: dict[Slot, Any]) -> bool:
        """Whether every parameter has a gradient of its shape there."""
        held = enumerate(self.case.params)
        wanted = {Slot("parameter", at, name): array.shape for at, own in held for name, array in own.items()}
        return all(slot in found and found[slot].shape == shape for slot, shape in wanted.items())

    @cached_property
    def calls(self) -> tuple[tuple[Any, Any, Any], Outcome, Outcome]:
        """Two calls with the same numbers: the arguments of the first, as it leaves them, and what came of both."""
        arguments = self._arguments()
        first = self._call(arguments)
        return arguments, first, first if first.error else self._call(self._arguments())

    def _call(self, arguments: tuple[Any, Any, Any]) -> Outcome:
        outcome = guarded(self.candidate, *arguments, timeout=self.timeout)
        try:
            given = self._read(outcome)
        except Exception as raised:  # a structure that holds itself, or arrays that are no array's
            said = f"the candidate returned something that cannot be read: {type(raised).__name__}: {raised}"
            return outcome._replace(value=_Read({}, []), error=str(raised) if isinstance(raised, DoorError) else said)
        if not outcome.error and not given.arrays:
            error = f"the candidate returned {type(outcome.value).__name__} and no gradient in it; {RETURNS}"
            return outcome._replace(value=given, error=error)
        return outcome._replace(value=given)

    def _read(self, outcome: Outcome) -> _Read:
        read = self.reader.read(outcome.value, self.case.dtype).items()
        found = {slot: np.array(array) for slot, array in read}
        loss = Slot("loss", len(self.case.network.layers))
        if loss in found:  # one number has the dtype of whoever writes it down
            found[loss] = found[loss].astype(self.case.dtype)
        return _Read(found, self.reader.unread(outcome.value))

    @property
    def given(self) -> dict[Slot, Any]:
        """The arrays of the first call."""
        found: dict[Slot, Any] = self.calls[1].value.arrays
        return found

    @cached_property
    def trace(self) -> Trace:
        """What the candidate gives, less its L2 term; what it does not give is None."""
        count, given = len(self.case.network.layers), self.given
        trace = Trace(
            self.case.network,
            given.get(Slot("loss", count)),
            tuple(given.get(Slot("values", at)) for at in range(count + 1)),
            tuple(given.get(Slot("gradients", at)) for at in range(count + 1)),
            tuple({name: given.get(Slot("parameter", at, name)) for name in own} for at, own in enumerate(self.case.params)),
            self.calls[1].error,
        )
        return decay.without(trace, self.case, self.l2)

    @cached_property
    def reference(self) -> Trace:
        return torch_run(self.case)

    @cached_property
    def scale(self) -> Scales:
        return decay.widened(scales(self.case, self.reference), self.case, self.reference, self.l2)

    @cached_property
    def rows(self) -> list[Row]:
        """The gradients of all parameters and whatever else the candidate gives; then its duties."""
        return [*self.compared, *self._duties()]

    @cached_property
    def compared(self) -> list[Row]:
        """The gradients of all parameters and whatever else the candidate gives."""
        given = self.given
        claimed = {quantity.symbol for slot, quantity in self.names.items() if slot.what == "parameter" or slot in given}
        return rows(self.case, candidate=self.trace, reference=self.reference, scale=self.scale, claimed=claimed)

    @property
    def other_numbers(self) -> Iterator[Row]:
        """Whether a candidate that is right here is so for other numbers of the same shapes; for who keeps the first ones."""
        given = self.known.x is not None
        if given or self.calls[1].error or any(Verdict(row.verdict).fails for row in self.compared):
            return
        case = self.case
        share = case.dtype.type(0.75)
        params = case.params
        if self.known.params is None:
            params = tuple({name: array * share for name, array in own.items()} for own in params)
        there = replace(self, case=replace(case, params=params, x=case.x * share)).compared
        text = "3/4 of the same numbers do not get the gradient that is theirs: is something kept from the first call?"
        yield of_rows(there, "other numbers", text)

    def _duties(self) -> Iterator[Row]:
        (params, x, y), first, second = self.calls
        name, form = self.case.name, self.reader.form
        yield from printed(name, first)
        if first.value.unread:
            yield told(name, NOT_READ, f"not read, since no parameter has such a name: {', '.join(first.value.unread)}")
        if first.error:
            return
        for what, found, wanted in (
            ("params", self._in_a_row(params), self._in_a_row(self.reader.symbols(self.case.params))),
            ("x", as_array(x), form.data_out(self.case.x)),
            ("y", as_array(y), form.data_out(self.case.target)),
        ):
            yield duty(name, f"{what} unchanged", found, wanted, f"The candidate changes {what} in place; work on a copy.")
        if isinstance(params, Mapping):
            added = sorted(map(str, set(params) - set(self._arguments()[0])))
            text = f"The candidate puts {', '.join(added)} into params; work on a copy."
            yield duty(name, "nothing added to params", np.float64(len(added)), np.float64(0), text)
        yield self._like_the_first("called twice", second, _again)
        laid = self._call(self._in_another_order())
        yield self._like_the_first("another order of memory", laid, lambda *_: LAID)
        changed = np.array([float(setting in first.changed) for setting in SETTINGS])
        yield duty(name, "settings unchanged", changed, 0 * changed, first.notes)

    def _in_a_row(self, params: Any) -> Any:
        """All parameters as one row of numbers; of a structure that has lost some, those that are left."""
        found = self.reader.read(params)
        return np.concatenate([found[slot].ravel() for slot in self.names if slot in found] or [np.empty(0)])

    def _in_another_order(self) -> tuple[Any, Any, Any]:
        """The arguments with their arrays in Fortran's order; parameters that somebody gave as they are."""
        params, x, y = self._arguments()
        if self.known.structure is None:
            params = {name: np.asfortranarray(array) for name, array in params.items()}
        return params, *(np.asfortranarray(each) if isinstance(each, np.ndarray) else each for each in (x, y))

    def _like_the_first(self, what: str, other: Outcome, fix: Callable[[Any, Any], str]) -> Row:
        """Whether another call gives what the first did."""
        slots = list(self.given)
        once, again = (
            np.concatenate([of[slot].ravel() for slot in slots if slot in of] or [np.empty(0)])
            for of in (self.given, other.value.arrays)
        )
        return duty(self.case.name, what, again, once, other.error or fix(once, again), scale=self._sigma(slots))

    def _sigma(self, slots: list[Slot]) -> Any:
        """The rounding scales of these arrays in one row: who adds up in another order each time is right."""
        known = {slot: self.scale.through.get(self.names[slot], 0.0) for slot in slots}
        fitting = {slot: scale if np.shape(scale) == self.given[slot].shape else 0.0 for slot, scale in known.items()}
        own = {slot: own_scale(self.given[slot], scale) for slot, scale in fitting.items()}
        return np.concatenate([np.broadcast_to(scale, self.given[slot].shape).ravel() for slot, scale in own.items()])

    def advice(self, rows: Sequence[Row]) -> Advice:
        """Where it goes wrong and which mistake it is; what it owes besides, as the rows say."""
        hints = [f"{row.symbol}: {row.note}" for row in rows if row.comparison == CONTRACT and Verdict(row.verdict).fails]
        _, first, _ = self.calls
        hints += filter(None, [self._other_form()])
        hints += [] if self._fitting(self.given) else [f"N{row.note[1:]}." for row in rows if row.quantity == NOT_READ]
        if first.error:
            return _plain_advice(self.case.name, first.error, hints)
        passed = {row.symbol for row in rows if not Verdict(row.verdict).fails}
        with np.errstate(all="ignore"):  # what a mistake would have given need not be finite
            known = (self.case, self.reference, self.trace, self.scale)
            found = decay.diagnosed(*known, self.l2) or diagnose(*known[:3], scale=self.scale, passed=passed)
            if not any(match.is_mistake for match in found.matches):
                found = otherwise.diagnosed(*known) or found
        if not found.wrong:
            return _plain_advice(self.case.name, "The gradients are right, and something else is not", hints)
        return Advice.of(self.case.name, found, (*found.lines(None), *(Line("known", hint) for hint in hints)))


def _plain_advice(case: str, title: str, hints: list[str]) -> Advice:
    """Advice where no gradient is wrong in itself: the candidate raised, say."""
    return Advice(case, title, False, (), (Line("title", title), *(Line("known", hint) for hint in hints)))


def _again(once: Any, again: Any) -> str:
    """Why a second call may give something else."""
    if once.shape == again.shape and np.allclose(again, 2 * once):
        return "The second call gives twice the numbers: gradients of the first are still there. Reset them."
    return "A second call with the same numbers gives something else: is something kept from the first, or random?"
