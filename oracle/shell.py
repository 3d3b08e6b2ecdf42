"""What all commands share: their common options, exit statuses, messages, progress."""

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn, Protocol

import typer
from rich.console import Console

from oracle.github import Annotation, tell

#: Progress and messages go here, so that standard output is the answer alone.
errors = Console(stderr=True)

AGREE, FAILS, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130


def _folder(text: str) -> Path:
    if not text:
        raise typer.BadParameter("takes the name of a folder; got an empty text.")
    return Path(text)


Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", parser=_folder, help="Folder for the report.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else there.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same table, byte for byte.")]
Activations = Annotated[
    list[str] | None, typer.Option("--activation", metavar="NAME", help="Only this activation; may be repeated.")
]
Losses = Annotated[list[str] | None, typer.Option("--loss", metavar="NAME", help="Only this loss; may be repeated.")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", metavar="NAME", help="Only this shape: a name, or 4-8-3x16; may be repeated.")
]
Dtypes = Annotated[list[str] | None, typer.Option("--dtype", metavar="NAME", help="Only this dtype; may be repeated.")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="Processes; 0 means one per core.")]


def command_line() -> str:
    """The command as it was called."""
    return shlex.join(["oracle", *sys.argv[1:]])


def stop(message: object) -> NoReturn:
    """End with a message about the call and exit status 2."""
    errors.print("[bold red]error:[/]", end=" ")
    errors.print(str(message), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(WRONG_CALL)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what the call itself got wrong, a name or a folder, into its message and exit status 2."""
    from oracle.case import SpecError
    from oracle.files import OutputError

    try:
        yield
    except (SpecError, OutputError) as error:
        stop(error)


@contextmanager
def progress_bar(total: int, doing: str = "comparing", what: str = "cases") -> Iterator[Callable[[int], None]]:
    """A bar on standard error; what is yielded tells it how many more are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{what}, left"),
        TimeRemainingColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)


@contextmanager
def interruptible(lost: str = "") -> Iterator[None]:
    """Ctrl-C ends the command with a message, of what there is not now, and exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print("interrupted" + f"; {lost}" * bool(lost), style="yellow")
        raise typer.Exit(INTERRUPTED) from None


class Result(Protocol):
    """What a command found."""

    @property
    def ok(self) -> bool: ...

    def to_json(self) -> str: ...

    def to_markdown(self) -> str: ...

    def write(self, folder: Path) -> None: ...


def write(result: Result, folder: Path | None) -> None:
    """Write the pages of a result into the folder, if there is one."""
    if folder:
        with errors.status("writing the report"), refusing():
            result.write(folder)


def finish(
    result: Result,
    show: Callable[[Console], object],
    page: Path | None,
    annotations: Callable[[], Iterable[Annotation]] = tuple,
    *,
    as_json: bool,
    called: str = "report",
) -> NoReturn:
    """Print the result and where its page is, tell GitHub Actions where that runs this, and end with the exit status."""
    if as_json:
        typer.echo(result.to_json())
    else:
        console = Console()
        show(console)
        if page:
            console.print(f"\nThe {called}: {page}", highlight=False, soft_wrap=True, markup=False)
    tell(result.to_markdown, annotations)
    raise typer.Exit(AGREE if result.ok else FAILS)
