"""`oracle compare`: what changed between two runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from oracle.github import Annotation
from oracle.shell import Json, Out, errors, finish, refusing, stop

if TYPE_CHECKING:
    from oracle.compare import Comparison

#: Rows of each list in the terminal.
SHOWN = 8


def compare(
    before: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="A folder that oracle run wrote, or its discrepancies.parquet.")
    ],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The other run.")],
    out: Out = None,
    as_json: Json = False,
    factor: Annotated[float, typer.Option(metavar="F", help="Tell margins that changed by this factor or more.")] = 2.0,
    strict: Annotated[bool, typer.Option("--strict", help="Another subgradient than torch's at a kink fails as well.")] = False,
) -> None:
    """Say what changed between two runs: new failures, mended ones, margins that moved, rows that came or went.

    The exit status is 0 when nothing fails that did not fail before, 1 when something does or the runs have no row in common,
    2 when the call itself was wrong.
    """
    if not 1 < factor < float("inf"):
        stop(f"--factor takes a number above 1; got {factor:g}.")
    from oracle.files import check_folder

    with refusing():
        if out:
            check_folder(out)
        with errors.status("comparing"):
            from oracle.compare import Comparison, Run

            found = Comparison(Run.read(before), Run.read(after), factor=factor, strict=strict)
        if out:
            found.write(out)

    def regressions() -> Iterator[Annotation]:
        for row in found.new_failures.to_dict("records"):
            yield Annotation(f"{row['symbol']} of {row['module']}: {_sides(row)}", row["case"])

    page = out and out / "compare.html"
    finish(found, lambda console: show(console, found), page, regressions, as_json=as_json, called="comparison")


def show(console: Console, comparison: "Comparison") -> None:
    """The answer, what the runs were made with where that differs, and the first rows of each list."""
    from oracle.report.text import clip

    style = "bold green" if comparison.ok else "bold red"
    console.print(Text(("✓ " if comparison.ok else "✗ ") + comparison.answer, style=style))
    for line in comparison.circumstances:
        console.print(f"  {line}", style="yellow", highlight=False, markup=False)
    for name, rows in comparison.lists.items():
        if rows.empty:
            continue
        console.print(f"\n{name[0].upper()}{name[1:]}: {len(rows):,}", style="bold", highlight=False)
        for row in rows.head(SHOWN).to_dict("records"):
            console.print(f"  {clip(row['case'])}", soft_wrap=True, highlight=False, markup=False)
            where = f"    layer {int(row['layer'])} {clip(row['module'], 60)}, {row['comparison']}: {row['symbol']}: "
            console.print(Text(where + _sides(row), style="dim"), soft_wrap=True)
        if len(rows) > SHOWN:
            console.print(f"  and {len(rows) - SHOWN:,} rows more", style="dim", highlight=False)


def _sides(row: Mapping[Any, Any]) -> str:
    return " → ".join(_side(row, when) for when in ("before", "after"))


def _side(row: Mapping[Any, Any], when: str) -> str:
    """What a row was before, or is after."""
    if not row[f"there_{when}"]:
        return "not there"
    sigmas = row[f"sigmas_{when}"]
    return f"{row[f'verdict_{when}']} at {sigmas:.3g} sigmas" if sigmas == sigmas else str(row[f"verdict_{when}"])
