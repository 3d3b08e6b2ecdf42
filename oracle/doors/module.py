"""The door for a module of several submodules: which of them is wrong, and which mistake it is."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from oracle.diagnosis import Line
from oracle.diagnosis.advice import Advice
from oracle.discrepancy import Row
from oracle.doors.advising import advise
from oracle.doors.assembly import explained
from oracle.doors.candidates import Given, give, name_of
from oracle.doors.contract import printed
from oracle.doors.errors import DoorError
from oracle.doors.examine import compared
from oracle.doors.function import cases, chosen, dtype_of, in_dtype
from oracle.doors.keeping import obligations
from oracle.doors.pairing import Pairing
from oracle.doors.posing import FLATTENED, Posed
from oracle.doors.session import checked_numbers, input_names
from oracle.doors.uneven import UNEVEN, uneven
from oracle.doors.walking import Site
from oracle.doors.whole import Unit
from oracle.tables import END_TO_END, table
from oracle.verdict import Verdict

if TYPE_CHECKING:
    from oracle.report import Report


def check_module(
    candidate: torch.nn.Module,
    reference: torch.nn.Module,
    *inputs: Any,
    mapping: Mapping[str, str] | None = None,
    load: bool = True,
    upstreams: int = 1,
    dtype: Any = None,
    seed: int = 0,
    timeout: float = 60.0,
    name: str = "",
) -> "Report":
    """Hold a module against another of the same structure, submodule by submodule.

    End to end, the value and the upstream gradient of every submodule, and the gradient of every parameter and input. Layer by
    layer, each of the candidate's submodules gets the reference's own input and upstream gradient. A submodule that is called
    several times is compared at each call. Those are looked at that have no submodules in the reference, and that the candidate
    calls.

    inputs     tensors, arrays or descriptions such as "4x7", as in `check_function`
    mapping    the candidate's name by the reference's, for submodules or parameters that have another
    load       give the candidate the reference's parameters and buffers; and once more with others in place of those that are
               all equal, which hide mistakes. Both modules are copied, and stay as they are
    upstreams  how many random upstream gradients
    dtype      the dtype of real inputs and of both modules; the reference's own unless given
    timeout    seconds that one call of the candidate may take

    Raises DoorError where the call is wrong; what is wrong with the candidate is in the report.
    """
    from oracle.report import Report

    begin = time.perf_counter()
    checked_numbers(seed, timeout, upstreams=upstreams)
    kind, called = chosen(dtype), name or name_of(candidate)
    pair = Pairing.of(in_dtype(candidate, kind), in_dtype(reference, kind), mapping, load=load)
    names = input_names(len(inputs), pair.reference, pair.candidate)
    usual = dtype_of(pair.reference)
    rows: list[Row] = []
    advice: dict[str, Advice] = {}
    drawn = [(pair, label, given) for label, given in cases(inputs, names, (), None, kind, usual, seed, pair.held)]
    drawn[1:1] = _uneven(*drawn[0], seed)
    for number, (paired, label, given) in enumerate(drawn):
        try:
            posed = Posed(paired, given, paired.held, upstreams, seed, timeout, f"{called}/{label}", called)
            door = _Door(posed.checked())
        except DoorError:
            if number == 0:
                raise
            continue
        rows += door.rows
        if any(Verdict(row.verdict).fails for row in door.rows):
            said = door.advice
            advice.setdefault(said.location, said)
        if door.given.outcome.late:
            break
    seconds = time.perf_counter() - begin
    return Report(
        table(rows), diagnoses=tuple(advice.values()), seed=seed, seconds=seconds, command=f"oracle.check_module of {called}"
    )


def _uneven(
    pair: Pairing, label: str, given: Mapping[str, torch.Tensor], seed: int
) -> list[tuple[Pairing, str, dict[str, torch.Tensor]]]:
    """A case once more with other numbers in place of those that are all equal, if there are any."""
    other = pair.uneven(seed) if pair.load else None
    numbers = uneven({name: value for name, value in given.items() if value.requires_grad}, seed)
    return [(other or pair, f"{label}, {UNEVEN}", {**given, **numbers})] if other or numbers else []


@dataclass(frozen=True)
class _Door:
    """What the candidate gives at one set of inputs."""

    posed: Posed

    @cached_property
    def given(self) -> Given:
        return self.posed.session.give(self.posed.whole)

    @cached_property
    def rows(self) -> list[Row]:
        """End to end in the order of the computation, then layer by layer, then the contract."""
        whole = self.posed.whole
        through = {row.symbol: row for row in compared(whole, self.given)}
        claimed = [of for way in whole.order for of in way if self._reaches(whole.site_of(of))]
        ordered = [through[whole.quantity(of).symbol] for of in claimed]
        return [*ordered, *(row for unit in self.units for row in unit.rows), *self._duties]

    def _reaches(self, site: Site | None) -> bool:
        """Whether the candidate calls this submodule so often; one that does without it claims nothing there."""
        return site is None or bool(self.given.failure) or len(self.posed.walk.seen.get(site.unit, ())) > site.call

    @property
    def units(self) -> list[Unit]:
        """The calls of submodules that the candidate makes."""
        return [unit for unit in self.posed.units if self._reaches(unit.site)]

    @cached_property
    def _duties(self) -> list[Row]:
        """What the module owes besides its numbers, as a function of its inputs."""
        said = list(printed(self.posed.whole.case, self.given.outcome, module=self.posed.called))
        if self.given.failure:
            return said
        candidate, question = self.posed.flat, self.posed.measured
        given = give(candidate, question.inputs, question.params, question.upstreams, question.seed)
        found = obligations(candidate, question, given)
        return [row._replace(note=row.note.replace(FLATTENED, "")) for row in found]

    @property
    def advice(self) -> Advice:
        """The submodules that are wrong by themselves, or what is wrong between them."""
        case = self.posed.whole.case
        if self.given.failure:
            title = f"{self.posed.called}: {self.given.failure}"
            return Advice(case, title, False, (), (Line("title", title),))
        failing = [unit for unit in self.units if unit.fails]
        forward = [unit for unit in failing if unit.forward]
        chosen = forward or failing[::-1]
        if chosen:
            return self._own(chosen)
        through = [row for row in self.rows if row.comparison == END_TO_END]
        if not self.units:
            plain = self.posed.measured
            given = give(self.posed.flat, plain.inputs, plain.params, plain.upstreams, plain.seed)
            return _as_it_is(advise(self.posed.alone, plain, given, [*compared(plain, given), *self._duties]))
        if any(Verdict(row.verdict).fails for row in through):
            lines, matches = explained(self.posed.whole, self.given.values, through, self.units, self.posed.walk.seen)
            return Advice(case, lines[0].text, True, tuple(matches), tuple(lines))
        notes = [Line("known", f"{row.symbol}: {row.note}") for row in self.rows if Verdict(row.verdict).fails]
        title = "The gradients are right, and something else is not"
        return Advice(case, title, False, (), (Line("title", title), *notes))

    def _own(self, units: Sequence[Unit]) -> Advice:
        """The first of them in full, the others by what is wrong and what it is."""
        lines: list[Line] = []
        matches: list[dict[str, Any]] = []
        for unit in units:
            said = advise(unit.session, unit.question, unit.given, [*unit.compared, *unit.changed], example=not lines)
            if not lines:
                words = [Line(*line) for line in said.lines]
                what = "input" if unit.forward else "input and upstream gradient"
                where = f"Given the reference's own {what}, it returns something else: the fault is its own."
                lines = [words[0], Line("where", where), *words[1:]]
            else:
                names = ", ".join(f"'{match['name']}'" for match in said.matches)
                lines.append(Line("known", f"Also {said.location}{f': {names}' * bool(names)}."))
            matches += [{**match, "position": unit.at, "match": len(matches) + match["match"]} for match in said.matches]
        return Advice(self.posed.whole.case, lines[0].text, False, tuple(matches), tuple(lines))


def _as_it_is(advice: Advice) -> Advice:
    """The advice on a module that was flattened, with the names that it has."""
    lines = tuple((kind, text.replace(FLATTENED, "")) for kind, text in advice.lines)
    own = (
        {name: value.replace(FLATTENED, "") if isinstance(value, str) else value for name, value in each.items()}
        for each in advice.matches
    )
    return replace(advice, location=lines[0][1], lines=lines, matches=tuple(own))
