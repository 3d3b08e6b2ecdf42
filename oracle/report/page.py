"""The report as HTML, as Markdown and in a notebook: one model, one template each."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from oracle.report.embedded import LONGEST, pack
from oracle.report.environment import environment, filled
from oracle.report.grid import MARKS, SHADES, activation_by_loss, layer_by_quantity, layer_key
from oracle.report.text import breakable, clip, markdown_code, markdown_text, record_names, short, sigmas
from oracle.report.words import answer, reasons, remarks

if TYPE_CHECKING:
    from oracle.report.model import Report


def address(view: dict[str, Any]) -> str:
    """The part of the page's own address that shows these rows."""
    return f"#{urlencode({name: clip(str(value), LONGEST) for name, value in view.items()})}"


def render(report: "Report", template: str) -> str:
    """Fill a template with the report; everything that comes from a case is escaped."""
    from oracle.report.pictures import pictures

    whole = template == "report.html.j2"
    made = environment(
        short=short,
        sigmas=sigmas,
        clip=clip,
        breakable=breakable,
        kinds=record_names,
        text=markdown_text,
        code=markdown_code,
        hash=address,
    ).get_template(template)
    tables = {"failing": report.shown_first, "settled": report.settled, "closest": report.closest}
    fixed = {
        "report": report,
        "title": "Agree" if report.ok else "Does not agree" if len(report.table) else "Nothing compared",
        "summary": report.summary(),
        "training": report.training,
        "answer": answer(report),
        "reasons": reasons(report),
        "remarks": remarks(report.table),
        "activations": activation_by_loss(report),
        "layers": layer_by_quantity(report),
        "layer_key": layer_key(report.table),
        "shades": SHADES,
        "marks": {verdict.value: mark for verdict, mark in MARKS.items()},
        "pictures": pictures(report) if whole else [],
        "data": pack(report) if whole else "",
    }
    return filled(made, tables, **fixed)
