"""What tests compared, as text that goes from process to process, and as one report."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from oracle.diagnosis.advice import Advice
from oracle.discrepancy import Row
from oracle.report import Report
from oracle.tables import table

if TYPE_CHECKING:
    from oracle.plugin import GradientOracle


@dataclass(frozen=True)
class Gathered(Report):
    """The report on many tests; `tests` holds the id of each case's test."""

    with_tables: ClassVar[bool] = False
    tests: Mapping[str, str] = field(default_factory=dict)

    def repeat(self, case: str) -> str:
        seed = [f"--oracle-seed={self.seed}"] * bool(self.seed)
        return shlex.join(["pytest", self.tests[case], *seed]) if case in self.tests else ""


def packed(oracle: "GradientOracle") -> str:
    """What a test compared, as JSON: the rows and the diagnoses of its checks, their cases named with the test."""
    rows: list[Any] = []
    advice: list[Any] = []
    for number, check in enumerate(oracle.checks, 1):
        prefix = f"{oracle.test}{f' (check {number})' * (number > 1)}: "
        rows += check.report.table.assign(case=[f"{prefix}{case}" for case in check.report.table["case"]]).to_numpy().tolist()
        advice += [
            [f"{prefix}{each.case}", each.location, each.inferred, each.matches, each.lines] for each in check.report.diagnoses
        ]
    return json.dumps({"test": oracle.test, "rows": rows, "advice": advice}, default=lambda number: number.item())


def gathered(packs: Iterable[str], **made: Any) -> Gathered:
    """One report of what tests compared, in the order of their ids."""
    found = sorted(map(json.loads, packs), key=lambda each: each["test"])
    rows = [Row(*row) for each in found for row in each["rows"]]
    advice = [
        Advice(case, location, inferred, tuple(matches), tuple(map(tuple, lines)))
        for each in found
        for case, location, inferred, matches, lines in each["advice"]
    ]
    tests = {row[0]: each["test"] for each in found for row in each["rows"]}
    return Gathered(table(rows), diagnoses=advice, tests=tests, **made)
