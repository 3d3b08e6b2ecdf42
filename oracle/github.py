"""What GitHub Actions is told: annotations, at the lines that they are about, and the summary of the job."""

import os
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

#: So many annotations of one step are shown; a title is so long at most, a message so long.
SHOWN, TITLE, MESSAGE = 10, 200, 4_000
#: Bytes of a step's summary. Of more than that nothing is shown.
SUMMARY = 2**20
CUT = "\n\nThe rest is left out: a summary holds 1 MiB.\n"


class Annotation(NamedTuple):
    """An error to be shown; with a file, beside its line in the changes."""

    title: str
    message: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """The workflow command."""
        where = {"file": _inside(self.file), "line": self.line or "", "title": self.title[:TITLE]}
        told = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in where.items() if value)
        return f"::error {told}::{_escaped(self.message[:MESSAGE])}"


def _escaped(text: str, also: str = "") -> str:
    """Text as the runner reads it back: what would end it stands as % and its code."""
    for sign in f"%\r\n{also}":
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def _inside(file: str) -> str:
    """The path as the repository knows it."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if not file or not workspace:
        return file
    path, root = Path(file).resolve(), Path(workspace).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else file


def tell(summary: Callable[[], str], annotations: Callable[[], Iterable[Annotation]]) -> None:
    """Annotate, and add to the job's summary; does nothing elsewhere than on GitHub Actions.

    All goes to standard error, which the runner reads as well, so that standard output is the answer alone.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for annotation in islice(annotations(), SHOWN):
        sys.stderr.write(f"{annotation}\n")
    sys.stderr.flush()
    if file := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            _append(Path(file), summary())
        except OSError as error:
            sys.stderr.write(f"The job's summary is not written: {file}: {error.strerror or error}.\n")


def _append(file: Path, text: str) -> None:
    """Add to the summary what it has room for, in whole lines."""
    room = SUMMARY - (file.stat().st_size if file.exists() else 0)
    added = f"{text.rstrip()}\n\n".encode()
    if len(added) > room:
        kept = added[: max(room - len(CUT), 0)].rpartition(b"\n")[0]
        added = kept + CUT.encode() if kept else b""
    with file.open("ab") as summary:
        summary.write(added)
