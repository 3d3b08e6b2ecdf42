"""`oracle index`: one page that joins the reports of a folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oracle.shell import Json, refusing


def index(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The folder that holds the reports.")] = Path("reports"),
    as_json: Json = False,
) -> None:
    """Write index.html, which joins the reports of a folder with the answer of each; those in reports/latest* are left out.

    The exit status is 0 when it is written, 2 when there is nothing to join.
    """
    from oracle.report.index import entries, write_index

    with refusing():
        written, found = write_index(folder), entries(folder)
    if as_json:
        typer.echo(json.dumps({"page": str(written), "reports": [asdict(entry) for entry in found]}, indent=2))
        return
    console = Console()
    for entry in found:
        mark = {True: "✓", False: "✗", None: "·"}[entry.ok]
        console.print(f"{mark} {entry.folder}: {entry.answer}", highlight=False, markup=False)
    console.print(f"\nThe page: {written}", highlight=False, soft_wrap=True, markup=False)
