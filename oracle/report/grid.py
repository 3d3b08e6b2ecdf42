"""The two pictures that every form of a report draws: activation by loss, and layer by quantity."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from oracle.data import without_step
from oracle.report.parts import ALONE
from oracle.tables import CONTRACT, END_TO_END, LAYERWISE
from oracle.verdict import TOLERANCE, Verdict

if TYPE_CHECKING:
    from oracle.report.model import Report

#: What a cell says beside its number, so that nobody needs to see colours.
MARKS = {
    Verdict.AGREE: "",
    Verdict.REFERENCE: "†",
    Verdict.KINK: "∧",
    Verdict.DIFFER: "✗",
    Verdict.NONFINITE: "∞",
    Verdict.MISSING: "∅",
}
#: The upper ends of the shades, in sigmas; beyond the last it fails.
SHADES = (0.0, 1.0, 2.0, 4.0, 8.0, TOLERANCE)
_QUANTITIES = ("z", "a", "loss", "dC/da", "delta", "dC/dW", "dC/db", "dC/dx")
#: So many quantities have columns of their own; where there are more, parameters of other names share one.
MOST_QUANTITIES = 12
OTHERS = "others"
_ORDER = [verdict.value for verdict in Verdict]


class Cell(NamedTuple):
    """The worst of some rows.

    sigmas   how far the worst element is off, among the failing rows where there are any, else among those that agree; NaN where
             there is no number, infinite where a row fails without one
    verdict  the worst verdict
    """

    sigmas: float
    verdict: str
    fails: bool
    rows: int

    @property
    def mark(self) -> str:
        return MARKS[Verdict(self.verdict)]

    @property
    def shade(self) -> str:
        """The name of its shade: 0 to 5, `fails`, or `none` where there is no number."""
        if self.fails:
            return "fails"
        return str(int(np.searchsorted(SHADES, self.sigmas))) if self.sigmas == self.sigmas else "none"

    @property
    def shown(self) -> str:
        """What the cell holds: number and mark."""
        return f"{self.text}{self.mark}" or "="  # the same on both sides, and no number

    @property
    def text(self) -> str:
        """The sigmas in two or three characters; nothing where there are none."""
        if not np.isfinite(self.sigmas):
            return ""
        if self.sigmas >= 100:
            return f"{self.sigmas:.0e}".replace("e+0", "e").replace("e+", "e")
        return f"{self.sigmas:.0f}" if self.sigmas >= 9.95 or self.sigmas == 0 else f"{self.sigmas:.1f}"

    @property
    def told(self) -> str:
        """The cell in words."""
        number = f"{self.sigmas:.3g} sigmas" if np.isfinite(self.sigmas) else "no number"
        return f"{self.verdict}, {number}, {self.rows:,} comparisons"


#: Nothing was compared.
NO_CELL = Cell(np.nan, Verdict.AGREE, False, 0)


@dataclass(frozen=True)
class Grid:
    """Cells by row and column, both in the order to show."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]

    def __bool__(self) -> bool:
        return bool(self.cells)


def _judged(report: "Report", table: pd.DataFrame) -> pd.DataFrame:
    """For each row what `_cells` takes the worst of."""
    verdict = table["verdict"].astype(str)
    fails, sigmas = verdict.isin(report.fails), table["sigmas"].astype(float)
    return pd.DataFrame(
        {
            "failing": sigmas.fillna(np.inf).where(fails),
            "agreeing": sigmas.where(verdict == Verdict.AGREE),
            "fails": fails,
            "rank": verdict.map({name: rank for rank, name in enumerate(_ORDER)}).astype(int),
            "rows": 1,
        },
        index=table.index,
    )


_WORST = {"failing": "max", "agreeing": "max", "fails": "max", "rank": "max", "rows": "sum"}


def _cells(judged: pd.DataFrame, by: list[pd.Series]) -> dict[tuple[str, str], Cell]:
    found = judged.groupby(by, observed=True, sort=False).agg(_WORST)
    sigmas = found["failing"].where(found["fails"], found["agreeing"])
    columns = (sigmas.tolist(), found["rank"].tolist(), found["fails"].tolist(), found["rows"].tolist())
    return {
        (str(row), str(column)): Cell(off, _ORDER[rank], fails, rows)
        for (row, column), off, rank, fails, rows in zip(found.index, *columns, strict=True)
    }


