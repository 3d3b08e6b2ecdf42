"""Everything on all cores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from oracle.case import DTYPES, Spec
from oracle.discrepancy import Row
from oracle.mutants.comparison import Judged, judge_all, picks
from oracle.mutants.selection import Planting
from oracle.mutants.smallest import Probe, probe
from oracle.mutants.trial import Trial, Tried, try_all
from oracle.workers import workers


@dataclass
class Found:
    """What was found: every trial, the rows of the right candidates, what all tools say, and the smallest errors seen.

    `failures` says of each task that could not be finished what it was and why.
    """

    trials: list[Trial] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    alarms: list[Row] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


#: A function and its arguments; the function's result says what it is about.
Task = tuple[Callable[..., Any], Any, int]


def tasks(plantings: Sequence[Planting], seed: int, compared: Sequence[Spec] = ()) -> list[Task]:
    """What is to be done, the long ones first: with `compared` the other tools too, and the smallest visible error."""
    beside: list[Task] = [(probe, dtype, seed) for dtype in DTYPES] if compared else []
    beside += [(judge_all, pick, seed) for pick in (picks(compared, seed) if compared else ())]
    return beside + [(try_all, planting, seed) for planting in plantings]


def detect(wanted: Sequence[Task], *, jobs: int = 1, progress: Callable[[int], None] | None = None) -> Found:
    """Do these tasks; `progress` is told each time how many were finished.

    `jobs` is the number of processes, 1 means this one. But for the times the result does not depend on it.
    """
    with workers(jobs) as run:
        return _joined(run(_attempt, wanted, lambda _: progress and progress(1)))


def _attempt(do: Callable[..., Any], given: Any, seed: int) -> Any:
    """The result, or why there is none: the oracle's own trouble with one case is told, and is not the others'."""
    try:
        return do(given, seed)
    except Exception as error:
        about = given.case if isinstance(given, Planting) else str(given)
        return f"{do.__name__}, {about}: {type(error).__name__}: {error}"


def _joined(parts: Sequence[Any]) -> Found:
    found = Found()
    for part in parts:
        if isinstance(part, Tried):
            found.trials += part.trials
            found.rows[part.dtype] = found.rows.get(part.dtype, 0) + part.rows
            found.alarms += part.alarms
        elif isinstance(part, str):
            found.failures.append(part)
        else:
            found.judged += [each for each in part if isinstance(each, Judged)]
            found.probes += [each for each in part if isinstance(each, Probe)]
    return found
