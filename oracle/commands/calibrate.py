"""`oracle calibrate`: correct networks, none of which may raise an alarm."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oracle.shell import Jobs, Json, Out, Seed, command_line, finish, interruptible, progress_bar, refusing, write

DEFAULT_OUT = Path("reports/latest-calibration")


def calibrate(
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
    cases: Annotated[int, typer.Option(min=1, metavar="N", help="How many networks.")] = 2000,
    first: Annotated[int, typer.Option(min=0, metavar="N", help="The number of the first, random/N.")] = 0,
    jobs: Jobs = 0,
) -> None:
    """Compare correct networks drawn at random: none may raise an alarm, and errors must be about as large as their scale.

    The report, with the histogram of actual errors over their rounding scales, goes into reports/latest-calibration.
    """
    from oracle.files import check_folder

    folder = out or DEFAULT_OUT
    with refusing():
        check_folder(folder)

    start = time.perf_counter()
    with interruptible("no report was written"):
        from oracle.calibration import Calibration
        from oracle.calibration import calibrate as compare
        from oracle.calibration.run import processes

        with progress_bar(cases, what="networks") as progress:
            tally = compare(first, cases, seed, jobs=jobs, progress=progress)
        found = Calibration(
            tally,
            first,
            seed=seed,
            seconds=time.perf_counter() - start,
            command=command_line(),
            jobs=processes(cases, jobs),
        )
        write(found, folder)

    def show(console: Console) -> None:
        from oracle.terminal import show_calibration

        show_calibration(console, found)

    finish(found, show, folder / "calibration.html", as_json=as_json)
