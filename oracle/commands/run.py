"""`oracle run`: the sweep, and its report."""

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

DEFAULT_OUT = Path("reports/latest")


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
    with interruptible("no report was written"):
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
            command=command_line(),
            jobs=processes(texts, jobs),
            strict=strict,
        )
        write(report, folder)

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
