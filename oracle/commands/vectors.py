"""`oracle vectors`: frozen cases for gradients in any language, and the judgement of their answers."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oracle.shell import (
    AGREE,
    FAILS,
    Activations,
    Dtypes,
    Json,
    Losses,
    Out,
    Seed,
    Shapes,
    command_line,
    errors,
    finish,
    interruptible,
    progress_bar,
    refusing,
    stop,
)

app = typer.Typer(
    help="Frozen cases with the right numbers, for a gradient in any language; and the judgement of what it answers.",
    no_args_is_help=True,
)
DEFAULT_OUT = Path("reports/latest-vectors")


@app.command()
def export(
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
    activation: Activations = None,
    loss: Losses = None,
    shape: Shapes = None,
    dtype: Dtypes = None,
    case: Annotated[list[str] | None, typer.Option(metavar="CASE", help="Only this network; may be repeated.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="json, or safetensors for large arrays.")] = "json",
) -> None:
    """Freeze networks: inputs, every intermediate, every gradient, the error allowed to each number, the mistakes that show.

    Without options it is the standard set, every activation and loss with all their options, in small networks. The files go
    into reports/latest-vectors. The exit status is 1 when one of several cases cannot be frozen, which is told.
    """
    from oracle.files import check_folder
    from oracle.vectors.files import WRITERS, write
    from oracle.vectors.reading import VectorsError
    from oracle.vectors.selection import selected

    if form not in WRITERS:
        stop(f"--format takes {' or '.join(WRITERS)}; got {form!r}.")
    folder = out or DEFAULT_OUT
    with refusing():
        texts = selected(activation or (), loss or (), shape or (), dtype or (), case or ())
        check_folder(folder)
    frozen, refused = [], []
    with interruptible("nothing was written"):
        from oracle.vectors.export import build_case, freeze

        with progress_bar(len(texts), "freezing") as progress:
            for text in texts:
                try:
                    frozen.append(freeze(build_case(text, seed)))
                except VectorsError as error:
                    refused.append(str(error))
                progress(1)
        if not frozen:
            stop(refused[0])
        with refusing():
            names = write(folder, frozen, form)
    for message in refused:
        errors.print(f"not frozen: {message}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        by_file = {name: each.case.name for name, each in zip(names, frozen, strict=True)}
        typer.echo(json.dumps({"folder": str(folder), "files": by_file, "not frozen": refused}, indent=2))
    else:
        typer.echo(f"{len(names)} case{'s' * (len(names) > 1)} in {folder}")
    raise typer.Exit(FAILS if refused else AGREE)


@app.command()
def check(
    answers: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="What a port has written.")],
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The frozen cases; the standard set unless it is given.")
    ] = None,
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Judge the gradients that a port has written, array by array; say where one goes wrong and which mistake it is.

    The gradient of every parameter is required, all else is judged where it is given. torch is not needed. Files are written
    with --out alone.
    """
    from oracle.files import check_folder
    from oracle.vectors.files import read_answers, read_cases
    from oracle.vectors.reading import VectorsError
    from oracle.vectors.selection import STANDARD

    start = time.perf_counter()
    with interruptible():
        try:
            with refusing():
                if out:
                    check_folder(out)
            cases = read_cases(against or STANDARD)
            given = read_answers(answers, cases)
            from oracle.vectors.check import judge

            judged = judge(cases, given)
        except VectorsError as error:
            stop(error)
    from oracle.tables import table
    from oracle.vectors.report import AnswersReport

    report = AnswersReport(
        table(judged.rows),
        (),
        judged.diagnoses,
        seed=seed,
        seconds=time.perf_counter() - start,
        command=command_line(),
        files={name: answer.source for name, answer in given.items()},
        against=str(against) if against else "",
        unanswered=judged.unanswered,
    )
    if out:
        with refusing():
            report.write(out)

    def show(console: Console) -> None:
        from oracle.terminal import show_report

        show_report(console, report)
        if report.unanswered:
            console.print(f"{report.unanswered} of {len(cases)} cases are not answered.", style="dim", highlight=False)

    finish(report, show, out and out / "report.html", report.annotations, as_json=as_json)
