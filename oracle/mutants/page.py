"""The detection power as a page and as Markdown, from the same counts through two templates."""

import math
from collections import Counter
from typing import Any, NamedTuple

from oracle.case import DTYPES
from oracle.mistakes import Mistake
from oracle.mutants.comparison import CASES, FINAL, MOST, ORACLE
from oracle.mutants.detection import Detection, by_family, percent
from oracle.mutants.picture import KEYS, STYLE, picture
from oracle.mutants.smallest import NETWORK
from oracle.mutants.trial import Outcome
from oracle.report.environment import environment

#: Trials of one list on the page; the rest is in summary.json.
SHOWN = 40


class Tally(NamedTuple):
    """A mistake, or all, with how many trials had each outcome."""

    mistake: Mistake
    outcomes: Counter[str]

    @property
    def planted(self) -> int:
        return self.outcomes.total()

    @property
    def visible(self) -> int:
        return self.planted - self.outcomes[Outcome.EQUIVALENT]

    @property
    def found(self) -> int:
        return self.visible - self.outcomes[Outcome.MISSED]


def tallies(detection: Detection) -> dict[str, list[Tally]]:
    """What became of each mistake that was planted, by family."""
    outcomes: dict[str, Counter[str]] = {}
    for trial in detection.trials:
        outcomes.setdefault(trial.mistake, Counter())[trial.outcome] += 1
    found = {
        family: [Tally(mistake, outcomes[mistake.name]) for mistake in mistakes if mistake.name in outcomes]
        for family, mistakes in by_family().items()
    }
    return {family: rows for family, rows in found.items() if rows}


def eps(value: float) -> str:
    """A power of two as a person reads it."""
    return f"{value:.1e}" if math.isfinite(value) else "∞"


def times(ratio: float) -> str:
    """How many times as long, with two digits."""
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def render(detection: Detection, template: str) -> str:
    """Fill a template; everything that comes from a case is escaped in HTML."""
    lists: dict[str, list[dict[str, Any]]] = {
        outcome: detection.listed(detection.which(outcome)) for outcome in (Outcome.MISSED, Outcome.MISNAMED, Outcome.UNMATCHED)
    }
    return (
        environment(percent=percent, eps=eps, times=times)
        .get_template(template)
        .render(
            detection=detection,
            counts=detection.counts,
            dtypes=[dtype for dtype in DTYPES if dtype in detection.dtypes],
            summary=detection.summary(),
            tallies=tallies(detection),
            lists=lists,
            shown=SHOWN,
            tools=list(dict.fromkeys(line.tool for line in detection.comparison)),
            lines={(line.tool, line.dtype): line for line in detection.comparison},
            ours=(ORACLE, FINAL),
            sample={"cases": CASES, "most": MOST},
            network=NETWORK.format("DTYPE"),
            style=STYLE,
            keys=KEYS,
            picture=picture,
        )
        .rstrip()
        + "\n"
    )
