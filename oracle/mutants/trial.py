"""One case: the runs once, then every mistake planted in it against them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from manualbp import Quantity, Trace
from oracle import check, judge
from oracle.case import Case, Spec
from oracle.diagnosis import Diagnosis, diagnose
from oracle.diagnosis.evidence import Slot, named_slots
from oracle.discrepancy import Row, compare
from oracle.inputs import build
from oracle.manual_run import layerwise_run, manual_run
from oracle.mistakes import AssemblyMistake, Mistake, catalogue
from oracle.mutants.selection import Planting, place
from oracle.rounding import Scales, scales, sides
from oracle.tables import END_TO_END, LAYERWISE, module_names
from oracle.torch_run import torch_run
from oracle.verdict import Verdict


class Outcome(StrEnum):
    """What became of a planted mistake.

    equivalent      it changes nothing here that the dtype can show
    missed          every comparison agrees
    named           found, and the diagnosis names it and no other
    named_in_class  found, and it is among several that the diagnosis names, which have the same effect here
    misnamed        found, and the diagnosis names others
    unmatched       found, and the diagnosis names none
    """

    EQUIVALENT = "equivalent"
    MISSED = "missed"
    NAMED = "named"
    NAMED_IN_CLASS = "named_in_class"
    MISNAMED = "misnamed"
    UNMATCHED = "unmatched"

    @property
    def found(self) -> bool:
        return self not in (Outcome.EQUIVALENT, Outcome.MISSED)


class Trial(NamedTuple):
    """A mistake planted at one position of one case, and what became of it.

    located  the diagnosis gives this position alone, or says that the layers are put together wrongly where that is the mistake
    kink     no row fails, and it was found by the verdict `kink`: another convention
    margin   the largest share of its allowance that an element uses; infinite where something is missing
    answer   what the diagnosis names, where that is not the mistake alone
    """

    mistake: str
    case: str
    dtype: str
    position: int
    place: str
    module: str
    outcome: str
    located: bool = False
    kink: bool = False
    margin: float = float("nan")
    answer: str = ""


@dataclass(frozen=True)
class Bench:
    """Everything about a case that is the same for all mistakes planted in it, computed once."""

    case: Case
    reference: Trace
    scale: Scales
    honest: Trace
    own: Trace

    @classmethod
    def of(cls, case: Case) -> "Bench":
        reference = torch_run(case)
        return cls(case, reference, scales(case, reference), manual_run(case), layerwise_run(case, reference))

    @cached_property
    def _wanted(self) -> Mapping[Quantity, Any]:
        return self.reference.quantities()

    @cached_property
    def _asks(self) -> dict[str, Any]:
        """By comparison: the scale, the referee and the sides of kinks."""
        on_kinks = cache(lambda: sides(self.case, self.reference))
        return {
            END_TO_END: (self.scale.through, judge.end_to_end(self.case), lambda quantity: on_kinks().through[quantity]),
            LAYERWISE: (self.scale.own, judge.layerwise(self.case, self.reference), lambda quantity: on_kinks().own[quantity]),
        }

    @cached_property
    def right(self) -> list[Row]:
        """The comparison of the right candidate, of every array."""
        every = [*self._compared(END_TO_END, self.honest), *self._compared(LAYERWISE, self.own)]
        if all(row.verdict == Verdict.AGREE for row in every):
            return every
        return check.rows(self.case, candidate=self.honest, layerwise=self.own)

    @property
    def alarms(self) -> list[Row]:
        """The rows of the right candidate that fail."""
        return [row for row in self.right if Verdict(row.verdict).fails]

    @cached_property
    def _torch_is_inaccurate(self) -> bool:
        return any(row.verdict == Verdict.REFERENCE for row in self.right)

    @cached_property
    def believed(self) -> Trace:
        """The reference without the arrays in which it is proved inaccurate."""
        wrong = {row.symbol for row in self.right if row.verdict == Verdict.REFERENCE}
        slots = named_slots(self.case.network, self.reference.parameter_gradients)
        kept = {slot: None if quantity.symbol in wrong else slot.of(self.reference) for slot, quantity in slots.items()}
        return replace(
            self.reference,
            gradients=tuple(kept[Slot("gradients", at)] for at in range(len(self.reference.gradients))),
            parameter_gradients=tuple(
                {name: kept[Slot("parameter", at, name)] for name in own}
                for at, own in enumerate(self.reference.parameter_gradients)
            ),
        )

    def rows(self, candidate: Trace, layerwise: Trace) -> list[Row]:
        """`oracle.check.rows` for every array that is not the right candidate's own.

        Where torch is right, with what is the same for all candidates computed once.
        """
        traces = {END_TO_END: (candidate, self.honest), LAYERWISE: (layerwise, self.own)}
        if not self._torch_is_inaccurate:
            return [row for comparison, (trace, known) in traces.items() for row in self._compared(comparison, trace, known)]
        same = {
            (comparison, quantity.symbol)
            for comparison, (trace, known) in traces.items()
            for quantity, array in known.quantities().items()
            if trace.quantities().get(quantity) is array
        }
        every = check.rows(self.case, candidate=candidate, layerwise=layerwise)
        return [row for row in every if (row.comparison, row.symbol) not in same]

    def _compared(self, comparison: str, trace: Trace, right: Trace | None = None) -> Iterator[Row]:
        """The comparison of a trace, without the arrays that are the right one's."""
        given, (scale, referee, on_kinks) = trace.quantities(), self._asks[comparison]
        known = right.quantities() if right else {}
        compared = [each for each in {**self._wanted, **given} if not right or given.get(each) is not known.get(each)]
        return compare(
            self.case.name,
            comparison,
            module_names(self.case.network),
            self.case.dtype,
            {quantity: given[quantity] for quantity in compared if quantity in given},
            {quantity: self._wanted[quantity] for quantity in compared if quantity in self._wanted},
            scale,
            trace.failure or self.reference.failure,
            referee=referee,
            sides=on_kinks,
        )

    def diagnose(self, candidate: Trace, layerwise: Trace | None, rows: Iterable[Row]) -> Diagnosis:
        """The diagnosis, told what the referee has let pass."""
        verdicts = {(row.comparison, row.symbol): row.verdict for row in (*self.right, *rows)}
        passed = {key for key, verdict in verdicts.items() if verdict in (Verdict.AGREE, Verdict.REFERENCE)}
        return diagnose(
            self.case,
            self.reference,
            candidate,
            layerwise,
            self.scale,
            passed={symbol for comparison, symbol in passed if comparison == END_TO_END},
            passed_layerwise={symbol for comparison, symbol in passed if comparison == LAYERWISE} if layerwise else (),
        )


