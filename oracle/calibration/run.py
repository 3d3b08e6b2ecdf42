"""Comparing many drawn networks, on all cores, and counting what comes out."""

from collections.abc import Callable, Sequence

from oracle import drawn, workers
from oracle.calibration.tally import Tally
from oracle.check import rows
from oracle.sweep import CHUNK


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
    return workers.processes(jobs, -(-cases // CHUNK))


def calibrate(first: int, cases: int, seed: int, *, jobs: int = 0, progress: Callable[[int], None] | None = None) -> Tally:
    """Compare the networks random/first and on; `progress` is told each time how many were finished.

    With one process they are compared in this one. The result does not depend on the number of processes.
    """
    tell, stop, whole = progress or (lambda _: None), first + cases, Tally()
    chunks = [range(begin, min(begin + CHUNK, stop)) for begin in range(first, stop, CHUNK)]
    with workers.workers(processes(cases, jobs)) as run:
        for part in run(count, [(chunk, seed) for chunk in chunks], lambda number: tell(len(chunks[number]))):
            whole.add(part)
    return whole
