"""Documents in files and folders: JSON for eyes and for every language, safetensors for large arrays."""

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oracle.files import Batch
from oracle.vectors import tensors
from oracle.vectors.cases import read_case
from oracle.vectors.document import ANSWER, CASE, Answer, Frozen, case_document, in_json, kind, read_answer
from oracle.vectors.reading import At, VectorsError, parse, read_bytes, shown

#: Characters of a case's name in the name of its file.
NAMED = 80


def file_name(case: str, suffix: str) -> str:
    """A file name for a case, the same for the same case, that every file system takes."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", case).strip("-.")[:NAMED]
    return f"{plain}-{zlib.crc32(case.encode()):08x}.{suffix}"


def laid_out(value: Any, depth: int = 0) -> str:
    """JSON with an array on each line."""
    if isinstance(value, dict) and value and (depth == 1 or any(isinstance(each, dict) for each in value.values())):
        pad = " " * (depth + 1)
        members = (f"{pad}{json.dumps(key)}: {laid_out(each, depth + 1)}" for key, each in value.items())
        return "{\n" + ",\n".join(members) + "\n" + " " * depth + "}"
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(laid_out(in_json(document)) + "\n", encoding="utf-8")


#: What writes a document in each form.
WRITERS = {"json": _write_json, "safetensors": tensors.write}


def write(folder: Path, cases: Sequence[Frozen], form: str = "json") -> list[str]:
    """Write every case into the folder, all of them or none; return the names of the files. Raises OutputError."""
    names = []
    with Batch(folder) as batch:
        for frozen in cases:
            names.append(file_name(frozen.case.name, form))
            WRITERS[form](batch.path(names[-1]), case_document(frozen))
    return names


def _documents(path: Path) -> Iterator[At]:
    """The documents of a file, or of all files of vectors in a folder. A link in a folder is not followed."""
    if not path.is_dir():
        yield _document(path)
        return
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        raise VectorsError(f"{shown(path)} cannot be read: {error.strerror or error}.") from error
    found = [file for file in inside if file.suffix in SUFFIXES]
    if not found:
        raise VectorsError(f"{shown(path)} holds no file of vectors, {' or '.join('*' + suffix for suffix in SUFFIXES)}.")
    for file in found:
        if file.is_symlink():
            raise VectorsError(f"{shown(file)} is a link, and may lead out of the folder; put the file itself there.")
        yield _document(file)


def _json(path: Path) -> At:
    return parse(read_bytes(path), shown(path))


SUFFIXES = {".json": _json, ".safetensors": tensors.read}


def _document(path: Path) -> At:
    if path.exists() and path.suffix not in SUFFIXES:
        raise VectorsError(f"{shown(path)}: vectors are in files {' and '.join('*' + suffix for suffix in SUFFIXES)}.")
    return SUFFIXES.get(path.suffix, _json)(path)


def _of_kind(path: Path, wanted: str, instead: str) -> Iterator[At]:
    for document in _documents(path):
        if kind(document) != wanted:
            raise VectorsError(f"{document.where} takes the format {wanted!r}; {instead}")
        yield document


def read_cases(path: Path) -> dict[str, Frozen]:
    """Every frozen case of a file or folder, by name. Raises VectorsError."""
    found: dict[str, Frozen] = {}
    places: dict[str, str] = {}
    for document in _of_kind(path, CASE, "this is an answer: name the folder of the cases with --against DIR."):
        frozen = read_case(document)
        name = frozen.case.name
        if name in found:
            raise VectorsError(f"{document.where}: the case {name!r} stands in {places[name]} already; keep one of the files.")
        found[name], places[name] = frozen, document.where
    return found


def read_answers(path: Path, cases: Mapping[str, Frozen]) -> dict[str, Answer]:
    """Every answer of a file or folder, by the case it answers. Raises VectorsError."""
    dtypes = {name: str(frozen.case.dtype) for name, frozen in cases.items()}
    found: dict[str, Answer] = {}
    for document in _of_kind(path, ANSWER, "this is a frozen case: name what a port has written, and the cases with --against."):
        answer = read_answer(document, dtypes)
        if answer.case in found:
            earlier = found[answer.case].source
            raise VectorsError(f"{document.where}: the case {answer.case!r} is answered in {earlier} already; keep one of them.")
        found[answer.case] = answer
    return found
