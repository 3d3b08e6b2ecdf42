"""The report as HTML and as Markdown, from the same model through two templates."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from oracle.report.environment import environment
from oracle.report.pictures import pictures
from oracle.verdict import Verdict

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


def record_names(texts: Iterable[str]) -> list[str]:
    """The names of these records without their options, each once."""
    return list(dict.fromkeys(text.partition("(")[0] for text in texts))


def answer(report: "Report") -> str:
    """The result in one sentence."""
    verdicts = report.verdicts()
    failing = sum(count for name, count in verdicts.items() if Verdict(name).fails)
    count = len(report.cases)
    what = f"{len(report.table):,} comparisons in {count:,} case{'' if count == 1 else 's'}"
    if not len(report.table):
        return "Nothing was compared."
    if not failing:
        shared = f" {report.not_finite:,} of them hold NaN or infinity, the same on both sides." if report.not_finite else ""
        if proved := verdicts.get(Verdict.REFERENCE, 0):
            return (
                f"None of {what} fails: {verdicts[Verdict.AGREE]:,} agree, by hand and autograd differ by rounding alone; "
                f"in {proved:,} torch is inaccurate, and the referee proves the number by hand.{shared}"
            )
        return f"All {what} agree: by hand and autograd differ by rounding alone.{shared}"
    kinds = ", ".join(f"{count:,} {name}" for name, count in verdicts.items() if count and Verdict(name).fails)
    return f"{failing:,} of {what} fail: {kinds}."


def render(report: "Report", template: str) -> str:
    """Fill a template with the report; everything that comes from a case is escaped in HTML."""
    closest = report.table.sort_values("margin", ascending=False, kind="stable").head(10)
    return (
        environment(short=short, breakable=breakable, kinds=record_names)
        .get_template(template)
        .render(
            report=report,
            summary=report.summary(),
            training=report.training,
            answer=answer(report),
            failing=report.shown_first.head(SHOWN).to_dict("records"),
            failing_count=len(report.failing),
            closest=closest.to_dict("records"),
            pictures=pictures(report) if template.endswith(".html.j2") else {},
        )
        .rstrip()
        + "\n"
    )
