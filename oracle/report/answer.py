"""What a report answers to whoever asked about one gradient: in words, as an error, in a notebook."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from oracle.diagnosis.advice import Advice

#: The columns of the table in an error.
SHOWN = ("symbol", "module", "comparison", "shape", "worst_index", "candidate", "reference", "sigmas", "verdict")
#: So many rows that agree are shown with those that fail.
AGREEING = 12


class GradientError(AssertionError):
    """A gradient is wrong; the text holds every comparison that fails, where it goes wrong, and which mistake it is."""


class Answer:
    """What `Report` derives from its table and diagnoses."""

    table: "pd.DataFrame"
    diagnoses: "Sequence[Advice]"
    #: What the check cost, in passes forward and back of the reference; NaN where that was not measured.
    passes: float

    @property
    def ok(self) -> bool:
        raise NotImplementedError

    @property
    def failing(self) -> "pd.DataFrame":
        raise NotImplementedError

    def to_html(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.explain()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.failing)} of {len(self.table)} comparisons fail>"

    @property
    def diagnosis(self) -> str:
        """Where it goes wrong and which mistake it is, case by case; empty where nothing is wrong."""
        return "\n\n".join(
            "\n  ".join([title, f"In {advice.case}.", *(text for _, text in lines)])
            for advice in self.diagnoses
            for (_, title), *lines in [advice.lines]
        )

    def explain(self) -> str:
        """All of it as text: every row that fails, as many that agree as help to see where, and the diagnosis."""
        from oracle.report.words import remarks

        failing = self.failing
        others = self.table.drop(failing.index)
        title = (
            f"{len(failing)} of {len(self.table)} comparisons fail"
            if len(failing)
            else f"all {len(self.table)} comparisons agree"
        )
        parts = [title, _text(failing), self.diagnosis, *remarks(self.table)]
        parts += [f"What agrees:\n{_text(others.head(AGREEING))}" if len(others) else ""]
        parts += [f"{len(others) - AGREEING} more agree." if len(others) > AGREEING else ""]
        parts += [f"It cost {self.passes:.0f} passes forward and back of the reference." if self.passes == self.passes else ""]
        return "\n\n".join(filter(None, parts))

    def raise_if_failed(self) -> None:
        """Raise GradientError unless everything agrees."""
        __tracebackhide__ = True  # pytest shows the caller's line
        if not self.ok:
            raise GradientError(self.explain())

    def _repr_html_(self) -> str:
        """The report in a notebook, in a frame of its own so that its style stays there."""
        from html import escape

        return f'<iframe srcdoc="{escape(self.to_html())}" style="width: 100%; height: 640px; border: 0"></iframe>'


def _text(rows: Any) -> str:
    """The rows, each with its note below."""
    if rows.empty:
        return ""
    rows = rows.sort_values("case", kind="stable")
    shown = rows[list(SHOWN)].astype(dict.fromkeys(SHOWN, object))
    for name in ("candidate", "reference"):
        shown[name] = [f"{value:.9g}" for value in rows[name]]
    shown["sigmas"] = [f"{value:.3g}" for value in rows["sigmas"]]
    head, *lines = shown.to_string(index=False).split("\n")
    text, before = [f"  {head}"], ""
    for line, case, note in zip(lines, rows["case"], rows["note"], strict=True):
        text += [f"{case}:"] * (case != before) + [f"  {line}"] + [f"      {note}"] * bool(note)
        before = case
    return "\n".join(text)
