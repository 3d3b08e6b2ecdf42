"""What the check of a module asks at one set of inputs: of the whole with everything inside, and of each submodule alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from oracle.doors.candidates import TorchCandidate
from oracle.doors.pairing import Pairing
from oracle.doors.question import Question, ask
from oracle.doors.replay import Replay
from oracle.doors.session import Session
from oracle.doors.walking import Flat, Seen, Site, Walk
from oracle.doors.whole import Unit, Whole
from oracle.rounding.callables import CallableScales, Of, random_from

#: How names of parameters begin in a module that is flattened.
FLATTENED = "flattened."
#: Elements up to which a submodule is looked at whole when it is diagnosed.
MAX_ELEMENTS = 2**16


@dataclass(frozen=True)
class Posed:
    """Two modules, inputs, and the reference's parameters; `case` names the numbers, `called` the candidate."""

    pair: Pairing
    given: Mapping[str, Tensor]
    params: Mapping[str, Tensor]
    upstreams: int
    seed: int
    timeout: float
    case: str
    called: str

    def checked(self) -> Self:
        """Itself. Raises DoorError where the reference does not take these inputs."""
        _ = self.plain
        return self

    @cached_property
    def plain(self) -> Question:
        """The module as a function of its inputs."""
        inner = {f"{FLATTENED}{name}": value for name, value in self.params.items()}
        return ask(self.case, self.called, Flat(self.pair.reference), self.given, inner, self.upstreams, self.seed)

    @cached_property
    def measured(self) -> Question:
        """The same with the rounding scales that the walk has measured already."""
        found, known = replace(self.plain), self.whole.scales
        same = {of: of._replace(name=of.name.removeprefix(FLATTENED)) for of in found.wanted}
        vars(found)["scales"] = CallableScales(*({of: kind[its] for of, its in same.items()} for kind in known))
        return found

    @cached_property
    def flat(self) -> TorchCandidate:
        """The candidate as such a function."""
        mapping = {f"{FLATTENED}{ours}": f"{FLATTENED}{theirs}" for ours, theirs in self.pair.params.items()}
        return TorchCandidate(Flat(self.pair.candidate), self.called, self.timeout, mapping)

    @property
    def alone(self) -> Session:
        """Both as such functions."""
        return Session(self.flat, self.plain.reference, self.plain.params, self.upstreams, self.seed, MAX_ELEMENTS)

    @cached_property
    def _explored(self) -> tuple[Walk, dict[str, list[Seen]]]:
        """A walk through the reference that knows its sites, and what each call of a submodule was given and made."""
        held = {**self.given, **self.params}
        units = {name: own for name, own, _ in self.pair.units()}
        walk = Walk(self.pair.reference, units, list(held), len(self.given), {name: name for name in self.params})
        with random_from(self.seed):
            sites = walk.explore(*held.values())
        calls = {name: list(seen) for name, seen in walk.seen.items()}
        return replace(walk, names=[*held, *map(str, sites)], sites=sites), calls

    @cached_property
    def whole(self) -> Whole:
        """The question that a walk asks: with a probe, which is 0, at every site."""
        walk, calls = self._explored
        kinds = {name: type(theirs).__name__ for name, _, theirs in self.pair.units()}
        values = {site: calls[site.unit][site.call].outputs[site.part] for site in walk.sites}
        probes = {str(site): torch.zeros_like(value).requires_grad_() for site, value in values.items()}
        return Whole(
            self.case,
            self.called,
            walk,
            {**self.given, **self.params, **probes},
            {},
            tuple((*upstream, *(None for _ in walk.sites)) for upstream in self.plain.upstreams),
            self.seed,
            sites=tuple(walk.sites),
            labels=tuple(f"{site}, {kinds[site.unit]}" for site in walk.sites),
            own=tuple(self.params),
        )

    @cached_property
    def walk(self) -> Walk:
        """The same walk through the candidate."""
        units = {name: theirs for name, _, theirs in self.pair.units()}
        known = self._explored[0]
        return Walk(
            self.pair.candidate, units, known.names, known.inputs, self.pair.params, known.sites, foreign=not self.pair.load
        )

    @cached_property
    def session(self) -> Session:
        """The walks of both."""
        candidate = TorchCandidate(self.walk, self.called, self.timeout)
        return Session(candidate, self.whole.reference, {}, self.upstreams, self.seed, MAX_ELEMENTS)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Every call of a submodule, on the input and upstream gradient that the reference has there."""
        sites = enumerate(self.whole.sites)
        return tuple(self._unit(at, site) for at, site in sites if not site.part)

    def _unit(self, at: int, site: Site) -> Unit:
        label, pair, seen = self.whole.labels[at], self.pair, self._explored[1][site.unit][site.call]
        own, other = pair.reference.get_submodule(site.unit), pair.candidate.get_submodule(pair.theirs(site.unit))
        theirs = len(pair.theirs(site.unit)) + 1
        held = own.named_parameters()
        params = {name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in held}
        inputs = {name: value.clone().requires_grad_() for name, value in Replay.named(seen).items()} | params
        reference = Replay(own, seen, {name: name for name in params})
        mapping = {name: pair.theirs(f"{site.unit}.{name}")[theirs:] for name in params}
        candidate = TorchCandidate(Replay(other, seen, mapping, not pair.load), label, self.timeout)
        parts = [Of("gradient", str(Site(site.unit, site.call, part))) for part in range(len(seen.outputs))]
        upstream = tuple(self.whole.answers[part] for part in parts)
        question = Question(self.case, label, reference, inputs, {}, (upstream,), self.seed)
        session = Session(candidate, reference, {}, 1, self.seed, MAX_ELEMENTS, isinstance(own, torch.nn.RNNBase))
        return Unit(site, session, question, at)
