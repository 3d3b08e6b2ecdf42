"""The answer of a report in words: how it came out, and why it fails where it does."""

from collections import Counter
from typing import TYPE_CHECKING

from oracle.tables import NOT_READ, PRINTED
from oracle.verdict import TOLERANCE, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

    from oracle.report.model import Report

#: Sentences about why something fails.
REASONS = 3

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


def remarks(table: "DataFrame") -> list[str]:
    """What is told and is no fault: what a candidate printed, or returned for nothing."""
    rows = table[table["quantity"].isin([PRINTED, NOT_READ])]
    return list(dict.fromkeys(f"{row.module}: {row.note}" for row in rows.itertuples()))[:REASONS]


def reasons(report: "Report") -> list[str]:
    """Why it fails, in a sentence for each explanation that the diagnosed cases have, the most frequent first."""
    first: dict[str, str] = {}
    count = Counter[str]()
    for advice in report.diagnoses:
        named: dict[int, list[str]] = {}
        for match in advice.matches:
            named.setdefault(match["match"], []).append(match["name"])
        told = " or ".join(dict.fromkeys(" and ".join(f"“{name}”" for name in dict.fromkeys(names)) for names in named.values()))
        compared = any(kind == "far" for kind, _ in advice.lines)
        why = f"it looks like {told}" if told else "no mistake of the catalogue gives these numbers" if compared else ""
        first.setdefault(why, advice.location)
        count[why] += 1
    total = len(report.diagnoses)
    lines = [
        f"{first[why]}{f': {why}' if why else ''}" + (f" ({number} of {total} diagnosed cases)." if total > 1 else ".")
        for why, number in count.most_common()
    ]
    more = len(lines) - REASONS
    return lines if more <= 0 else [*lines[:REASONS], f"{more} explanation{'' if more == 1 else 's'} more below."]
