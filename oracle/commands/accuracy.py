"""`oracle accuracy`: the atlas of our accuracy and torch's."""

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
    command_line,
    finish,
    interruptible,
    progress_bar,
    refusing,
    write,
)
from oracle.workers import processes

DEFAULT_OUT = Path("reports/latest-accuracy")


def accuracy(
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
    activation: Activations = None,
    loss: Losses = None,
    dtype: Dtypes = None,
    inputs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Numbers an elementwise function is tried at; the others get a share of it.")
    ] = 100_000,
    jobs: Jobs = 0,
) -> None:
    """Measure how many ulps our values and derivatives, and torch's, are from the truth, and where; write the atlas.

    Without options this is every activation and loss in every dtype, into reports/latest-accuracy. Options narrow it.
    """
    from oracle.accuracy import subjects
    from oracle.files import check_folder

    folder = out or DEFAULT_OUT
    with refusing():
        wanted = subjects(activation or (), loss or (), dtype or ())
        check_folder(folder)

    start = time.perf_counter()
    workers = processes(jobs, len(wanted))
    with interruptible("no atlas was written"):
        from oracle.accuracy import Atlas, measure_all

        with progress_bar(len(wanted), "measuring", "functions") as progress:
            found = measure_all(wanted, inputs, seed, jobs=workers, progress=progress)
        atlas = Atlas(
            found,
            inputs,
            seed=seed,
            seconds=time.perf_counter() - start,
            command=command_line(),
            jobs=workers,
        )
        write(atlas, folder)

    def show(console: Console) -> None:
        from oracle.terminal import show_atlas

        show_atlas(console, atlas)

    finish(atlas, show, folder / "accuracy.html", as_json=as_json, called="atlas")
