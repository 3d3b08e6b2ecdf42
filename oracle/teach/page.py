"""The lesson as one HTML file: everything in it, nothing fetched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from oracle.check import END_TO_END, LAYERWISE
from oracle.files import Batch
from oracle.report.environment import environment
from oracle.report.text import clip
from oracle.roundoff import unit_roundoff
from oracle.teach import mathml
from oracle.teach.breakit import Breaking, Broken
from oracle.teach.chart import Chart
from oracle.teach.differences import PLANTED
from oracle.verdict import TOLERANCE

if TYPE_CHECKING:
    from oracle.teach.lessons import Lesson

PAGE = "teach.html"
UNIT = unit_roundoff(np.dtype(np.float64))


def number(value: Any) -> Markup:
    """A number in text with three digits; all of them are in its title, and shown on demand."""
    full = repr(float(value))
    return Markup('<data value="{0}" data-full="{0}" title="{0}">{1}</data>').format(full, mathml.digits(value))


def sigmas(value: float) -> str:
    """A distance in rounding scales."""
    return f"{mathml.digits(value)} σ" if np.isfinite(value) else "more than can be counted"


def array(value: Any) -> Markup:
    """An array, or a single number, as a formula; a dash where a side does not give it."""
    if value is None:
        return Markup("–")
    if np.ndim(value) == 0:
        return mathml.math(mathml.number(value))
    return mathml.math(mathml.matrix(value))


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "array": array,
    "sigmas": sigmas,
    "clip": clip,
    "digits": mathml.digits,
    "formula": mathml.formula,
    "matrix": mathml.matrix,
    "mn": mathml.number,
}

#: The parts of the page by id and name, and whether a lesson has them.
SECTIONS: tuple[tuple[str, str, Callable[["Lesson"], bool]], ...] = (
    ("network", "The network, forward and back", lambda _: True),
    ("version1", "Version 1: matrices", lambda _: True),
    ("version2", "Version 2: node by node", lambda lesson: lesson.nodes is not None),
    ("joined", "The two joined", lambda _: True),
    ("update", "The update", lambda _: True),
    ("care", "Where the shorthand needs care", lambda lesson: bool(lesson.cares)),
    ("break", "Break it", lambda _: True),
    ("differences", "Finite differences", lambda lesson: lesson.differences.possible),
    ("exercise", "Now by your own hand", lambda _: True),
)


def render(lesson: "Lesson") -> str:
    """The page; every text that comes from the case is escaped, and cut where it is very long."""
    template = environment(**FILTERS).get_template("teach.html.j2")
    return (
        template.render(
            sections=[(anchor, name) for anchor, name, there in SECTIONS if there(lesson)],
            planted=PLANTED,
            meeting=(UNIT**0.5, UNIT ** (1 / 3)),
            lesson=lesson,
            chart=Chart(lesson.differences) if lesson.differences.possible else None,
            data=_script(_broken(lesson.breaking)),
            tolerance=TOLERANCE,
        ).rstrip()
        + "\n"
    )


def frame(lesson: "Lesson") -> str:
    """The page in a frame, as a notebook shows it."""
    page = escape(render(lesson))
    return f'<iframe title="The lesson" style="width: 100%; height: 40rem; border: 0" srcdoc="{page}"></iframe>'


def write(lesson: "Lesson", folder: Path) -> Path:
    """Write the page into the folder; whole or not at all. Raises OutputError."""
    page = render(lesson)
    with Batch(folder) as batch:
        batch.text(PAGE, page)
    return folder / PAGE


def _script(value: Any) -> Markup:
    """Data in a page: JSON in which nothing can end the script it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def _broken(breaking: Breaking) -> dict[str, Any]:
    """What the page needs to break the network: the layers with their quantities, the right picture, each mistake's."""
    symbols = [symbol for _, own in breaking.layers for symbol in own]
    columns = [(comparison, symbol) for comparison in (END_TO_END, LAYERWISE) for symbol in symbols]

    def cells(picture: Any) -> list[list[Any]]:
        return [[cell.verdict, _plain(cell.sigmas)] if (cell := picture.get(key)) else ["missing", None] for key in columns]

    def changed(broken: Broken) -> dict[int, list[Any]]:
        right = cells(breaking.right)
        return {at: cell for at, (cell, before) in enumerate(zip(cells(broken.picture), right, strict=True)) if cell != before}

    return {
        "layers": [{"name": name, "symbols": own} for name, own in breaking.layers],
        "right": cells(breaking.right),
        "mistakes": [
            {
                "name": choice.mistake.name,
                "why": choice.mistake.explanation,
                "effect": choice.mistake.effect,
                "places": [
                    {"where": broken.name, "cells": changed(broken), "lines": [[line.kind, line.text] for line in broken.lines]}
                    for broken in choice.places
                ],
            }
            for choice in breaking.choices
        ],
    }


def _plain(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None
