"""How numbers and names are written in a report: short, clipped, and escaped where Markdown would read them."""

import re
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

#: Characters of a name or a note that are shown; a case may have any name.
CLIPPED = 240


def short(value: Any) -> str:
    """Three significant digits of a number, thousands separated in a count."""
    if isinstance(value, int) or (hasattr(value, "dtype") and value.dtype.kind in "iu"):
        return f"{value:,}"
    return f"{value:.3g}"


def sigmas(value: float) -> str:
    """How far off, with three digits; nothing where there is no number."""
    return short(value) if value == value else ""


def clip(text: str, most: int = CLIPPED) -> str:
    """The text, or its start and how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def breakable(name: str) -> Markup:
    """A case's name, clipped and escaped, that may break behind a slash."""
    return Markup("/<wbr>").join(clip(name).split("/"))


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, on one line, clipped."""
    return re.sub(r"[\\`*_<>&|~#]|(?<=\])\(", r"\\\g<0>", " ".join(clip(text).splitlines()))


def markdown_code(text: str, most: int = CLIPPED) -> str:
    """A code span in Markdown, in a table too; clipped."""
    return f"`{' '.join(clip(text, most).splitlines()).translate({ord('`'): chr(39), ord('|'): '/'})}`"


def record_names(texts: Iterable[str]) -> list[str]:
    """The names of these records without their options, each once."""
    return list(dict.fromkeys(text.partition("(")[0] for text in texts))
