"""`oracle mutants`: mistakes planted on purpose, which have to be found."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oracle.shell import (
    Activations,
    Dtypes,
    Jobs,
    Json,
    Losses,
    Out,
    Seed,
    Shapes,
    command_line,
    finish,
    interruptible,
    progress_bar,
    refusing,
    write,
)
from oracle.workers import processes

DEFAULT_OUT = Path("reports/latest-mutants")


def mutants(
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
    mistake: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this mistake; may be repeated.")] = None,
    activation: Activations = None,
    loss: Losses = None,
    shape: Shapes = None,
    dtype: Dtypes = None,
    case: Annotated[
        list[str] | None, typer.Option(metavar="CASE", help="Plant in this case, everywhere; may be repeated.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Every place in every case of the sweep: hours.")] = False,
    jobs: Jobs = 0,
) -> None:
    """Plant every mistake of the catalogue in networks that are right; count what is found, located and named.

    Without options each mistake meets every activation and loss that it can be made in, every place in the network, every shape
    and dtype; gradcheck and others are asked about a sample of them, and the smallest visible error is looked for. The report
    goes into reports/latest-mutants. Options narrow it to the planted mistakes they name; --case writes files only with --out.
    """
    from oracle.files import check_folder
    from oracle.mutants.selection import cases, plantings

    folder = out if out or case else DEFAULT_OUT
    narrowed = any((mistake, activation, loss, shape, dtype, case))
    with refusing():
        chosen = cases(activation or (), loss or (), shape or (), dtype or (), case or ())
        planned = plantings(chosen, mistake or (), seed=seed, every=full or bool(case))
        if folder:
            check_folder(folder)

    start = time.perf_counter()
    with interruptible("no report was written"):
        from oracle.mutants.detection import Detection
        from oracle.mutants.run import detect, tasks

        wanted = tasks(planned, seed, () if narrowed else chosen)
        workers = processes(jobs, len(wanted))
        with progress_bar(len(wanted), "planting") as progress:
            found = detect(wanted, jobs=workers, progress=progress)
        detection = Detection(
            found,
            seed=seed,
            seconds=time.perf_counter() - start,
            command=command_line(),
            jobs=workers,
        )
        write(detection, folder)

    def show(console: Console) -> None:
        from oracle.terminal import show_mutants

        show_mutants(console, detection)

    finish(detection, show, folder and folder / "mutants.html", as_json=as_json)
