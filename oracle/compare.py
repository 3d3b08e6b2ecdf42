"""What changed between two runs: what fails now and did not, what is mended, which margins moved, which rows came and went."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from oracle.case import SpecError
from oracle.report.environment import environment, filled
from oracle.report.grid import MARKS
from oracle.report.model import readable
from oracle.report.text import breakable, clip, markdown_code, markdown_text, short, sigmas
from oracle.verdict import Verdict

TABLE, SUMMARY = "discrepancies.parquet", "summary.json"
#: What tells rows apart, whatever the order they were computed in; and what is compared of them.
IDENTITY = ["case", "comparison", "position", "symbol"]
COMPARED = ["layer", "module", "verdict", "sigmas", "note"]
#: A margin counts as moved when it changed by this factor, and the larger one is a sigma or more: below, rounding alone moves it.
FACTOR, LEAST = 2.0, 1.0
#: Rows of each list in a page, and in JSON.
SHOWN, LISTED = 20, 1000
#: What was computed with: a difference here may explain the others.
CIRCUMSTANCES = ("seed", "tolerance", "versions")


@dataclass(frozen=True)
class Run:
    """One of the two: where it was read from, its table, and its summary where there is one."""

    source: str
    table: pd.DataFrame
    summary: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Run":
        """Read a folder that `oracle run` wrote, or one of its files. Raises SpecError for anything else."""
        folder = path if path.is_dir() else path.parent
        file = folder / TABLE if path.is_dir() or path.name == SUMMARY else path
        rule = f"oracle compare takes two runs, each a folder with {TABLE} or that file itself"
        if not file.is_file():
            raise SpecError(f"{rule}; there is no {file}. A run writes it: oracle run --out DIR.")
        try:
            table = pd.read_parquet(file)
        except (OSError, ValueError) as error:
            raise SpecError(f"{rule}; {file} is no parquet file: {error}") from error
        missing = [name for name in (*IDENTITY, *COMPARED) if name not in table]
        if missing:
            raise SpecError(f"{rule}; {file} has no column {', '.join(missing)}. Was it written by another version?")
        return cls(str(path), table, _summary(folder / SUMMARY))


def _summary(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _identified(table: pd.DataFrame) -> pd.DataFrame:
    """What is compared, by what tells rows apart; the same twice in one table is numbered."""
    rows = table[[*IDENTITY, *COMPARED]].astype(dict.fromkeys(("case", "comparison", "symbol", "module", "verdict"), object))
    return rows.assign(again=rows.groupby(IDENTITY).cumcount()).set_index([*IDENTITY, "again"])


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side. `factor` is by how much a margin has to change to be told; with `strict` a kink fails as well."""

    before: Run
    after: Run
    factor: float = FACTOR
    strict: bool = False

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Every row of either run, with its verdict and sigmas before and after; those of the run that lacks it are missing."""
        sides = (_identified(run.table).add_suffix(f"_{when}") for when, run in (("before", self.before), ("after", self.after)))
        both = next(sides).join(next(sides), how="outer")
        for name in ("layer", "module", "note"):
            both[name] = both[f"{name}_after"].where(both["verdict_after"].notna(), both[f"{name}_before"])
        both = both.reset_index().drop(
            columns=[f"{name}_{when}" for name in ("layer", "module", "note") for when in ("before", "after")]
        )
        fails = [verdict.value for verdict in Verdict if verdict.fails or (self.strict and verdict is Verdict.KINK)]
        for when in ("before", "after"):
            both[f"there_{when}"] = both[f"verdict_{when}"].notna()
            both[f"fails_{when}"] = both[f"verdict_{when}"].isin(fails)
        return both

    @cached_property
    def shared(self) -> int:
        """How many rows are in both."""
        return int((self.rows["there_before"] & self.rows["there_after"]).sum())

    def _those(self, which: "pd.Series[bool]", by: str = "sigmas_after", *, numberless_first: bool = True) -> pd.DataFrame:
        """These rows, the furthest off first; what fails without a number is further off than any."""
        place: Literal["first", "last"] = "first" if numberless_first else "last"
        return self.rows[which].sort_values(by, ascending=False, na_position=place, kind="stable")

    @cached_property
    def new_failures(self) -> pd.DataFrame:
        """What fails now and did not before, or was not there."""
        return self._those(self.rows["fails_after"] & ~self.rows["fails_before"])

    @cached_property
    def mended(self) -> pd.DataFrame:
        """What failed before and is there and does not now."""
        return self._those(self.rows["fails_before"] & self.rows["there_after"] & ~self.rows["fails_after"], "sigmas_before")

    @cached_property
    def failing_still(self) -> pd.DataFrame:
        """What fails in both."""
        return self._those(self.rows["fails_before"] & self.rows["fails_after"])

    @cached_property
    def moved(self) -> pd.DataFrame:
        """What agrees in both, with sigmas that differ by the factor or more; the largest first."""
        agrees = (self.rows["verdict_before"] == Verdict.AGREE) & (self.rows["verdict_after"] == Verdict.AGREE)
        before, after = (self.rows[f"sigmas_{when}"].astype(float) for when in ("before", "after"))
        larger, smaller = before.where(before >= after, after), before.where(before < after, after)
        moved = larger[agrees & (larger >= LEAST) & (larger >= self.factor * smaller)]
        return self.rows.loc[moved.sort_values(ascending=False, kind="stable").index]

    @cached_property
    def judged_otherwise(self) -> pd.DataFrame:
        """What fails in neither, and has another verdict."""
        settled = self.rows["there_before"] & self.rows["there_after"] & ~self.rows["fails_before"] & ~self.rows["fails_after"]
        return self._those(settled & (self.rows["verdict_before"] != self.rows["verdict_after"]))

    @cached_property
    def appeared(self) -> pd.DataFrame:
        return self._those(~self.rows["there_before"], numberless_first=False)

    @cached_property
    def gone(self) -> pd.DataFrame:
        return self._those(~self.rows["there_after"], "sigmas_before", numberless_first=False)

    @property
    def ok(self) -> bool:
        """True when something is in both and nothing fails that did not."""
        return self.shared > 0 and self.new_failures.empty

    @property
    def lists(self) -> dict[str, pd.DataFrame]:
        """What changed, by what it is called."""
        return {
            "new failures": self.new_failures,
            "mended": self.mended,
            "failing in both": self.failing_still,
            "margins moved": self.moved,
            "judged otherwise": self.judged_otherwise,
            "appeared": self.appeared,
            "gone": self.gone,
        }

    @property
    def answer(self) -> str:
        """The result in two sentences."""
        if not self.shared:
            return "The two runs have no row in common: nothing can be said."
        new, rows = len(self.new_failures), f"{self.shared:,} rows are in both"
        first = (
            "Nothing fails that did not fail before"
            if not new
            else f"{new:,} row{'s fail' if new > 1 else ' fails'} that did not before"
        )
        others = [f"{len(found):,} {name}" for name, found in self.lists.items() if name != "new failures" and len(found)]
        return f"{first}; {rows}." + (f" {', '.join(others)}." if others else " Nothing else changed.")

    @property
    def circumstances(self) -> list[str]:
        """What the two runs were made with, where it differs."""
        before, after = ({name: run.summary.get(name) for name in CIRCUMSTANCES} for run in (self.before, self.after))
        flat = [{**(found.pop("versions") or {}), **found} for found in (before, after)]
        names = dict.fromkeys(name for found in flat for name in found)
        return [f"{name} {flat[0].get(name)} → {flat[1].get(name)}" for name in names if flat[0].get(name) != flat[1].get(name)]

    def summary(self) -> dict[str, Any]:
        """All of it ready for JSON; of each list the first rows."""
        columns = [*IDENTITY, "layer", "module", "verdict_before", "verdict_after", "sigmas_before", "sigmas_after", "note"]
        document: dict[str, Any] = readable(
            {
                "ok": self.ok,
                "answer": self.answer,
                "before": self.before.source,
                "after": self.after.source,
                "circumstances": self.circumstances,
                "factor": self.factor,
                "strict": self.strict,
                "rows_in_both": self.shared,
                "counts": {name: len(found) for name, found in self.lists.items()},
                "rows": {name: _listed(found[columns].head(LISTED)) for name, found in self.lists.items()},
            }
        )
        return document

    def to_json(self) -> str:
        return json.dumps(self.summary(), indent=2, allow_nan=False)

    def to_markdown(self) -> str:
        return self._rendered("compare.md.j2")

    def to_html(self) -> str:
        """A page that needs nothing but itself."""
        return self._rendered("compare.html.j2")

    def _rendered(self, template: str) -> str:
        made = environment(
            short=short, sigmas=sigmas, clip=clip, breakable=breakable, text=markdown_text, code=markdown_code
        ).get_template(template)
        marks = {verdict.value: mark for verdict, mark in MARKS.items()}
        return filled(made, {name: found for name, found in self.lists.items() if len(found)}, comparison=self, marks=marks)

    def write(self, folder: Path) -> None:
        """Write compare.json, compare.md and compare.html, all or none. Raises OutputError where the folder cannot be written."""
        from oracle.files import Batch

        with Batch(folder) as batch:
            batch.text("compare.json", self.to_json() + "\n")
            batch.text("compare.md", self.to_markdown())
            batch.text("compare.html", self.to_html())


def _listed(rows: pd.DataFrame) -> Sequence[dict[str, Any]]:
    """The rows in plain types; None where a run lacks them."""
    return [
        {str(name): None if value is None or value != value else value for name, value in row.items()}
        for row in rows.to_dict("records")
    ]
