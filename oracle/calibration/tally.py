"""What is kept of many cases: counts and the few rows worth showing, never all rows.

Two tallies add up to the same whatever their order, so that the number of processes does not show.
"""

import math
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manualbp import Linear
from oracle.case import Case
from oracle.discrepancy import Row
from oracle.drawn import Drawn
from oracle.verdict import TOLERANCE, Verdict

#: Where the sigmas of an array are counted: eight bins to each doubling, with the allowance and its half at an edge.
EDGES = (0.0, *(TOLERANCE * 2.0 ** (k / 8) for k in range(-14 * 8, 6 * 8 + 1)), math.inf)
#: In place of a bin: equal to the last bit, and no number at all, as where an array holds no finite one.
EQUAL, NO_NUMBER = -1, -2
#: Rows kept of each dtype and verdict, those with the most sigmas.
LARGEST = 10
#: The gain of a network is read off its weights where there are so many; the spread of a few says little.
ENOUGH_WEIGHTS = 100

#: A row with what orders it: the sigmas, largest first, the number of its network, and its place among that one's rows.
Placed = tuple[float, int, int, Row]


def bin_of(sigmas: float) -> int:
    """The bin [EDGES[i], EDGES[i + 1]) of an array's sigmas; infinitely many are in the last."""
    if math.isnan(sigmas):
        return NO_NUMBER
    return min(bisect_right(EDGES, sigmas) - 1, len(EDGES) - 2) if sigmas else EQUAL


@dataclass
class Tally:
    """Counts of cases, arrays and elements; `counts` has the arrays of each dtype, verdict and bin."""

    cases: int = 0
    elements: int = 0
    counts: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    largest: dict[tuple[str, str], list[Placed]] = field(default_factory=dict)
    alarms: list[Placed] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    records: dict[str, set[str]] = field(default_factory=dict)

    def add_case(self, number: int, case: Case, rows: list[Row]) -> None:
        """Count the rows of the network of this number."""
        self.cases += 1
        for index, row in enumerate(rows):
            self.counts[row.dtype, row.verdict, bin_of(row.sigmas)] += 1
            self.elements += 1 if row.shape == "scalar" else math.prod(map(int, row.shape.split("x")))
            placed = -row.sigmas, number, index, row
            if row.sigmas > 0:
                self._keep((row.dtype, row.verdict), [placed])
            if Verdict(row.verdict).fails:
                self.alarms.append(placed)
        self._met(case)

    def add_error(self, number: int, error: Exception) -> None:
        """Count a network that could not be compared: an alarm, since no case is left out."""
        self.cases += 1
        nothing: Any = [math.nan if kind is float else kind() for kind in Row.__annotations__.values()]
        note = f"{type(error).__name__}: {error}"
        row = Row(*nothing)._replace(case=str(Drawn(number)), verdict=str(Verdict.MISSING), note=note)
        self.alarms.append((math.nan, number, 0, row))

    def add(self, other: "Tally") -> None:
        """Add the counts of other networks."""
        self.cases += other.cases
        self.elements += other.elements
        self.counts += other.counts
        for key, rows in other.largest.items():
            self._keep(key, rows)
        self.alarms = sorted([*self.alarms, *other.alarms], key=lambda placed: placed[1:3])
        for name, limits in other.ranges.items():
            self._reach(name, *limits)
        for kind, names in other.records.items():
            self.records.setdefault(kind, set()).update(names)

    def _keep(self, key: tuple[str, str], rows: list[Placed]) -> None:
        self.largest[key] = sorted([*self.largest.get(key, ()), *rows], key=lambda placed: placed[:3])[:LARGEST]

    def _met(self, case: Case) -> None:
        """Note how deep, wide and strong the network is, and what it is made of."""
        layers = case.network.layers
        linear = [layer for layer in layers if isinstance(layer, Linear)]
        self._reach("depth", len(linear))
        output = case.network.output_shape(case.x.shape)[0] // len(case.network.loss.inputs)
        self._reach("width", *(layer.in_features for layer in linear), output)
        self._reach("batch", case.x.shape[-1])
        self._reach("axes between features and batch", case.x.ndim - 2)
        weights = [own["weight"].astype(np.float64) for layer, own in zip(layers, case.params, strict=False) if layer in linear]
        if sum(weight.size for weight in weights) >= ENOUGH_WEIGHTS:
            scaled = np.concatenate([np.ravel(weight) * np.sqrt(weight.shape[1]) for weight in weights])
            self._reach("gain", float(np.sqrt(np.mean(scaled**2))))
        self.records.setdefault("losses", set()).add(type(case.network.loss).__name__)
        activations = {type(layer).__name__ for layer in layers if not isinstance(layer, Linear)}
        self.records.setdefault("activations", set()).update(activations)

    def _reach(self, name: str, *values: float) -> None:
        """Widen a range to hold these numbers."""
        known = (*self.ranges.get(name, ()), *values)
        self.ranges[name] = min(known), max(known)
