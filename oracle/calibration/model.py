"""The calibration: what the counts say of the rounding scale, and the files it is written to."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from oracle.calibration.tally import EDGES, EQUAL, NO_NUMBER, Placed, Tally
from oracle.case import DTYPES
from oracle.discrepancy import Row
from oracle.inputs import repeat_command
from oracle.report.model import readable, versions
from oracle.verdict import TOLERANCE, Verdict

#: A scale fits where the median of the sigmas is in this range, and at least this share of them below half the allowance.
MEDIAN, SHARE = (0.05, 2.0), 0.999
#: The sigmas of these say how far torch is off, or how steep a kink is, not how far rounding reaches.
SETTLED = (Verdict.REFERENCE, Verdict.KINK)

#: Arrays by bin.
Bins = Mapping[int, int]


def quantile(bins: Bins, share: float) -> float:
    """The upper end of the bin where this share of the arrays that have a number is reached; 0 for equal ones, NaN for none."""
    wanted = share * sum(number for at, number in bins.items() if at != NO_NUMBER)
    so_far = 0
    for at in sorted(bins):
        if at == NO_NUMBER:
            continue
        so_far += bins[at]
        if so_far >= wanted and so_far:
            return EDGES[at + 1]
    return math.nan


@dataclass(frozen=True)
class Calibration:
    """What many drawn networks gave, and how it came to be."""

    tally: Tally
    first: int = 0
    seed: int = 0
    seconds: float = math.nan
    command: str = ""
    jobs: int = 1
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def ok(self) -> bool:
        """True when something was compared and nothing raised an alarm."""
        return bool(self.arrays) and not self.alarms

    @property
    def alarms(self) -> list[Row]:
        """Every row that fails, in the order of the networks."""
        return [placed[-1] for placed in self.tally.alarms]

    @property
    def arrays(self) -> int:
        return self.tally.counts.total()

    @property
    def dtypes(self) -> list[str]:
        return [name for name in DTYPES if any(dtype == name for dtype, _, _ in self.tally.counts)]

    def bins(self, dtype: str, *, settled: bool) -> Counter[int]:
        """The arrays of a dtype by bin: those that the scale judges, or those that the referee or a kink settled."""
        found = Counter[int]()
        for (name, verdict, at), number in self.tally.counts.items():
            if name == dtype and (verdict in SETTLED) == settled:
                found[at] += number
        return found

    @cached_property
    def figures(self) -> dict[str, dict[str, Any]]:
        """The figures of each dtype, over the arrays that differ and that the scale judges; and, beside them, over every array.

        An array that is equal to the last bit says nothing of the scale: most of them are, in a half precision.
        """
        return {dtype: self._figures(dtype) for dtype in self.dtypes}

    def _figures(self, dtype: str) -> dict[str, Any]:
        judged, settled = (self.bins(dtype, settled=settled) for settled in (False, True))
        every = judged + settled
        apart = Counter({at: number for at, number in judged.items() if at >= 0})
        found = self._quantiles(apart, self._greatest(dtype, settled=False))
        return {
            "arrays": every.total(),
            "equal": every[EQUAL],
            "apart": apart.total(),
            "settled": settled.total(),
            "without_number": every[NO_NUMBER],
            **found,
            "fits": bool(MEDIAN[0] <= found["median"] <= MEDIAN[1] and found["share_below_half"] >= SHARE),
            "every_array": self._quantiles(every, self._greatest(dtype, settled=True)),
            "histogram": {
                "edges": list(EDGES),
                "counts": [apart[at] for at in range(len(EDGES) - 1)],
                "settled": [settled[at] for at in range(len(EDGES) - 1)],
            },
        }

    def _quantiles(self, bins: Counter[int], greatest: float) -> dict[str, float]:
        numbers = Counter({at: number for at, number in bins.items() if at != NO_NUMBER})
        below = sum(number for at, number in numbers.items() if EDGES[at + 1] <= TOLERANCE / 2)
        shares = {"median": 0.5, "p99": 0.99, "p999": 0.999}
        return {
            **{name: min(quantile(numbers, share), greatest) for name, share in shares.items()},
            "max": greatest if numbers else math.nan,
            "share_below_half": below / numbers.total() if numbers else math.nan,
        }

    def _greatest(self, dtype: str, *, settled: bool) -> float:
        """The most sigmas of any array of a dtype, with or without those that are settled."""
        kept = [
            rows[0][-1].sigmas
            for (name, verdict), rows in self.tally.largest.items()
            if name == dtype and (settled or verdict not in SETTLED)
        ]
        return max(kept, default=0.0)

    def largest(self, dtype: str) -> list[Row]:
        """The arrays that agree with the most sigmas."""
        rows: list[Placed] = self.tally.largest.get((dtype, Verdict.AGREE), [])
        return [placed[-1] for placed in rows]

    def repeat(self, row: Row) -> str:
        """The command that compares the network of this row again."""
        return repeat_command(row.case, self.seed)

    @property
    def verdicts(self) -> dict[str, int]:
        """How many arrays got each verdict."""
        counts = Counter[str]()
        for (_, verdict, _), number in self.tally.counts.items():
            counts[verdict] += number
        return {verdict.value: counts[verdict] for verdict in Verdict}

    @property
    def answer(self) -> str:
        """Whether there was an alarm, in a sentence."""
        what = f"{self.tally.cases:,} correct network{'' if self.tally.cases == 1 else 's'} drawn at random"
        compared = f"{self.arrays:,} arrays with {self.tally.elements:,} elements were compared"
        if self.ok:
            return f"No alarm in {what}: {compared}."
        if not self.alarms:
            return "Nothing was compared."
        cases = len({row.case for row in self.alarms})
        return f"{len(self.alarms):,} false alarm{'' if len(self.alarms) == 1 else 's'} in {cases:,} of {what}: {compared}."

    @property
    def sentence(self) -> str:
        """Whether the scale fits, in a sentence."""
        off = [dtype for dtype, found in self.figures.items() if not found["fits"]]
        low, high = MEDIAN
        rule = f"a median between {low:g} and {high:g} sigmas, and {100 * SHARE:g} % below half of the {TOLERANCE:g} allowed"
        return (
            f"The rounding scale does not fit in {', '.join(off)}: wanted is {rule}."
            if off
            else f"The rounding scale fits: {rule}."
        )

    def summary(self) -> dict[str, Any]:
        """The calibration in one dictionary, ready for JSON: numbers that are not finite are written as text."""
        document: dict[str, Any] = readable(
            {
                "ok": self.ok,
                "answer": self.answer,
                "sentence": self.sentence,
                "command": self.command,
                "versions": self.versions,
                "seed": self.seed,
                "seconds": round(self.seconds, 2),
                "jobs": self.jobs,
                "threads_per_job": 1,
                "first": self.first,
                "cases": self.tally.cases,
                "arrays": self.arrays,
                "elements": self.tally.elements,
                "tolerance": TOLERANCE,
                "verdicts": self.verdicts,
                "alarms": [self.told(row) for row in self.alarms],
                "dtypes": self.figures,
                "largest": {dtype: [self.told(row) for row in self.largest(dtype)] for dtype in self.dtypes},
                "ranges": self.tally.ranges | {kind: sorted(names) for kind, names in self.tally.records.items()},
            }
        )
        return document

    def told(self, row: Row) -> dict[str, Any]:
        """A row with the command that repeats it."""
        return row._asdict() | {"command": self.repeat(row)}

    def to_json(self) -> str:
        return json.dumps(self.summary(), indent=1, allow_nan=False)

    def to_markdown(self) -> str:
        from oracle.calibration.page import render

        return render(self, "calibration.md.j2")

    def write(self, folder: Path) -> None:
        """Write summary.json, calibration.md and calibration.html; all of them, or none.

        Raises OutputError where the folder, or the disk it is on, does not take them.
        """
        from oracle.calibration.page import render
        from oracle.files import Batch

        with Batch(folder) as batch:
            batch.text("summary.json", self.to_json() + "\n")
            batch.text("calibration.md", self.to_markdown())
            batch.text("calibration.html", render(self, "calibration.html.j2"))
