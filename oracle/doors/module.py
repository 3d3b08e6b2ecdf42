"""The door for a module of several submodules: which of them is wrong, and which mistake it is."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from oracle.diagnosis import Line
from oracle.discrepancy import Row
from oracle.doors.advising import advise
from oracle.doors.assembly import explained
from oracle.doors.candidates import Given, TorchCandidate, name_of
from oracle.doors.contract import duty
from oracle.doors.errors import DoorError
from oracle.doors.examine import compared
from oracle.doors.function import cases, chosen
from oracle.doors.guard import SETTINGS
from oracle.doors.pairing import Pairing
from oracle.doors.question import Question, ask
from oracle.doors.replay import Replay
from oracle.doors.session import Session, checked_numbers, input_names
from oracle.doors.walking import Site, Walk
from oracle.doors.whole import Unit, Whole
from oracle.rounding.callables import Of
from oracle.sweep import Advice
from oracle.tables import END_TO_END, table
from oracle.verdict import Verdict

if TYPE_CHECKING:
    from oracle.report import Report

#: Elements up to which a submodule is looked at whole when it is diagnosed.
MAX_ELEMENTS = 2**16


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
    several times is compared at each call; those are looked at that have no submodules in the reference.

    inputs     tensors, arrays or descriptions such as "4x7", as in `check_function`
    mapping    the candidate's name by the reference's, for submodules or parameters that have another
    load       give the candidate the reference's parameters and buffers. Both modules are copied, and stay as they are
    upstreams  how many random upstream gradients
    dtype      the dtype of real inputs that are described
    timeout    seconds that one call of the candidate may take

    Raises DoorError where the call is wrong; what is wrong with the candidate is in the report.
    """
    from oracle.report import Report

    begin = time.perf_counter()
    checked_numbers(upstreams, timeout, 1)
    pair = Pairing.of(candidate, reference, mapping, load=load)
    called = name or name_of(candidate)
    kind = next((str(value.dtype).removeprefix("torch.") for value in pair.reference.parameters()), "float32")
    params = {
        name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in pair.reference.named_parameters()
    }
    names = input_names(len(inputs), pair.reference, pair.candidate)
    rows: list[Row] = []
    advice: dict[str, Advice] = {}
    for number, (label, given) in enumerate(cases(inputs, names, (), None, chosen(dtype), kind, seed, params)):
        try:
            door = _Door.of(pair, given, params, upstreams, seed, timeout, f"{called}/{label}", called)
        except DoorError:
            if number == 0:
                raise
            continue
        rows += door.rows
        if any(Verdict(row.verdict).fails for row in door.rows):
            said = door.advice
            advice.setdefault(said.location, said)
    seconds = time.perf_counter() - begin
    return Report(
        table(rows), diagnoses=tuple(advice.values()), seed=seed, seconds=seconds, command=f"oracle.check_module of {called}"
    )


