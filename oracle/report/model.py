"""One report: the table of comparisons, the training curves, and how they came to be."""

import json
import math
import platform
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from oracle.case import Spec, SpecError
from oracle.data import without_step
from oracle.discrepancy import NOT_FINITE
from oracle.inputs import repeat_command
from oracle.report.answer import Answer
from oracle.report.parts import Named, Parts, named, parts
from oracle.report.words import answer, reasons, remarks
from oracle.suite import parse
from oracle.tables import CONTRACT, LAYERWISE
from oracle.verdict import TOLERANCE, Verdict

if TYPE_CHECKING:
    from oracle.diagnosis.advice import Advice
    from oracle.github import Annotation
    from oracle.training import Curves

#: Rows with these in common are of one kind.
KIND = ["verdict", "comparison", "position", "module", "quantity"]
PACKAGES = ("torch", "numpy", "ml_dtypes", "python-flint", "pandas", "scikit-learn")


def versions() -> dict[str, str]:
    """What computed this: Python and the packages whose numbers are in the table."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@dataclass(frozen=True, repr=False)
class Report(Answer):
    """What a run found.

    table      one row per comparison of one array; see `oracle.discrepancy.Row` for its columns
    diagnoses  what is wrong with the first cases that fail
    strict     a verdict `kink` fails as well
    """

    #: Whether the files with all rows lie beside its page.
    with_tables: ClassVar[bool] = True

    table: pd.DataFrame
    curves: "Sequence[Curves]" = ()
    diagnoses: "Sequence[Advice]" = ()
    seed: int = 0
    seconds: float = math.nan
    command: str = ""
    jobs: int = 1
    passes: float = math.nan
    strict: bool = False
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def ok(self) -> bool:
        """True when something was compared and everything agrees."""
        return not self.table.empty and self.failing.empty

    @property
    def fails(self) -> set[str]:
        """The verdicts that count as failing."""
        return {verdict.value for verdict in Verdict if verdict.fails or (self.strict and verdict is Verdict.KINK)}

    @property
    def failing(self) -> pd.DataFrame:
        """The failing rows, those furthest outside first; a row without numbers comes before all others."""
        return self._furthest_first(self.fails)

    def _furthest_first(self, verdicts: Collection[str]) -> pd.DataFrame:
        """The rows with one of these verdicts, by how much of the allowance they use."""
        rows = self.table[self.table["verdict"].isin(verdicts)]
        return rows.sort_values("margin", ascending=False, na_position="first", kind="stable")

    @cached_property
    def cases(self) -> list[str]:
        """The names of the cases, in the order they were run; a step of a training belongs to its data case."""
        return list(dict.fromkeys(without_step(name) for name in self.table["case"].unique()))

    @cached_property
    def named(self) -> dict[str, Named | None]:
        """What the name of each case names; None where it is somebody's own."""
        return {name: named(name) for name in self.cases}

    @cached_property
    def specs(self) -> dict[str, Spec]:
        """The drawn networks of the sweep by their case's name."""
        return {name: found for name, found in self.named.items() if isinstance(found, Spec)}

    @cached_property
    def parts(self) -> dict[str, Parts]:
        """What the name of each case says of it."""
        return {name: parts(found) for name, found in self.named.items()}

    @property
    def closest(self) -> pd.DataFrame:
        """The rows that agree and hold numbers, those that use most of their allowance first."""
        agree = self._furthest_first({Verdict.AGREE})
        return agree[agree["margin"].notna()]

    @property
    def settled(self) -> pd.DataFrame:
        """The rows that differ and are no error, one of each kind first: torch is inaccurate, or there is a kink."""
        return _each_kind_first(self._furthest_first({Verdict.REFERENCE, Verdict.KINK} - self.fails))

    @property
    def worst(self) -> dict[str, Any]:
        """The first row that fails; where none does, the one that agrees and uses most of its allowance."""
        rows = self.closest if self.failing.empty else self.failing
        if rows.empty:
            return {}
        row = rows.iloc[0]
        return {str(name): value for name, value in row.items()} | {"repeat": self.repeat(row["case"])}

    def repeat(self, case: str) -> str:
        """The command that runs this case again; empty where it is somebody's own."""
        name = without_step(case)
        try:
            parse(name)
        except SpecError:
            return ""
        return repeat_command(name, self.seed) + " --strict" * self.strict

    def place(self, case: str) -> tuple[str, int]:
        """The file and line that the case is about; an empty name and 0 where it is in none."""
        return "", 0

    def annotations(self) -> "Iterator[Annotation]":
        """What fails, for GitHub Actions."""
        from oracle.report.annotations import annotations

        return annotations(self)

    @property
    def undiagnosed(self) -> int:
        """How many cases fail beyond those that are diagnosed."""
        return len({without_step(name) for name in self.failing["case"].unique()}) - len(self.diagnoses)

    @property
    def not_finite(self) -> int:
        """Rows that agree, but on NaN or infinity in some or all elements: nothing was compared there."""
        return int(self.table["note"].str.endswith(NOT_FINITE).sum())

    @property
    def shown_first(self) -> pd.DataFrame:
        """The failing rows in the order to read: a layer's own faults before what may be inherited, one of each kind first."""
        failing = self.failing
        own = failing["comparison"] == LAYERWISE
        return _each_kind_first(pd.concat([failing[own], failing[~own]]))

    def verdicts(self) -> dict[str, int]:
        """How many rows have each verdict."""
        counts = self.table["verdict"].value_counts()
        return {verdict.value: int(counts.get(verdict.value, 0)) for verdict in Verdict}

    @property
    def training(self) -> dict[str, dict[str, Any]]:
        """By data set: the lowest score and the largest difference of the curves over the dtypes, then each of them."""
        by_data: dict[str, list[Curves]] = {}
        for curves in self.curves:
            by_data.setdefault(curves.data, []).append(curves)
        return {
            name: {
                "steps": found[0].steps,
                "metric": found[0].metric,
                "score": min(curves.score for curves in found),
                "max_loss_difference": max(curves.max_loss_difference for curves in found),
                "dtypes": {curves.dtype: curves.summary() for curves in found},
            }
            for name, found in by_data.items()
        }

    def summary(self) -> dict[str, Any]:
        """The run in one dictionary, ready for JSON: numbers that are not finite are written as text."""
        specs = list(self.specs.values())
        found = {
            "ok": self.ok,
            "answer": answer(self),
            "reasons": reasons(self),
            "remarks": remarks(self.table),
            "command": self.command,
            "versions": self.versions,
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
            "jobs": self.jobs,
            "threads_per_job": 1,
            "tolerance": TOLERANCE,
            "cases": len(self.cases),
            "rows": len(self.table),
            "verdicts": self.verdicts(),
            "not_finite_on_both_sides": self.not_finite,
            "activations": sorted({str(record) for spec in specs for record in (spec.hidden, spec.output)}),
            "losses": sorted({str(spec.loss) for spec in specs}),
            "shapes": list(dict.fromkeys(str(spec.shape) for spec in specs)),
            "dtypes": sorted(self.table["dtype"][self.table["comparison"] != CONTRACT].unique()),
            "worst": self.worst,
            "diagnoses": [
                {
                    "case": advice.case,
                    "location": advice.location,
                    "inferred": advice.inferred,
                    "matches": advice.matches,
                    "repeat": self.repeat(advice.case),
                }
                for advice in self.diagnoses
            ],
            "training": self.training,
        }
        document: dict[str, Any] = readable(found)
        return document

    def to_json(self) -> str:
        return json.dumps(self.summary(), indent=2, allow_nan=False)

    def to_html(self) -> str:
        """A page that needs nothing but itself."""
        from oracle.report.page import render

        return render(self, "report.html.j2")

    def to_markdown(self) -> str:
        from oracle.report.page import render

        return render(self, "report.md.j2")

    def write(self, folder: Path) -> None:
        """Write summary.json, discrepancies.parquet and .csv, report.md and report.html into the folder.

        Each is made under a temporary name; they appear together, when all of them are complete. Raises OutputError where
        the folder, or the disk it is on, does not take them.
        """
        from oracle.files import Batch

        with Batch(folder) as batch:
            batch.text("summary.json", self.to_json() + "\n")
            _save_parquet(self.table, batch.path("discrepancies.parquet"))
            _save_csv(self.table, batch.path("discrepancies.csv"))
            batch.text("report.md", self.to_markdown())
            batch.text("report.html", self.to_html())


def _each_kind_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each kind the first row, and the others after all of those."""
    again = rows.duplicated(KIND)
    return pd.concat([rows[~again], rows[again]])


def _save_parquet(table: pd.DataFrame, path: Path) -> None:
    """Numbers byte by byte, so that neighbouring exponents lie together and compress."""
    numbers = [name for name in table.columns if table[name].dtype.kind == "f"]
    table.to_parquet(
        path,
        index=False,
        compression="zstd",
        compression_level=9,
        use_dictionary=[name for name in table.columns if name not in numbers],
        column_encoding=dict.fromkeys(numbers, "BYTE_STREAM_SPLIT"),
    )


def _save_csv(table: pd.DataFrame, path: Path) -> None:
    """By pyarrow, which takes a fifth of the time that pandas takes."""
    from pyarrow import Table, csv

    csv.write_csv(Table.from_pandas(table, preserve_index=False), path)


def readable(value: Any) -> Any:
    """The same with plain Python types; infinities and NaN, which JSON does not have, as text."""
    if isinstance(value, dict):
        return {str(key): readable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [readable(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
