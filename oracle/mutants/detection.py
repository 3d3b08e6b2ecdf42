"""What was planted and what became of it: counts, summary, and the files it is written to."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from oracle.case import DTYPES, FULL_DTYPES
from oracle.mistakes import FAMILIES, Mistake
from oracle.mutants.comparison import Line, lines
from oracle.mutants.run import Found
from oracle.mutants.selection import repeat_command
from oracle.mutants.smallest import Smallest, smallest
from oracle.mutants.trial import Outcome, Trial
from oracle.report.model import readable, versions
from oracle.verdict import TOLERANCE


@dataclass(frozen=True)
class Detection:
    """A run's result, and how it came to be."""

    found: Found
    seed: int = 0
    seconds: float = math.nan
    command: str = ""
    jobs: int = 1
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def trials(self) -> list[Trial]:
        return self.found.trials

    @property
    def dtypes(self) -> list[str]:
        """The dtypes in which something was planted, widest first."""
        seen = {trial.dtype for trial in self.trials}
        return [dtype for dtype in DTYPES if dtype in seen]

    def which(self, outcome: Outcome) -> list[Trial]:
        """The trials with this outcome."""
        return [trial for trial in self.trials if trial.outcome == outcome]

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """By name of the count and dtype. planted = equivalent + found + missed; found is the sum of the four ways of naming."""

        def per_dtype(holds: Callable[[Trial], bool]) -> dict[str, int]:
            counted = Counter(trial.dtype for trial in self.trials if holds(trial))
            return {dtype: counted[dtype] for dtype in self.dtypes}

        alarms = Counter(row.dtype for row in self.found.alarms)
        return {
            "planted": per_dtype(lambda _: True),
            "equivalent": per_dtype(lambda trial: trial.outcome == Outcome.EQUIVALENT),
            "found": per_dtype(lambda trial: Outcome(trial.outcome).found),
            "missed": per_dtype(lambda trial: trial.outcome == Outcome.MISSED),
            "located": per_dtype(lambda trial: trial.located),
            "kink": per_dtype(lambda trial: trial.kink),
            "named": per_dtype(lambda trial: trial.outcome == Outcome.NAMED),
            "named_in_class": per_dtype(lambda trial: trial.outcome == Outcome.NAMED_IN_CLASS),
            "misnamed": per_dtype(lambda trial: trial.outcome == Outcome.MISNAMED),
            "unmatched": per_dtype(lambda trial: trial.outcome == Outcome.UNMATCHED),
            "correct_rows": {dtype: self.found.rows.get(dtype, 0) for dtype in self.dtypes},
            "false_alarms": {dtype: alarms[dtype] for dtype in self.dtypes},
        }

    def total(self, name: str, dtypes: Iterable[str] = tuple(DTYPES)) -> int:
        """A count over these dtypes, or all."""
        return sum(self.counts[name].get(dtype, 0) for dtype in dtypes)

    @property
    def ok(self) -> bool:
        """True when something was planted, none is missed in float64 and float32, and nothing is misnamed, an alarm or undone."""
        wrong = self.total("missed", FULL_DTYPES) + self.total("misnamed") + len(self.found.alarms) + len(self.found.failures)
        return bool(self.trials) and not wrong

    def share_named(self, dtypes: Iterable[str]) -> float:
        """Of the found in these dtypes, the share that is named, alone or in its class; NaN where none is found."""
        dtypes = tuple(dtypes)
        named = self.total("named", dtypes) + self.total("named_in_class", dtypes)
        return named / found if (found := self.total("found", dtypes)) else math.nan

    @property
    def answer(self) -> str:
        """The result in words."""
        sentences = [
            self._sentence(FULL_DTYPES, "float64 and float32"),
            self._sentence(("float16", "bfloat16"), "half precision"),
        ]
        alarms = len(self.found.alarms)
        rows = sum(self.found.rows.values())
        sentences.append(
            f"On the right candidates {alarms or 'none'} of {rows:,} comparisons {'fail' if alarms != 1 else 'fails'}."
        )
        if failures := len(self.found.failures):
            sentences.append(f"{failures} task{'' if failures == 1 else 's'} could not be finished.")
        return " ".join(filter(None, sentences))

    def _sentence(self, dtypes: tuple[str, ...], name: str) -> str:
        visible = self.total("found", dtypes) + self.total("missed", dtypes)
        if not visible:
            return ""
        missed, misnamed = self.total("missed", dtypes), self.total("misnamed", dtypes)
        found = f"{visible - missed:,} of {visible:,}" if missed else f"all {visible:,}"
        named = f", {percent(self.share_named(dtypes))} of them named, {misnamed or 'none'} misnamed" if visible > missed else ""
        return f"In {name} {found} planted mistakes that can show are found{named}."

    @cached_property
    def comparison(self) -> list[Line]:
        """What the oracle and the other tools find; empty where they were not asked."""
        return lines(self.found.judged)

    @cached_property
    def smallest(self) -> list[Smallest]:
        """The smallest visible error by dtype and kind of element; empty where it was not looked for."""
        return smallest(self.found.probes)

    def never_shown(self, dtype: str) -> list[str]:
        """The mistakes that were planted in a dtype and could show nowhere."""
        shown = {trial.mistake for trial in self.trials if trial.dtype == dtype and trial.outcome != Outcome.EQUIVALENT}
        return list(dict.fromkeys(trial.mistake for trial in self.trials if trial.dtype == dtype and trial.mistake not in shown))

    def listed(self, trials: Iterable[Trial]) -> list[dict[str, Any]]:
        """Trials with what it takes to see them again."""
        return [
            {
                "mistake": trial.mistake,
                "case": trial.case,
                "position": trial.position,
                "module": trial.module,
                "dtype": trial.dtype,
                "margin": trial.margin,
                "answer": trial.answer,
                "command": repeat_command(trial.mistake, trial.case, self.seed),
            }
            for trial in trials
        ]

    def summary(self) -> dict[str, Any]:
        """The run in one dictionary, ready for JSON: numbers that are not finite are written as text."""
        document: dict[str, Any] = readable(
            {
                "ok": self.ok,
                "answer": self.answer,
                **self.counts,
                "missed_list": self.listed(self.which(Outcome.MISSED)),
                "misnamed_list": self.listed(self.which(Outcome.MISNAMED)),
                "unmatched_list": self.listed(self.which(Outcome.UNMATCHED)),
                "mislocated_list": self.listed(each for each in self.trials if Outcome(each.outcome).found and not each.located),
                "false_alarm_list": [row._asdict() for row in self.found.alarms],
                "failures": self.found.failures,
                "never_shown": {dtype: self.never_shown(dtype) for dtype in self.dtypes},
                "mistakes": len({trial.mistake for trial in self.trials}),
                "cases": len({trial.case for trial in self.trials}),
                "comparison": [line._asdict() for line in self.comparison],
                "smallest_visible_error": [line._asdict() for line in self.smallest],
                "tolerance": TOLERANCE,
                "seed": self.seed,
                "seconds": round(self.seconds, 2),
                "jobs": self.jobs,
                "command": self.command,
                "versions": self.versions,
            }
        )
        return document

    def to_json(self) -> str:
        return json.dumps(self.summary(), indent=1, allow_nan=False)

    def table(self) -> pd.DataFrame:
        """One row for each planted mistake; see `oracle.mutants.trial.Trial` for the columns."""
        frame = pd.DataFrame(self.trials, columns=Trial._fields)
        repeated = ["mistake", "case", "dtype", "place", "module", "outcome", "answer"]
        return frame.astype(dict.fromkeys(repeated, "category"))

    def to_markdown(self) -> str:
        from oracle.mutants.page import render

        return render(self, "mutants.md.j2")

    def write(self, folder: Path) -> None:
        """Write summary.json, trials.parquet, mutants.md and mutants.html into the folder: all of them, or none.

        Raises OutputError where the folder, or the disk it is on, does not take them.
        """
        from oracle.files import Batch
        from oracle.mutants.page import render

        with Batch(folder) as batch:
            batch.text("summary.json", self.to_json() + "\n")
            self.table().to_parquet(batch.path("trials.parquet"), index=False, compression="zstd")
            batch.text("mutants.md", self.to_markdown())
            batch.text("mutants.html", render(self, "mutants.html.j2"))


def percent(part: float, whole: float | None = None) -> str:
    """A share, rounded so that only all is 100 % and only none is 0 %."""
    share = part if whole is None else part / whole if whole else math.nan
    if math.isnan(share):
        return "none"
    text = f"{100 * share:.1f}"
    if (text == "100.0") != (share == 1) or (text == "0.0") != (share == 0):
        text = f"{math.floor(1000 * share) / 10:.1f}" if share > 0.5 else "< 0.1"
    return f"{text.removesuffix('.0') if share in (0, 1) else text} %"


def by_family() -> dict[str, tuple[Mistake, ...]]:
    """The mistakes of the catalogue by family."""
    return {family: import_module(f"oracle.mistakes.{family}").MISTAKES for family in FAMILIES}
