"""Break it: every mistake of the catalogue that can show in a network, planted at each layer, with what the oracle says."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from manualbp.backpropagation import Quantity
from oracle.check import END_TO_END, LAYERWISE
from oracle.diagnosis import Diagnosis, Line, Location
from oracle.discrepancy import Row
from oracle.mistakes import AssemblyMistake, Mistake
from oracle.mutants.trial import Bench, visible
from oracle.verdict import Verdict


class Cell(NamedTuple):
    """One quantity under one comparison: its verdict, and how many rounding scales it is off."""

    verdict: str
    sigmas: float


#: By comparison and symbol, what the comparison gave.
Picture = dict[tuple[str, str], Cell]


@dataclass(frozen=True)
class Broken:
    """One mistake at one layer: the picture of it, and the advice, kind by kind."""

    position: int
    name: str
    picture: Picture
    lines: tuple[Line, ...]

    @property
    def failing(self) -> tuple[int, int]:
        """How many gradients fail end to end, and layerwise."""
        wrong = [comparison for (comparison, _), cell in self.picture.items() if Verdict(cell.verdict).fails]
        return wrong.count(END_TO_END), wrong.count(LAYERWISE)

    @property
    def said(self) -> str:
        """What the oracle takes it for."""
        return " ".join(line.text for line in self.lines if line.kind == "what")


@dataclass(frozen=True)
class Choice:
    """A mistake with all the places where it can be made here."""

    mistake: Mistake
    places: tuple[Broken, ...]


class Breaking:
    """A case and everything that can go wrong in it; each mistake is planted when it is asked for."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @property
    def names(self) -> tuple[str, ...]:
        """The layers of the chain and the loss, by position."""
        return Diagnosis(self.bench.case, Location()).modules

    @property
    def layers(self) -> list[tuple[str, list[str]]]:
        """The loss and the layers on the way back, each with its quantities."""
        found: dict[int, list[str]] = {}
        for quantity in self._gradients:
            found.setdefault(quantity.position, []).append(quantity.symbol)
        return [(self.names[position], found[position]) for position in sorted(found, reverse=True)]

    @property
    def formulas(self) -> list[str]:
        """Every formula that the pictures and the advice are about, each once."""
        symbols = [symbol for _, own in self.layers for symbol in own]
        advised = [
            line.text.removeprefix("the formula: ")
            for choice in self.choices
            for broken in choice.places
            for line in broken.lines
            if line.kind == "formula"
        ]
        return list(dict.fromkeys([*symbols, *advised]))

    @property
    def _gradients(self) -> list[Quantity]:
        return [quantity for quantity in self.bench.reference.quantities() if quantity.is_gradient]

    @cached_property
    def right(self) -> Picture:
        """The picture of the right network."""
        return _picture(self.bench.right)

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """Every mistake that shows in this network, at every place where it does."""
        found: dict[Mistake, list[Broken]] = {}
        for mistake, position in visible(self.bench):
            found.setdefault(mistake, []).append(self.broken(mistake, position))
        return tuple(Choice(mistake, tuple(places)) for mistake, places in found.items())

    def broken(self, mistake: Mistake, position: int) -> Broken:
        """One mistake at one position."""
        bench = self.bench
        with np.errstate(all="ignore"):  # what is wrong may overflow
            candidate = mistake.run(bench.case, position, bench.honest)
            layerwise = mistake.layerwise(bench.case, position, bench.own, bench.reference)
            rows = bench.rows(candidate, layerwise)
            lines = bench.diagnose(candidate, layerwise, rows).lines(None)
        name = "the network as a whole" if isinstance(mistake, AssemblyMistake) else self.names[position]
        return Broken(position, name, {**self.right, **_picture(rows)}, lines)


def _picture(rows: Iterable[Row]) -> Picture:
    return dict(_cells(rows))


def _cells(rows: Iterable[Row]) -> Iterator[tuple[tuple[str, str], Cell]]:
    for row in rows:
        if row.quantity.startswith(("dC/", "delta")):
            yield (row.comparison, row.symbol), Cell(row.verdict, row.sigmas)


__all__ = ["END_TO_END", "LAYERWISE", "Breaking", "Broken", "Cell", "Choice"]
