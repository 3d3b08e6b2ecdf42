"""One page that joins the reports of a folder: each with its answer in a line, and whether it holds."""

import json
import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

from oracle.case import SpecError
from oracle.report.environment import environment
from oracle.report.text import clip

NAME = "index.html"
#: What a run without --out writes is the reader's own and not part of what is joined.
OWN = "latest"
#: The order to read them in; what has another name comes behind.
FIRST = ("sweep", "calibration", "mutants", "accuracy", "foreign", "vectors", "teach")


@dataclass(frozen=True)
class Entry:
    """One report: its folder, its page, what it is called, what it answers, and whether it holds; None where it does not say."""

    folder: str
    page: str
    title: str
    answer: str
    ok: bool | None
    others: tuple[str, ...]
    pictures: tuple[str, ...]


def entries(folder: Path) -> list[Entry]:
    """The reports in the folder. Raises SpecError where there is no such folder, or nothing in it."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = [entry for path in inside if not path.name.startswith((OWN, ".")) and (entry := _entry(path))]
    if not found:
        raise SpecError(f"oracle index takes a folder with reports in folders of their own, such as reports; got {folder}.")
    return sorted(found, key=lambda entry: (FIRST.index(entry.folder) if entry.folder in FIRST else len(FIRST), entry.folder))


def _entry(folder: Path) -> Entry | None:
    """The report of a folder, by its page or, where it has none, its text; a folder without either is none."""
    readme = folder / "README.md"
    found = sorted(folder.glob("*.html")) or sorted(folder.glob("*.md"))
    pages = sorted(found, key=lambda path: (path.stem not in (folder.name, "report", "index"), path == readme, path.name))
    if not pages:
        return None
    page = pages[0]
    told = next((file for file in (page.with_suffix(".md"), readme) if file.is_file()), None)
    title, answer = _told(told) if told else ("", "")
    if readme.is_file():
        title = _told(readme)[0] or title
    title = title or _title(page) or folder.name
    others = dict.fromkeys(file.name for file in sorted(folder.glob("*.md")) + pages if file not in (readme, page))
    pictures = tuple(file.name for file in sorted(folder.glob("*.svg")))
    return Entry(folder.name, page.name, title, answer, _holds(folder, page.stem), tuple(others), pictures)


def _told(file: Path) -> tuple[str, str]:
    """The heading and the first paragraph of a text in Markdown, as plain text."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", file.read_text(encoding="utf-8")) if block.strip()]
    title = blocks.pop(0).lstrip("# ") if blocks and blocks[0].startswith("# ") else ""
    answer = next((block for block in blocks if not block.startswith(("#", "|", "    "))), "")
    linked = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(answer.split()))
    plain = re.sub(r"\\(.)|[`*]", r"\1", linked)
    return title.partition("\n")[0], clip(plain, 600)


def _title(page: Path) -> str:
    found = re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"), re.DOTALL)
    return unescape(found[1].strip()) if found else ""


def _holds(folder: Path, stem: str) -> bool | None:
    """What the summary beside the page says."""
    for file in (folder / "summary.json", folder / f"{stem}.json"):
        if file.is_file():
            found: Any = json.loads(file.read_text(encoding="utf-8"))
            for part in (found, found.get("summary") if isinstance(found, dict) else None):
                if isinstance(part, dict) and isinstance(part.get("ok"), bool):
                    return bool(part["ok"])
    return None


def index_page(folder: Path) -> str:
    """The page for the reports in the folder."""
    return environment(clip=clip).get_template("index.html.j2").render(entries=entries(folder)).rstrip() + "\n"


def write_index(folder: Path) -> Path:
    """Write index.html into the folder. Raises SpecError where nothing is to be joined, OutputError where it does not go."""
    from oracle.files import Batch

    page = index_page(folder)
    with Batch(folder) as batch:
        batch.text(NAME, page)
    return folder / NAME
