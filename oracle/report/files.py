"""Files that appear whole or not at all."""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self


class OutputError(Exception):
    """The output folder cannot be written; the message says why."""


def check_folder(folder: Path) -> None:
    """Make sure, before any work, that files can be written there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"--out takes a folder that can be written; {folder}: {error.strerror}. Choose another with --out DIR."
        ) from error


class Batch:
    """Several files of one folder: made in a temporary folder beside it, renamed into place when all are complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._making = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.folder))
        return self

    def path(self, name: str) -> Path:
        """Where to write the file of this name for now."""
        return self._making / name

    def text(self, name: str, content: str) -> None:
        self.path(name).write_text(content, encoding="utf-8")

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            for made in sorted(self._making.iterdir()):
                made.replace(self.folder / made.name)
        shutil.rmtree(self._making)
