"""What is asked of a module as a whole, and of each call of a submodule alone."""

from dataclasses import dataclass
from functools import cached_property

from manualbp import Quantity
from oracle.discrepancy import Row
from oracle.doors.candidates import Given
from oracle.doors.duties import unchanged
from oracle.doors.examine import compared
from oracle.doors.question import Question
from oracle.doors.session import Session
from oracle.doors.walking import Site
from oracle.rounding.callables import Of
from oracle.tables import LAYERWISE
from oracle.verdict import Verdict


@dataclass(frozen=True)
class Whole(Question):
    """The question that a walk through all submodules asks.

    Its positions are the sites, and the module as a whole behind them; `labels` is what they are called, `own` the parameters.
    """

    sites: tuple[Site, ...] = ()
    labels: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        return (*self.labels, self.module)

    @property
    def outputs(self) -> int:
        """How many outputs the module itself has."""
        return sum(of.kind == "output" for of in self.answers) - len(self.sites)

    def site_of(self, of: Of) -> Site | None:
        """The site whose value this is, or the gradient that flows back to it; None for anything else."""
        if of.kind == "output":
            at = int(of.name) - self.outputs
            return self.sites[at] if at >= 0 else None
        return next((site for site in self.sites if str(site) == of.name), None)

    @cached_property
    def order(self) -> tuple[list[Of], list[Of]]:
        """Values on the way forward, and gradients on the way back: what flows back to a place, its parameters, the inputs."""
        forward = [of for of in self.answers if of.kind == "output"]
        backward = [of for of in self.answers if of.kind == "gradient"]
        sites = set(map(str, self.sites))

        def back(of: Of) -> tuple[int, int]:
            return -self.quantity(of).position, (of.name not in sites) + (of.name not in sites and of.name not in self.own)

        return sorted(forward, key=lambda of: self.quantity(of).position), sorted(backward, key=back)

    def quantity(self, of: Of) -> Quantity:
        """The site's output, the gradient that flows back to there, a parameter's gradient."""
        count = len(self.sites)
        if of.kind == "output":
            at = int(of.name) - self.outputs
            if at < 0:
                name = "output" + f" {of.name}" * (self.outputs > 1)
                return Quantity(count, count + 1, name, name)
            return Quantity(at, at + 1, "output", str(self.sites[at]))
        way = f", upstream gradient {of.upstream + 1}" * (len(self.upstreams) > 1)
        by_name = {str(site): at for at, site in enumerate(self.sites)}
        if of.name in by_name:
            return Quantity(by_name[of.name], by_name[of.name] + 1, "dC/doutput", f"dC/d {of.name}{way}")
        at = next((at for at, site in enumerate(self.sites) if of.name.startswith(f"{site.unit}.")), 0)
        short = of.name.removeprefix(f"{self.sites[at].unit}.") if of.name in self.own and self.sites else of.name
        return Quantity(at, at + 1, f"dC/d{short}", f"dC/d {of.name}{way}" if of.name in self.own else f"dC/d{of.name}{way}")


@dataclass(frozen=True)
class Unit:
    """One call of a submodule, on the reference's own numbers."""

    site: Site
    session: Session
    question: Question
    at: int

    @cached_property
    def given(self) -> Given:
        return self.session.give(self.question)

    @cached_property
    def compared(self) -> list[Row]:
        return compared(self.question, self.given)

    @cached_property
    def changed(self) -> list[Row]:
        """What it changes in place of what it is given."""
        found = unchanged(self.question.case, self.question.module, self.given.passed)
        return [row for row in found if Verdict(row.verdict).fails]

    @property
    def rows(self) -> list[Row]:
        """Its rows, with its place among all."""
        return [
            row._replace(comparison=LAYERWISE, position=self.at, layer=self.at + 1, symbol=f"{self.site}: {row.symbol}")
            for row in self.compared
        ] + [row._replace(symbol=f"{self.site}: {row.symbol}") for row in self.changed]

    @property
    def fails(self) -> bool:
        return bool(self.changed) or any(Verdict(row.verdict).fails for row in self.compared)

    @property
    def forward(self) -> bool:
        """Whether what it makes is wrong already."""
        return any(Verdict(row.verdict).fails and row.quantity.startswith("output") for row in self.compared)
