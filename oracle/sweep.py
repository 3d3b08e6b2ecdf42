"""Many cases on all cores: one process per core, one thread in each, results in the order of the cases."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from oracle import alone, drawn, inputs
from oracle.case import Case, Spec
from oracle.data import is_data, load
from oracle.discrepancy import Row

#: Cases that one task takes: enough to make the hand-over cheap, few enough for the progress bar to move.
CHUNK = 24


@dataclass
class Result:
    """What the cases gave: rows and training curves, both in the order of the cases."""

    rows: list[Row] = field(default_factory=list)
    curves: list[Any] = field(default_factory=list)


def run_cases(texts: Sequence[str], seed: int) -> Result:
    """Compare these cases here and now."""
    from oracle.check import rows
    from oracle.training import train_and_compare

    result = Result()
    for text in texts:
        if is_data(text):
            _, case = load(text, seed)
            along, curves = train_and_compare(text, seed)
            result.rows += rows(case) + along
            result.curves.append(curves)
        else:
            result.rows += rows(_build(text, seed))
    return result


def _build(text: str, seed: int) -> Case:
    """The numbers of a case that is drawn, alone or in a network."""
    if drawn.is_drawn(text):
        return drawn.build(drawn.Drawn.parse(text), seed)
    if alone.is_alone(text):
        return alone.build(alone.Alone.parse(text), seed)
    return inputs.build(Spec.parse(text), seed)


def one_thread() -> None:
    """Pin torch and BLAS to one thread: they spin against each other where both take all cores."""
    import threadpoolctl
    import torch

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    one_thread()


def _tasks(texts: Sequence[str]) -> list[list[str]]:
    """What one process takes at a time: the long trainings first and alone, the rest in chunks."""
    quick = [text for text in texts if not is_data(text)]
    return [[text] for text in texts if is_data(text)] + [quick[i : i + CHUNK] for i in range(0, len(quick), CHUNK)]


def processes(texts: Sequence[str], jobs: int = 0) -> int:
    """How many processes these cases are spread over: one per core unless `jobs` says otherwise, none without work."""
    return min(jobs or os.cpu_count() or 1, len(_tasks(texts)))


def sweep(texts: Sequence[str], seed: int, *, jobs: int = 0, progress: Callable[[int], None] | None = None) -> Result:
    """Compare all cases; `progress` is told after each task how many cases it finished.

    `jobs` is the number of processes, all cores unless given; 1 means this process. The result does not depend on it.
    """
    tasks, jobs = _tasks(texts), processes(texts, jobs)
    parts: list[Result] = [Result()] * len(tasks)
    tell = progress or (lambda _: None)
    if jobs <= 1:
        one_thread()
        for number, task in enumerate(tasks):
            parts[number] = run_cases(task, seed)
            tell(len(task))
    else:
        with pool(jobs) as workers:
            numbers: dict[Future[Result], int] = {
                workers.submit(run_cases, task, seed): number for number, task in enumerate(tasks)
            }
            for future in as_completed(numbers):
                parts[numbers[future]] = future.result()
                tell(len(tasks[numbers[future]]))
    return Result([row for part in parts for row in part.rows], [curve for part in parts for curve in part.curves])


@contextmanager
def pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Workers that end at once when the parent is interrupted, without finishing their task."""
    workers = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield workers
    except BaseException:
        workers.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    workers.shutdown()
