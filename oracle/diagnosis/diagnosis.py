"""The diagnosis of a failing gradient: where, what it looks like, and advice in words."""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from manualbp import Trace
from oracle.case import Case, Spec, SpecError
from oracle.diagnosis.evidence import Evidence, Slot
from oracle.diagnosis.hypotheses import looks
from oracle.diagnosis.location import Location, infer, locate
from oracle.diagnosis.matching import Search
from oracle.diagnosis.regions import region
from oracle.formulas import formula
from oracle.inputs import repeat_command
from oracle.roundoff import Scales


class Part(NamedTuple):
    """One mistake at one layer, or what one array looks like.

    effect says, in the notes' symbols, what is computed and what should be; formula is the right one. `symbol` is the
    quantity that a likeness is about, and empty for a mistake of the catalogue.
    """

    name: str
    position: int
    explanation: str
    effect: str
    formula: str
    symbol: str = ""


@dataclass(frozen=True)
class Match:
    """What reproduces the candidate's numbers, to so many rounding scales at the worst element.

    `parts` are the mistakes that do it together: one, unless no single one does. Without `whole` they explain what each layer
    returns on autograd's numbers, and end to end there is more.
    """

    parts: tuple[Part, ...]
    sigmas: float
    whole: bool = True

    @property
    def name(self) -> str:
        """All of it in one line."""
        return " and ".join(dict.fromkeys(part.name for part in self.parts))

    @property
    def is_mistake(self) -> bool:
        """True for mistakes of the catalogue, False for a likeness of an array."""
        return all(not part.symbol for part in self.parts)


class Line(NamedTuple):
    """A line of advice and its part in it: title, where, far, what, why, effect, formula, known, repeat."""

    kind: str
    text: str


@dataclass(frozen=True)
class Diagnosis:
    """What can be said about a candidate that is not right.

    location   where it goes wrong
    matches    what reproduces its numbers, best first; several that do so equally are all here. Empty where nothing does
    distances  the quantities that are wrong at the location, with how many rounding scales they are off
    known      what is clear of the wrong numbers where there is no match
    """

    case: Case
    location: Location
    matches: tuple[Match, ...] = ()
    distances: tuple[tuple[str, float], ...] = ()
    formulas: tuple[str, ...] = ()
    known: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        """The layers of the chain and the loss, by position, as a reader calls them."""
        network = self.case.network
        numbered = (f"layer {l}, {layer}" if l else str(layer) for layer, l in zip(network.layers, network.numbers, strict=True))
        return (*numbered, f"the loss, {network.loss}")

    @property
    def wrong(self) -> bool:
        """Whether there is anything to diagnose."""
        return bool(self.location.symbols)

    def lines(self, seed: int | None = 0) -> tuple[Line, ...]:
        """The advice line by line; `seed` is that of the run, for the command that repeats it."""
        return tuple(self._lines(seed))

    def advice(self, seed: int | None = 0) -> str:
        """What a colleague would say: where to look, what it looks like, which formula is meant, how to see it again."""
        indents = {"title": "", "repeat": ""}
        return "\n".join(indents.get(line.kind, "  ") + line.text for line in self.lines(seed))

    def _lines(self, seed: int | None) -> Iterator[Line]:
        if not self.wrong:
            yield Line("title", "Nothing to diagnose: every gradient that is known is right.")
            return
        yield Line("title", self._title())
        yield Line("where", self.location.reason)
        if self.distances:
            off = ", ".join(f"{symbol} by {_sigmas(distance)}" for symbol, distance in self.distances)
            yield Line("far", f"Off: {off}.")
        yield from self._matched()
        name = self.case.name
        if seed is not None:
            with contextlib.suppress(SpecError):
                Spec.parse(name)
                yield Line("repeat", f"To see it again: {repeat_command(name, seed)}")

    def _title(self) -> str:
        places = [self.modules[at] for at in self.location.positions]
        if self.location.assembly:
            return "Every layer is right, the network is not"
        if not self.location.inferred or len(places) == 1:
            symbols = " and ".join(self.location.symbols)
            others = f"; also {'; '.join(places[1:])}" if len(places) > 1 else ""
            return f"{places[0][0].upper()}{places[0][1:]}: {symbols}{others}"
        return f"Between {places[0]} and {places[-1]}"

    def _matched(self) -> Iterator[Line]:
        if not self.matches:
            yield Line("what", "No mistake of the catalogue gives these numbers, and they look like nothing simple.")
        elif len(self.matches) > 1 and self.matches[0].is_mistake:
            yield Line("what", f"{len(self.matches)} explanations have the same effect here:")
        for match in self.matches:
            yield Line("what", f"{self._named(match)}, {fits(match.sigmas)}.")
            for part in dict.fromkeys((part.explanation, part.effect, part.formula) for part in match.parts):
                explanation, effect, formula = part
                yield Line("why", explanation)
                if effect:
                    yield Line("effect", f"computed: {effect}")
                if formula:
                    yield Line("formula", f"the formula: {formula}")
        if not all(match.whole for match in self.matches):
            yield Line("known", "This explains the layers' own rows; end to end there is more that is wrong.")
        for text in self.known:
            yield Line("known", text)
        for text in () if self.matches else self.formulas:
            yield Line("formula", f"the formula: {text}")

    def _named(self, match: Match) -> str:
        """What an array is like; or the mistakes, each with where it is, and one that is made in several layers once."""
        if not match.is_mistake:
            return " and ".join(f"{part.symbol} is {part.name}" for part in match.parts)
        places: dict[str, list[str]] = {}
        for part in match.parts:
            places.setdefault(part.name, []).append(self.modules[part.position])
        return "It matches " + " and ".join(f"'{name}' in {', '.join(where)}" for name, where in places.items())


