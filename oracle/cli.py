"""The command line. torch and pandas are imported by the commands that compute, not by --help."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oracle.commands import check, compare, exercise, explain, index, vectors
from oracle.shell import (
    AGREE,
    FAILS,
    INTERRUPTED,
    Activations,
    Dtypes,
    Jobs,
    Json,
    Losses,
    Out,
    Seed,
    Shapes,
    errors,
    finish,
    progress_bar,
    refusing,
)

app = typer.Typer(
    help="Is a hand-written gradient right? The oracle holds it against torch.autograd, layer by layer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
DEFAULT_OUT = Path("reports/latest")
ACCURACY_OUT = Path("reports/latest-accuracy")
MUTANTS_OUT = Path("reports/latest-mutants")
CALIBRATION_OUT = Path("reports/latest-calibration")


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"oracle {installed('manualbp-oracle')}")
        raise typer.Exit


@app.command()
def run(
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
    activation: Activations = None,
    loss: Losses = None,
    shape: Shapes = None,
    dtype: Dtypes = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this data set; may be repeated. Alone, no drawn networks are compared."),
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="CASE", help="Only this case, as a report names it; may be repeated. Prints every row."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="The whole product of activations, losses, shapes and dtypes: hours.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Another subgradient than torch's at a kink fails as well.")] = False,
    jobs: Jobs = 0,
) -> None:
    """Compare every activation and loss, alone and in networks, then real data, with torch.autograd; write the report.

    Each is looked at alone with ordinary numbers, at its kinks and at the ends of the floating-point range; in networks every
    two of activation, loss, shape and dtype meet, with --full all four. The report goes into reports/latest. Options narrow
    the sweep; --case writes files only with --out.
    """
    from oracle.files import check_folder

    folder = out if out or case else DEFAULT_OUT
    with refusing():
        texts = _texts(activation, loss, shape, dtype, data, case, full=full)
        if folder:
            check_folder(folder)

    start = time.perf_counter()
    try:
        from oracle.sweep import sweep

        with progress_bar(len(texts)) as progress:
            result = sweep(texts, seed, jobs=jobs, progress=progress)
        from oracle.check import table
        from oracle.report import Report
        from oracle.sweep import processes

        report = Report(
            table(result.rows),
            result.curves,
            result.diagnoses,
            seed=seed,
            seconds=time.perf_counter() - start,
            command=shlex.join(["oracle", *sys.argv[1:]]),
            jobs=processes(texts, jobs),
            strict=strict,
        )
        if folder:
            with errors.status("writing the report"), refusing():
                report.write(folder)
    except KeyboardInterrupt:
        errors.print("interrupted; no report was written", style="yellow")
        raise typer.Exit(INTERRUPTED) from None

    def show(console: Console) -> None:
        from oracle.terminal import show_cases, show_report

        if case:
            show_cases(console, report)
            console.print()
        show_report(console, report)

    finish(report, show, folder and folder / "report.html", report.annotations, as_json=as_json)


def _texts(
    activation: list[str] | None,
    loss: list[str] | None,
    shape: list[str] | None,
    dtype: list[str] | None,
    data: list[str] | None,
    case: list[str] | None,
    *,
    full: bool,
) -> list[str]:
    """The cases the options ask for. Raises SpecError for a name that does not exist."""
    from oracle.case import SpecError, parse_dtype
    from oracle.data import data_names, parse_data
    from oracle.suite import alone, parse, specs

    narrowed = any((activation, loss, shape))
    if case:
        if narrowed or dtype or data or full:
            raise SpecError("--case names the whole case; leave the other options away.")
        for text in case:
            parse(text)
        return list(dict.fromkeys(case))
    texts = []
    if data or not narrowed:
        texts += data_names(data, [parse_dtype(name) for name in dtype or ()])
        for text in texts:
            parse_data(text)
    if narrowed or not data:
        texts += map(str, specs(activation or (), loss or (), shape or (), dtype or (), full=full))
        if not shape:
            texts += map(str, alone(activation or (), loss or (), dtype or ()))
    return list(dict.fromkeys(texts))


@app.command()
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

    folder = out or ACCURACY_OUT
    with refusing():
        wanted = subjects(activation or (), loss or (), dtype or ())
        check_folder(folder)

    start = time.perf_counter()
    workers = min(jobs or os.cpu_count() or 1, len(wanted))
    try:
        from oracle.accuracy import Atlas, measure_all

        with progress_bar(len(wanted), "measuring", "functions") as progress:
            found = measure_all(wanted, inputs, seed, jobs=workers, progress=progress)
        atlas = Atlas(
            found,
            inputs,
            seed=seed,
            seconds=time.perf_counter() - start,
            command=shlex.join(["oracle", *sys.argv[1:]]),
            jobs=workers,
        )
        with errors.status("writing the atlas"), refusing():
            atlas.write(folder)
    except KeyboardInterrupt:
        errors.print("interrupted; no atlas was written", style="yellow")
        raise typer.Exit(INTERRUPTED) from None

    if as_json:
        typer.echo(atlas.to_json())
    else:
        from oracle.terminal import show_atlas

        console = Console()
        show_atlas(console, atlas)
        console.print(f"\nThe atlas: {folder / 'accuracy.html'}", highlight=False, soft_wrap=True)
    raise typer.Exit(AGREE if atlas.ok else FAILS)


@app.command()
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

    folder = out or CALIBRATION_OUT
    with refusing():
        check_folder(folder)

    start = time.perf_counter()
    try:
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
            command=shlex.join(["oracle", *sys.argv[1:]]),
            jobs=processes(cases, jobs),
        )
        with errors.status("writing the report"), refusing():
            found.write(folder)
    except KeyboardInterrupt:
        errors.print("interrupted; no report was written", style="yellow")
        raise typer.Exit(INTERRUPTED) from None

    if as_json:
        typer.echo(found.to_json())
    else:
        from oracle.terminal import show_calibration

        console = Console()
        show_calibration(console, found)
        console.print(f"\nThe report: {folder / 'calibration.html'}", highlight=False, soft_wrap=True)
    raise typer.Exit(AGREE if found.ok else FAILS)


@app.command()
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

    folder = out if out or case else MUTANTS_OUT
    narrowed = any((mistake, activation, loss, shape, dtype, case))
    with refusing():
        chosen = cases(activation or (), loss or (), shape or (), dtype or (), case or ())
        planned = plantings(chosen, mistake or (), seed=seed, every=full or bool(case))
        if folder:
            check_folder(folder)

    start = time.perf_counter()
    try:
        from oracle.mutants.detection import Detection
        from oracle.mutants.run import detect, tasks

        wanted = tasks(planned, seed, () if narrowed else chosen)
        workers = min(jobs or os.cpu_count() or 1, len(wanted))
        with progress_bar(len(wanted), "planting") as progress:
            found = detect(wanted, jobs=workers, progress=progress)
        detection = Detection(
            found,
            seed=seed,
            seconds=time.perf_counter() - start,
            command=shlex.join(["oracle", *sys.argv[1:]]),
            jobs=workers,
        )
        if folder:
            with errors.status("writing the report"), refusing():
                detection.write(folder)
    except KeyboardInterrupt:
        errors.print("interrupted; no report was written", style="yellow")
        raise typer.Exit(INTERRUPTED) from None

    if as_json:
        typer.echo(detection.to_json())
    else:
        from oracle.terminal import show_mutants

        console = Console()
        show_mutants(console, detection)
        if folder:
            console.print(f"\nThe report: {folder / 'mutants.html'}", highlight=False, soft_wrap=True)
    raise typer.Exit(AGREE if detection.ok else FAILS)


for command in (check.check, explain.explain, exercise.exercise, compare.compare, index.index):
    app.command()(command)
app.add_typer(vectors.app, name="vectors")