def _shown(names: Iterable[str]) -> tuple[str, ...]:
    """In alphabetical order; what stands alone comes last."""
    return tuple(sorted(set(names), key=lambda name: (name == ALONE, name.lower())))


def activation_by_loss(report: "Report") -> Grid:
    """The worst of all networks that contain the activation and end in the loss, and of records alone."""
    judged = _judged(report, report.table)
    by_case = judged.groupby(report.table["case"], observed=True, sort=False).agg(_WORST)
    pairs = [
        (name, activation, found.loss)
        for name in by_case.index
        for found in [report.parts[without_step(name)]]
        for activation in found.activations
    ]
    if not pairs:
        return Grid((), (), {})
    at, activations, losses = zip(*pairs, strict=True)
    worst = by_case.loc[list(at)].reset_index(drop=True)
    cells = _cells(worst, [pd.Series(activations), pd.Series(losses)])
    return Grid(_shown(row for row, _ in cells), _shown(column for _, column in cells), cells)


class Layer(NamedTuple):
    """One row of the second picture: a layer, each quantity end to end and layerwise, and what the two say together.

    key is what the rows of the table are selected by: a position in the chain, or the notes' number of the layer.
    """

    name: str
    key: tuple[str, int]
    cells: dict[tuple[str, str], Cell]

    def view(self, quantity: str, comparison: str) -> dict[str, str]:
        """What shows the rows of a cell, its worst case open."""
        chosen = {} if quantity == OTHERS else {"quantity": quantity}
        return {self.key[0]: str(self.key[1]), **chosen, "comparison": comparison, "open": "worst"}

    def worst(self, comparison: str) -> Cell:
        """The worst cell of a comparison: what fails before what agrees, then by sigmas."""
        cells = [cell for (_, kind), cell in self.cells.items() if kind == comparison]
        return max(cells, key=lambda cell: (cell.fails, np.nan_to_num(cell.sigmas, nan=-1.0)), default=NO_CELL)

    @property
    def reading(self) -> str:
        """Whose fault it is, in two words."""
        own, through = (
            any(cell.fails for (_, kind), cell in self.cells.items() if kind == comparison)
            for comparison in (LAYERWISE, END_TO_END)
        )
        if own:
            return "own fault"
        if not any(kind == LAYERWISE for _, kind in self.cells):
            return "fails" if through else "agrees"
        return "inherited" if through else "agrees"


@dataclass(frozen=True)
class Layers:
    """All layers, in the order of the chain; `comparisons` are the columns that each quantity has."""

    layers: tuple[Layer, ...]
    quantities: tuple[str, ...]
    comparisons: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.layers)


def layer_key(table: pd.DataFrame) -> str:
    """What tells layers apart: the position where every case has the same modules there, else the notes' number."""
    of_layers = table[table["comparison"] != CONTRACT]
    different = (of_layers.groupby("position")["module"].nunique() > 1).any()
    return "layer" if different else "position"


def layer_by_quantity(report: "Report") -> Layers:
    """By position where every case has the same modules there, as in a report of one network; else by the layer's number."""
    comparisons = tuple(kind for kind in (END_TO_END, LAYERWISE) if (report.table["comparison"] == kind).any())
    table = report.table[report.table["comparison"].isin(comparisons)]
    if table.empty:
        return Layers((), (), ())
    key = layer_key(report.table)
    quantity = table["quantity"].astype(str)
    if quantity.nunique() > MOST_QUANTITIES:
        quantity = quantity.where(quantity.isin(_QUANTITIES), OTHERS)
    cells = _cells(_judged(report, table), [table[key], quantity + "\n" + table["comparison"].astype(str)])
    names = {number: f"layer {number}" for number in table[key].unique()}
    if key == "position":
        first = table.drop_duplicates("position")
        names = {row.position: f"{row.layer} {row.module}" for row in first.itertuples()}
    by_layer = tuple(
        Layer(names[number], (key, int(number)), _of_layer(cells, str(number))) for number in sorted(table[key].unique())
    )
    present = set(quantity)
    known = [name for name in _QUANTITIES if name in present]
    return Layers(by_layer, (*known, *sorted(present - set(known))), comparisons)


def _of_layer(cells: dict[tuple[str, str], Cell], number: str) -> dict[tuple[str, str], Cell]:
    """The cells of one layer by quantity and comparison."""
    found = {}
    for (row, column), cell in cells.items():
        if row == number:
            quantity, _, comparison = column.partition("\n")
            found[quantity, comparison] = cell
    return found
