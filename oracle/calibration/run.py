"""Comparing many drawn networks, on all cores, and counting what comes out."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed

from oracle import drawn
from oracle.calibration.tally import Tally
from oracle.check import rows
from oracle.sweep import CHUNK, one_thread, pool


def count(numbers: Sequence[int], seed: int) -> Tally:
    """Compare the networks of these numbers here and now, end to end and layerwise, as `oracle run --case` does."""
    found = Tally()
    for number in numbers:
        try:
            case = drawn.build(drawn.Drawn(number), seed)
            compared = rows(case)
        except Exception as error:  # one network's trouble is an alarm, not the end of the others
            found.add_error(number, error)
        else:
            found.add_case(number, case, compared)
    return found


def processes(cases: int, jobs: int = 0) -> int:
    """How many processes so many cases are spread over: one per core unless `jobs` says otherwise."""
    return min(jobs or os.cpu_count() or 1, -(-cases // CHUNK))


def calibrate(first: int, cases: int, seed: int, *, jobs: int = 0, progress: Callable[[int], None] | None = None) -> Tally:
    """Compare the networks random/first and on; `progress` is told each time how many were finished.

    With one process they are compared in this one. The result does not depend on the number of processes.
    """
    tell = progress or (lambda _: None)
    stop, whole = first + cases, Tally()
    chunks = [range(begin, min(begin + CHUNK, stop)) for begin in range(first, stop, CHUNK)]
    if processes(cases, jobs) == 1:
        one_thread()
        for chunk in chunks:
            whole.add(count(chunk, seed))
            tell(len(chunk))
        return whole
    with pool(processes(cases, jobs)) as workers:
        for future in as_completed([workers.submit(count, chunk, seed) for chunk in chunks]):
            part = future.result()
            whole.add(part)
            tell(part.cases)
    return whole