def outcome(mistake: Mistake, position: int, diagnosis: Diagnosis) -> Outcome:
    """Whether a diagnosis names the mistake that was found."""
    answers = [{(part.name, part.position) for part in match.parts} for match in diagnosis.matches if match.is_mistake]
    if not answers:
        return Outcome.UNMATCHED
    if {(mistake.name, position)} not in answers:
        return Outcome.MISNAMED
    return Outcome.NAMED if len(answers) == 1 else Outcome.NAMED_IN_CLASS


def try_one(bench: Bench, mistake: Mistake, position: int) -> Trial:
    """Plant one mistake, compare, and ask for the diagnosis where something is found."""
    case = bench.case
    network = case.network
    names = mistake.name, case.name, str(case.dtype), position, place(network, position), module_names(network)[position]
    if mistake.equivalent(case, position, bench.believed):
        return Trial(*names, Outcome.EQUIVALENT)
    candidate = mistake.run(case, position, bench.honest)
    layerwise = mistake.layerwise(case, position, bench.own, bench.reference)
    rows = bench.rows(candidate, layerwise)
    margin = max((row.margin if row.margin == row.margin else float("inf") for row in rows), default=0.0)
    if all(row.verdict in (Verdict.AGREE, Verdict.REFERENCE) for row in rows):
        return Trial(*names, Outcome.MISSED, margin=margin)
    diagnosis = bench.diagnose(candidate, layerwise, rows)
    became, where = outcome(mistake, position, diagnosis), diagnosis.location
    return Trial(
        *names,
        became,
        located=where.assembly if isinstance(mistake, AssemblyMistake) else where.positions == (position,),
        kink=not any(Verdict(row.verdict).fails for row in rows),
        margin=margin,
        answer="" if became == Outcome.NAMED else "; ".join(dict.fromkeys(match.name for match in diagnosis.matches)),
    )


class Tried(NamedTuple):
    """What one case gave: its trials, how many rows the right candidate has, and those of them that fail."""

    trials: list[Trial]
    dtype: str
    rows: int
    alarms: list[Row]


def try_all(planting: Planting, seed: int) -> Tried:
    """Plant everything that is chosen for one case."""
    bench = Bench.of(build(Spec.parse(planting.case), seed))
    by_name = {mistake.name: mistake for mistake in catalogue()}
    with np.errstate(all="ignore"):  # what is wrong may overflow
        trials = [try_one(bench, by_name[name], position) for name, position in planting.places]
    return Tried(trials, str(bench.case.dtype), len(bench.right), bench.alarms)


def visible(bench: Bench) -> Iterator[tuple[Mistake, int]]:
    """Every mistake that can show in a case, with its positions."""
    for mistake in catalogue():
        for position in mistake.places(bench.case.network):
            if not mistake.equivalent(bench.case, position, bench.believed):
                yield mistake, position