def fits(sigmas: float) -> str:
    """How well an explanation holds."""
    return "exactly" if sigmas == 0 else f"to {_sigmas(sigmas)}"


def _sigmas(distance: float) -> str:
    if not np.isfinite(distance):
        return "more than can be counted (missing, not finite, or where nothing is rounded)"
    return f"{distance:.3g} sigma"


def diagnose(
    case: Case,
    reference: Trace,
    candidate: Trace,
    layerwise: Trace | None = None,
    scale: Scales | None = None,
    *,
    passed: Collection[str] = (),
    passed_layerwise: Collection[str] = (),
) -> Diagnosis:
    """Say where a candidate goes wrong and which mistake it is.

    `candidate` is its trace end to end; what it does not give is None. `layerwise` is its trace layer by layer on the
    reference's numbers, where there are layers to call; without it the location is inferred. `scale` holds the rounding
    scale of every quantity, and is measured where it is not given. `passed` and `passed_layerwise` are the symbols of what
    differs and is right all the same, end to end and layer by layer: where the referee finds autograd inaccurate.
    """
    if scale is None:
        from oracle.rounding import scales

        scale = scales(case, reference)
    evidence = Evidence(case, reference, candidate, layerwise, scale, passed, passed_layerwise)
    location = locate(evidence)
    if not location.symbols:
        return Diagnosis(case, location)
    found = Search(evidence, location).fits()
    if location.assembly and not found:  # a step that happens to be right on autograd's numbers, and is not on others
        inferred = infer(evidence)
        found = Search(evidence, inferred).inferred()
        location = inferred if found else location
    if location.inferred and not found and (wider := infer(evidence, sums_prove=False)) != location:
        found = Search(evidence, wider).inferred()
        location = wider if found else location
    own = bool(evidence.own) and not (location.assembly or location.inferred)
    distances = evidence.own if own else evidence.distances
    here = [slot for slot in evidence.wrong(distances) if evidence.slots[slot].symbol in location.symbols]
    matches = tuple(
        Match(tuple(Part(m.name, at, m.explanation, m.effect, m.formula) for m, at in fit.planted), fit.sigmas, fit.whole)
        for fit in found
    )
    rules = {slot: f"{evidence.slots[slot].symbol} = {formula(case.network, evidence.slots[slot])}" for slot in here}
    known: tuple[str, ...] = ()
    if not matches:
        matches, known = _likenesses(evidence, rules, own=own)
    off = tuple((evidence.slots[slot].symbol, distances[slot]) for slot in here)
    return Diagnosis(case, location, matches, off, tuple(rules.values()), known)


def _likenesses(evidence: Evidence, rules: dict[Slot, str], *, own: bool) -> tuple[tuple[Match, ...], tuple[str, ...]]:
    """What each wrong array looks like; and which of its elements are wrong, for those that look like nothing."""
    trace = evidence.layerwise if own and evidence.layerwise else evidence.candidate
    matches, known = [], [trace.failure] * bool(trace.failure)
    for slot, rule in rules.items():
        found, wanted, quantity = slot.of(trace), slot.of(evidence.reference), evidence.slots[slot]
        likenesses = looks(evidence, slot, found, wanted, own=own)
        matches += [
            Match((Part(look.name, quantity.position, look.explanation, "", rule, quantity.symbol),), look.sigmas)
            for look in likenesses
        ]
        if not likenesses and (where := region(evidence, slot, found, wanted, own=own)):
            known.append(f"{quantity.symbol}: {where}.")
    return tuple(matches), tuple(known)
