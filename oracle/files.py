"""Files that appear whole or not at all."""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


class OutputError(Exception):
    """The output folder cannot be written; the message says why."""


def _refusal(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"--out takes a folder that can be written; {folder}: {error.strerror or error}. Choose another with --out DIR."
    )


def check_folder(folder: Path) -> None:
    """Make sure, before any work, that files can be written there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refusal(folder, error) from error


class Batch:
    """Several files of one folder: made in a temporary folder inside it, renamed into place when all are complete.

    Raises OutputError for whatever the file system refuses; then none of them has appeared.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        check_folder(self.folder)
        self._making = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.folder))
        return self

    def path(self, name: str) -> Path:
        """Where to write the file of this name for now."""
        return self._making / name

    def text(self, name: str, content: str) -> None:
        self.path(name).write_text(content, encoding="utf-8")

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if isinstance(value, OSError):
                raise _refusal(self.folder, value) from value
            if kind is None:
                self._place()
        finally:
            shutil.rmtree(self._making, ignore_errors=True)

    def _place(self) -> None:
        made = sorted(self._making.iterdir())
        for file in made:
            if (self.folder / file.name).is_dir():
                raise OutputError(f"--out takes a folder for files; {self.folder / file.name} is a folder. Choose another.")
        try:
            for file in made:
                file.replace(self.folder / file.name)
        except OSError as error:
            raise _refusal(self.folder, error) from error
