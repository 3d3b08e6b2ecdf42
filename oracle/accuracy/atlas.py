"""The atlas: what was measured, its summary, and the files it is written to."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from oracle.accuracy.measured import EQUAL, Measured
from oracle.case import DTYPES
from oracle.report.model import readable, versions

#: Places listed where torch is most wrong.
MOST = 10
#: Figures that a record of the JSON does not hold: they are the pictures'.
_HIDDEN = ("slices", "unmeasured")


@dataclass(frozen=True)
class Atlas:
    """What was measured, and how it came to be."""

    found: Sequence[Measured]
    inputs: int
    seed: int = 0
    seconds: float = math.nan
    command: str = ""
    jobs: int = 1
    versions: dict[str, str] = field(
        default_factory=lambda: versions() | {name: version(name) for name in ("python-flint", "ml_dtypes")}
    )

    @cached_property
    def functions(self) -> list[Measured]:
        """The functions the referee knows."""
        return [measured for measured in self.found if not measured.unmeasured]

    @property
    def unmeasured(self) -> list[str]:
        """The names of the others."""
        return list(dict.fromkeys(measured.function for measured in self.found if measured.unmeasured))

    @property
    def ok(self) -> bool:
        """True when something was measured and the criteria hold everywhere."""
        return bool(self.functions) and all(measured.holds for measured in self.functions)

    @property
    def misses(self) -> list[Measured]:
        return [measured for measured in self.functions if not measured.holds]

    @property
    def above(self) -> list[Measured]:
        """Where our worst derivative error is above torch's by more than one ulp."""
        return [measured for measured in self.functions if measured.standing == "above"]

    @cached_property
    def torch_most_wrong(self) -> list[tuple[Measured, str]]:
        """Measured and "value" or "derivative": the largest errors of torch at finite numbers, at most one of each class."""
        found: dict[str, tuple[float, Measured, str]] = {}
        for measured in self.functions:
            for name in ("derivative", "value"):
                error = _at_finite_input(measured, name)
                family = measured.function.partition("(")[0]
                if error > found.get(family, (0.0,))[0]:
                    found[family] = error, measured, name
        ordered = sorted(found.values(), key=lambda entry: -entry[0])
        return [(measured, name) for _, measured, name in ordered[:MOST]]

    def standings(self, dtype: str = "") -> dict[str, int]:
        """On how many functions our worst derivative error is below torch's, equal, above; in one dtype or in all."""
        counts = Counter(measured.standing for measured in self.functions if dtype in ("", measured.dtype))
        return {name: counts[name] for name in ("below", "equal", "above")}

    @property
    def sentence(self) -> str:
        """The summary line."""
        counts = self.standings()
        named = f" ({', '.join(measured.name for measured in self.above)})" if self.above else ""
        return (
            f"Our worst derivative error is below torch's on {counts['below']} of {len(self.functions)} functions (function x "
            f"dtype), equal within {EQUAL:g} ulp on {counts['equal']}, above by more than that on {counts['above']}{named}."
        )

    @property
    def answer(self) -> str:
        """Whether the criteria hold, in a sentence."""
        count = len(self.functions)
        if self.ok:
            return f"By hand, every value and derivative meets the criterion, on all {count} functions (function x dtype)."
        return f"By hand, {len(self.misses)} of {count} functions (function x dtype) miss the criterion."

    def summary(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "answer": self.answer,
            "sentence": self.sentence,
            "functions": len(self.functions),
            **self.standings(),
            "above_by_more_than_one_ulp": [measured.name for measured in self.above],
            "by_dtype": {dtype: self.standings(dtype) for dtype in self.dtypes},
            "unmeasured": self.unmeasured,
            "misses": [measured.name for measured in self.misses],
            "torch_most_wrong": [
                {"function": measured.function, "dtype": measured.dtype, "quantity": name} | measured.where[f"torch_{name}"]
                for measured, name in self.torch_most_wrong
            ],
            "inputs": sum(measured.inputs for measured in self.functions),
            "inputs_per_function": self.inputs,
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
            "jobs": self.jobs,
            "command": self.command,
        }

    @property
    def dtypes(self) -> list[str]:
        return [dtype for dtype in DTYPES if any(measured.dtype == dtype for measured in self.functions)]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary for each function and dtype."""
        names = [each.name for each in fields(Measured) if each.name not in _HIDDEN]
        return [
            {name: getattr(measured, name) for name in names} | {"standing": measured.standing, "holds": measured.holds}
            for measured in self.functions
        ]

    def to_json(self) -> str:
        """{"summary", "functions", "versions"}; numbers that are not finite are written as text."""
        document = {"summary": self.summary(), "functions": self.records(), "versions": self.versions}
        return json.dumps(readable(document), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        out = io.StringIO()
        rows = []
        for record in self.records():
            places = record.pop("where")
            for name, place in places.items():
                record |= {f"{name}_{key}": json.dumps(readable(place[key])) for key in ("input", "truth", "found")}
            rows.append(record)
        header = max((list(row) for row in rows), key=len, default=[])
        writer = csv.DictWriter(out, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def to_markdown(self) -> str:
        from oracle.accuracy.page import render

        return render(self, "accuracy.md.j2")

    def write(self, folder: Path) -> None:
        """Write accuracy.json, .csv, .md, .html, conventions.md and a picture of every function; all of them, or none.

        Raises OutputError where the folder, or the disk it is on, does not take them.
        """
        from oracle.accuracy.page import by_function, file_name, render
        from oracle.accuracy.picture import picture
        from oracle.conventions import conventions, markdown
        from oracle.files import Batch

        with Batch(folder) as batch:
            batch.text("conventions.md", markdown(conventions()))
            batch.text("accuracy.json", self.to_json() + "\n")
            batch.text("accuracy.csv", self.to_csv())
            batch.text("accuracy.md", self.to_markdown())
            batch.text("accuracy.html", render(self, "accuracy.html.j2"))
            for function, measured in by_function(self).items():
                batch.text(file_name(function), picture(function, measured, alone=True))


def _at_finite_input(measured: Measured, name: str) -> float:
    """The worst error of torch's value or derivative; 0 at an infinite input, where we say the same, or when not measured."""
    place = measured.where.get(f"torch_{name}")
    if place is None:
        return 0.0
    given = place["input"]
    inputs = np.array(given.get("column", given.get("z")) if isinstance(given, dict) else given, float)
    error: float = getattr(measured, f"torch_{name}_ulp")
    counts = np.isfinite(inputs).all() and place["ours"] != place["torch"] and not math.isnan(error)
    return error if counts else 0.0
