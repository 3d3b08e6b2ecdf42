"""`oracle exercise`: a backward pass to write oneself, checked as it grows."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from oracle.shell import AGREE, FAILS, Json, errors, refusing, stop
from oracle.teach import TIMEOUT

if TYPE_CHECKING:
    from oracle.teach.checked import Progress

SIGNS = {"right": "[green]✓ right[/]", "open": "[dim]· open[/]", "wrong": "[red]✗ wrong[/]"}


def exercise(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of the exercise.")] = Path("exercise.py"),
    check: Annotated[bool, typer.Option("--check", help="Check the file, however far it has come.")] = False,
    as_json: Json = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="So long the file may run.")] = TIMEOUT,
) -> None:
    """Write a small Python file with the backward pass left open; with --check say what in it is right, and what is not yet.

    A file that is there is never overwritten. It is run in a process of its own. The exit status is 0 when all of it is right,
    1 when it is not yet, 2 when there is no such file.
    """
    if not 0 < timeout < float("inf"):
        stop(f"--timeout takes seconds above 0; got {timeout}.")
    if not check:
        from oracle.teach.exercise import write_exercise

        with refusing():
            written = write_exercise(file)
        console = Console()
        console.print(f"Written: {written}", highlight=False, soft_wrap=True, markup=False)
        console.print(f"Fill it in, and ask: oracle exercise {written} --check", highlight=False, soft_wrap=True, markup=False)
        return
    from oracle.teach.checked import check_exercise

    with errors.status("running your file"), refusing():
        progress = check_exercise(file, timeout)
    if as_json:
        typer.echo(json.dumps({"ok": progress.ok, "next": progress.next, **asdict(progress)}, indent=2))
    else:
        show(Console(), progress)
    raise typer.Exit(AGREE if progress.ok else FAILS)


def show(console: Console, progress: "Progress") -> None:
    """The state of every function at every layer, then what is wrong, then what comes next."""
    from rich.markup import escape
    from rich.table import Table

    if progress.printed:
        console.print(f"Your file prints:\n{progress.printed.rstrip()}\n", markup=False, highlight=False, style="dim")
    table = Table(title="Each function on autograd's own numbers", title_justify="left", box=None)
    layers = sorted({outcome.layer for outcome in progress.outcomes} - {0}, reverse=True)
    table.add_column("function")
    for layer in layers:
        table.add_column(f"layer {layer}")
    for name, outcomes in progress.functions.items():
        by_layer = {outcome.layer: SIGNS[outcome.state] for outcome in outcomes}
        cells = [by_layer.get(layer, "") for layer in layers]
        table.add_row(name, *(cells if 0 not in by_layer else [by_layer[0], *cells[1:]]))
    console.print(table)
    if progress.stopped:
        console.print(f"\n[red]Not all of it ran:[/] {escape(progress.stopped)}", highlight=False, soft_wrap=True)
    for name in progress.functions:
        if progress.state(name) == "wrong":
            _show_wrong(console, progress, name)
    console.print()
    if progress.ok:
        console.print("[green]All of it is right:[/] this is backpropagation, to the last rounding error.", highlight=False)
    elif progress.next:
        console.print(f"Next: {progress.next}", highlight=False)


def _show_wrong(console: Console, progress: "Progress", name: str) -> None:
    console.print(f"\n{name}", style="bold")
    told = dict.fromkeys((outcome.said, outcome.layer) for outcome in progress.functions[name] if outcome.state == "wrong")
    for said, layer in told:
        console.print(f"  {f'layer {layer}: ' if layer else ''}{said}", markup=False, highlight=False, soft_wrap=True)
    for line in progress.advice.get(name, ()):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
