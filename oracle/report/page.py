"""The report as HTML and as Markdown, from the same model through two templates."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from oracle.report.environment import environment
from oracle.report.pictures import pictures
from oracle.verdict import TOLERANCE, Verdict

if TYPE_CHECKING:
    from oracle.report.model import Report

#: Rows of the longest tables; the rest is in discrepancies.parquet.
SHOWN = 40


def short(value: Any) -> str:
    """Three significant digits of a number, thousands separated in a count."""
    if isinstance(value, int) or (hasattr(value, "dtype") and value.dtype.kind in "iu"):
        return f"{value:,}"
    return f"{value:.3g}"


def breakable(name: str) -> Markup:
    """A case's name, escaped, that may break behind a slash."""
    return Markup("/<wbr>").join(name.split("/"))


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"[\\`*_<>&|~#]|(?<=\])\(", r"\\\g<0>", text).replace("\n", " ")


def markdown_code(text: str) -> str:
    """A code span in Markdown, in a table too."""
    return f"`{text.translate({ord('`'): chr(39), ord('|'): '/', 10: ' '})}`"


def record_names(texts: Iterable[str]) -> list[str]:
    """The names of these records without their options, each once."""
    return list(dict.fromkeys(text.partition("(")[0] for text in texts))


#: In words, the verdicts of what differs and is no error.
_SETTLED = {
    Verdict.REFERENCE: "torch is inaccurate, and the referee proves the number by hand",
    Verdict.KINK: "an input lies on a kink, and by hand another subgradient is taken than torch's: a convention, no error",
}


def answer(report: "Report") -> str:
    """The result in a few sentences: what fails, what is allowed, and what differs and is no error."""
    if not len(report.table):
        return "Nothing was compared."
    verdicts, count = report.verdicts(), len(report.cases)
    what = f"{len(report.table):,} comparisons in {count:,} case{'' if count == 1 else 's'}"
    settled = [
        f"In {verdicts[name]:,} {wording}." for name, wording in _SETTLED.items() if verdicts[name] and name not in report.fails
    ]
    if not report.ok:
        kinds = ", ".join(f"{number:,} {name}" for name, number in verdicts.items() if number and name in report.fails)
        return " ".join([f"{len(report.failing):,} of {what} fail: {kinds}. {TOLERANCE:g} sigmas are allowed.", *settled])
    shared = f" {report.not_finite:,} of them hold NaN or infinity, the same on both sides." if report.not_finite else ""
    start = f"None of {what} fails: {verdicts[Verdict.AGREE]:,} agree" if settled else f"All {what} agree"
    most = f", by at most {report.closest['sigmas'].max():.3g} of the {TOLERANCE:g} sigmas allowed" if len(report.closest) else ""
    return " ".join([f"{start}: by hand and autograd differ by rounding alone{most}.{shared}", *settled])


def render(report: "Report", template: str) -> str:
    """Fill a template with the report; everything that comes from a case is escaped in HTML."""
    return (
        environment(short=short, breakable=breakable, kinds=record_names, text=markdown_text, code=markdown_code)
        .get_template(template)
        .render(
            report=report,
            summary=report.summary(),
            training=report.training,
            answer=answer(report),
            failing=report.shown_first.head(SHOWN).to_dict("records"),
            failing_count=len(report.failing),
            settled=report.settled.head(SHOWN).to_dict("records"),
            closest=report.closest.head(10).to_dict("records"),
            pictures=pictures(report) if template.endswith(".html.j2") else {},
        )
        .rstrip()
        + "\n"
    )
