"""The report on a port's answers: the same as of a run, but for the command that repeats a case."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oracle.report import Report


@dataclass(frozen=True, repr=False)
class AnswersReport(Report):
    """`files` holds the file of each answer, by case; `against` is the folder of the cases, where it is not the standard one.

    unanswered  cases that no file answers: nothing was compared there
    """

    files: Mapping[str, str] = field(default_factory=dict)
    against: str = ""
    unanswered: int = 0

    def repeat(self, case: str) -> str:
        against = ["--against", self.against] if self.against else []
        return shlex.join(["oracle", "vectors", "check", self.files[case], *against])

    def place(self, case: str) -> tuple[str, int]:
        return self.files.get(case, ""), 0

    def summary(self) -> dict[str, Any]:
        return super().summary() | {"unanswered": self.unanswered}