@dataclass(frozen=True)
class _Door:
    """One set of inputs: the whole, and every call of a submodule."""

    whole: Whole
    session: Session
    units: tuple[Unit, ...]
    walk: Walk

    @classmethod
    def of(
        cls,
        pair: Pairing,
        given: Mapping[str, Tensor],
        params: Mapping[str, Tensor],
        upstreams: int,
        seed: int,
        timeout: float,
        case: str,
        called: str,
    ) -> "_Door":
        """Walk through the reference once. Raises DoorError where it does not take these inputs."""
        matched = list(pair.units())
        held, names = {**given, **params}, {name: name for name in params}
        walk = Walk(pair.reference, {name: own for name, own, _ in matched}, list(held), len(given), names)
        asked = ask(case, called, walk, held, {}, upstreams, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sites = walk.explore(*held.values())
        calls = {name: list(seen) for name, seen in walk.seen.items()}
        probes = {str(site): torch.zeros_like(calls[site.unit][site.call].outputs[site.part]).requires_grad_() for site in sites}
        held |= probes
        theirs = {name: other for name, _, other in matched}
        labels = tuple(f"{site}, {type(theirs[site.unit]).__name__}" for site in sites)
        whole = Whole(
            case,
            called,
            replace(walk, names=list(held), sites=sites),
            held,
            {},
            tuple((*upstream, *(None for _ in sites)) for upstream in asked.upstreams),
            seed,
            sites=sites,
            labels=labels,
            own=tuple(params),
        )
        foreign = not pair.load
        other = Walk(pair.candidate, theirs, list(held), len(given), pair.params, sites, foreign)
        candidate = TorchCandidate(other, called, timeout)
        door = cls(whole, Session(candidate, whole.reference, {}, upstreams, seed, MAX_ELEMENTS), (), other)
        units = tuple(
            door._unit(pair, at, site, calls[site.unit][site.call], timeout) for at, site in enumerate(sites) if not site.part
        )
        return replace(door, units=units)

    def _unit(self, pair: Pairing, at: int, site: Site, seen: Any, timeout: float) -> Unit:
        """A submodule on the input and upstream gradient that the reference has there."""
        own, other = pair.reference.get_submodule(site.unit), pair.candidate.get_submodule(pair.theirs(site.unit))
        params = {name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in own.named_parameters()}
        prefix = len(pair.theirs(site.unit)) + 1 if site.unit else 0
        mapping = {name: pair.theirs(f"{site.unit}.{name}" if site.unit else name)[prefix:] for name in params}
        inputs = {name: value.clone().requires_grad_() for name, value in Replay.named(seen).items()} | params
        reference = Replay(own, seen, {name: name for name in params})
        candidate = TorchCandidate(Replay(other, seen, mapping, not pair.load), self.whole.labels[at], timeout)
        session = Session(candidate, reference, {}, 1, self.whole.seed, MAX_ELEMENTS)
        parts = [str(Site(site.unit, site.call, part)) for part in range(len(seen.outputs))]
        upstream = tuple(self.whole.answers[Of("gradient", part)] for part in parts)
        return Unit(
            site,
            session,
            Question(self.whole.case, self.whole.labels[at], reference, inputs, {}, (upstream,), self.whole.seed),
            at,
        )

    @cached_property
    def given(self) -> Given:
        return self.session.give(self.whole)

    @cached_property
    def rows(self) -> list[Row]:
        """End to end in the order of the computation, then layer by layer, then the contract."""
        through = {row.symbol: row for row in compared(self.whole, self.given)}
        ordered = [through[self.whole.quantity(of).symbol] for way in self.whole.order for of in way]
        return [*ordered, *(row for unit in self.units for row in unit.rows), *self._duties()]

    def _duties(self) -> Iterator[Row]:
        if self.given.failure:
            return
        case, module = self.whole.case, self.whole.module
        again = self.session.give(self.whole)
        fix = "a second call with the same numbers gives something else: is something kept from the first, or random?"
        pairs = [
            (self.given.values[of], again.values.get(of), self.whole.scales.sigma[of])
            for of in self.given.values
            if of in self.whole.wanted
        ]
        known = [
            (a, b, np.broadcast_to(s, a.shape))
            for a, b, s in pairs
            if a is not None and b is not None and s.shape == a.shape == b.shape
        ]
        if known:
            once, twice, sigma = (np.concatenate([np.ravel(each) for each in of]) for of in zip(*known, strict=True))
            yield duty(case, "called twice", twice, once, again.failure or fix, scale=sigma, module=module)
        changed = np.array([float(name in self.given.outcome.changed) for name in SETTINGS])
        yield duty(case, "settings unchanged", changed, np.zeros_like(changed), self.given.outcome.notes, module=module)

    @property
    def advice(self) -> Advice:
        """The submodules that are wrong by themselves, or what is wrong between them."""
        case = self.whole.case
        if self.given.failure:
            return Advice(case, self.given.failure, False, (), (Line("title", self.given.failure),))
        failing = [unit for unit in self.units if unit.fails]
        forward = [unit for unit in failing if unit.forward]
        chosen = forward or failing[::-1]
        if chosen:
            return self._own(chosen)
        through = [row for row in self.rows if row.comparison == END_TO_END]
        if any(Verdict(row.verdict).fails for row in through):
            lines, matches = explained(self.whole, self.given.values, through, self.units, self.walk.seen)
            return Advice(case, lines[0].text, True, tuple(matches), tuple(lines))
        notes = [Line("known", f"{row.symbol}: {row.note}") for row in self.rows if Verdict(row.verdict).fails]
        title = "The gradients are right, and something else is not"
        return Advice(case, title, False, (), (Line("title", title), *notes))

    def _own(self, units: Sequence[Unit]) -> Advice:
        """The first of them in full, the others by what is wrong and what it is."""
        lines: list[Line] = []
        matches: list[dict[str, Any]] = []
        for unit in units:
            said = advise(unit.session, unit.question, unit.compared, example=not lines)
            if not lines:
                words = [Line(*line) for line in said.lines]
                what = "input" if unit.forward else "input and upstream gradient"
                where = f"Given the reference's own {what}, it returns something else: the fault is its own."
                lines = [words[0], Line("where", where), *words[1:]]
            else:
                names = ", ".join(f"'{match['name']}'" for match in said.matches)
                lines.append(Line("known", f"Also {said.location}{f': {names}' * bool(names)}."))
            matches += [{**match, "position": unit.at, "match": len(matches) + match["match"]} for match in said.matches]
        return Advice(self.whole.case, lines[0].text, False, tuple(matches), tuple(lines))
