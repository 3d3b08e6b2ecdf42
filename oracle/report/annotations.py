"""What fails, as annotations for GitHub Actions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from oracle.github import SHOWN, Annotation
from oracle.report.text import clip

if TYPE_CHECKING:
    from oracle.report.model import Report


def annotations(report: "Report") -> Iterator[Annotation]:
    """One for each diagnosis, or else for the first failing rows; the last of as many as are shown counts what is beyond."""
    found = list(_diagnosed(report) if report.diagnoses else _rows(report))
    shown = found if len(found) <= SHOWN else found[: SHOWN - 1]
    for case, title, message in shown:
        again = report.repeat(case)
        yield Annotation(title, message + f"\nTo see it again: {again}" * bool(again), *report.place(case))
    if len(found) > len(shown):
        yield Annotation(f"{len(found) - len(shown):,} more fail", "The job's summary and the log have them.")


def _diagnosed(report: "Report") -> Iterator[tuple[str, str, str]]:
    for advice in report.diagnoses:
        yield advice.case, advice.location, "\n".join([clip(advice.case), *(text for _, text in advice.lines[1:])])


def _rows(report: "Report") -> Iterator[tuple[str, str, str]]:
    for row in report.shown_first.to_dict("records"):
        off = f": {row['sigmas']:.3g} sigmas off" if row["sigmas"] > 0 else ""
        title = f"{row['symbol']} of {clip(row['module'], 60)}: {row['verdict']}{off}"
        yield row["case"], title, "\n".join([clip(row["case"]), *[clip(row["note"])] * bool(row["note"])])
