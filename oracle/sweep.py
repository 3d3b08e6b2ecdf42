"""Many cases on all cores: one process per core, one thread in each, results in the order of the cases."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from oracle import alone, drawn, inputs, workers
from oracle.case import Case, Spec
from oracle.data import is_data, load, without_step
from oracle.diagnosis.advice import Advice
from oracle.discrepancy import Row
from oracle.verdict import Verdict

#: Cases that one task takes: enough to make the hand-over cheap, few enough for the progress bar to move.
CHUNK = 24
#: So many failing cases are diagnosed, the first ones: a fault in one layer fails hundreds, and the advice is the same.
DIAGNOSED = 20


@dataclass
class Result:
    """What the cases gave: rows, training curves, diagnoses of the first that fail, all in the order of the cases."""

    rows: list[Row] = field(default_factory=list)
    curves: list[Any] = field(default_factory=list)
    diagnoses: list[Advice] = field(default_factory=list)


def run_cases(texts: Sequence[str], seed: int) -> Result:
    """Compare these cases here and now."""
    from oracle.check import rows
    from oracle.training import train_and_compare

    result = Result()
    for text in texts:
        result.rows += rows(_build(text, seed))
        if is_data(text):
            along, curves = train_and_compare(text, seed)
            result.rows += along
            result.curves.append(curves)
    return result


def _build(text: str, seed: int) -> Case:
    """The numbers of a case: real data, or drawn, alone or in a network."""
    if is_data(text):
        return load(text, seed)[1]
    if drawn.is_drawn(text):
        return drawn.build(drawn.Drawn.parse(text), seed)
    if alone.is_alone(text):
        return alone.build(alone.Alone.parse(text), seed)
    return inputs.build(Spec.parse(text), seed)


def failing(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows that fail, by case; a step of a training belongs to its data case."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if Verdict(row.verdict).fails:
            found.setdefault(without_step(row.case), []).append(row)
    return found


def advise(text: str, seed: int, found: Sequence[Row]) -> Advice:
    """Diagnose a case whose failing rows are `found`; a training is looked at where it starts."""
    from oracle.diagnosis import diagnose
    from oracle.manual_run import layerwise_run, manual_run
    from oracle.tables import ALONE, END_TO_END, LAYERWISE, TRAINING
    from oracle.torch_run import torch_run

    case = _build(text, seed)
    reference = torch_run(case)
    known = {quantity.symbol for quantity in reference.quantities()}
    through, own = (
        known - {row.symbol for row in found if row.comparison in (comparison, ALONE)} for comparison in (END_TO_END, LAYERWISE)
    )
    candidate, by_layer = manual_run(case), layerwise_run(case, reference)
    with np.errstate(all="ignore"):  # what a mistake would have given need not be finite
        diagnosis = diagnose(case, reference, candidate, by_layer, passed=through, passed_layerwise=own)
    lines = diagnosis.lines(None)
    if all(row.comparison == TRAINING for row in found):
        first = found[0]
        lines = (
            lines[0]._replace(text=f"Right at the start of the training; {first.symbol} is not at {first.case[len(text) + 1 :]}"),
        )
    return Advice.of(text, diagnosis, lines)


def _tasks(texts: Sequence[str]) -> list[list[str]]:
    """What one process takes at a time: the long trainings first and alone, the rest in chunks."""
    quick = [text for text in texts if not is_data(text)]
    return [[text] for text in texts if is_data(text)] + [quick[i : i + CHUNK] for i in range(0, len(quick), CHUNK)]


def processes(texts: Sequence[str], jobs: int = 0) -> int:
    """How many processes these cases are spread over: one per core unless `jobs` says otherwise, none without work."""
    return workers.processes(jobs, len(_tasks(texts)))


def sweep(texts: Sequence[str], seed: int, *, jobs: int = 0, progress: Callable[[int], None] | None = None) -> Result:
    """Compare all cases; `progress` is told after each task how many cases it finished.

    `jobs` is the number of processes, all cores unless given; 1 means this process. The result does not depend on it.
    """
    tasks, tell = _tasks(texts), progress or (lambda _: None)
    with workers.workers(processes(texts, jobs)) as run:
        parts: list[Result] = run(run_cases, [(task, seed) for task in tasks], lambda number: tell(len(tasks[number])))
        rows = [row for part in parts for row in part.rows]
        wrong = islice(failing(rows).items(), DIAGNOSED)
        advice = run(advise, [(text, seed, found) for text, found in wrong], lambda _: None)
    return Result(rows, [curve for part in parts for curve in part.curves], advice)
