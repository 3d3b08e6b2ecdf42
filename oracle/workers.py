"""Many tasks on all cores: one process per core, one thread in each, results in the order of the tasks."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from threading import Thread
from typing import Any

#: Called with a function, the arguments of each task, and what is told the number of each task that is finished.
Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]], Callable[[int], object]], list[Any]]


def processes(jobs: int, tasks: int) -> int:
    """How many processes so many tasks are spread over: `jobs`, or for 0 one per core; none without a task."""
    return min(jobs or os.cpu_count() or 1, tasks)


def one_thread() -> None:
    """Pin torch and BLAS to one thread: they spin against each other where both take all cores."""
    import threadpoolctl
    import torch

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)


@contextmanager
def workers(jobs: int) -> Iterator[Run]:
    """What does tasks in so many processes, up to 1 in this one. The results do not depend on it.

    The processes end at once when the parent is interrupted, without finishing their task.
    """
    if jobs <= 1:
        one_thread()
        yield _here
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start)
    try:
        yield partial(_spread, pool)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    Thread(target=_end_with_parent, daemon=True).start()
    one_thread()


def _end_with_parent() -> None:
    """Nobody is left to take the results of a process whose parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _here(do: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], told: Callable[[int], object]) -> list[Any]:
    results = []
    for number, task in enumerate(tasks):
        results.append(do(*task))
        told(number)
    return results


def _spread(
    pool: ProcessPoolExecutor, do: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], told: Callable[[int], object]
) -> list[Any]:
    results: list[Any] = [None] * len(tasks)
    numbers: dict[Future[Any], int] = {pool.submit(do, *task): number for number, task in enumerate(tasks)}
    for future in as_completed(numbers):
        results[numbers[future]] = future.result()
        told(numbers[future])
    return results
