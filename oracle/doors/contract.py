"""What a gradient owes besides its numbers: each duty is a comparison of two arrays, and so a row like any other."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from oracle.discrepancy import Row, measure
from oracle.doors.guard import Outcome
from oracle.roundoff import size, unit_roundoff
from oracle.tables import CONTRACT, PRINTED
from oracle.verdict import Verdict


def duty(case: str, what: str, found: Any, wanted: Any, fix: str, *, scale: Any = 0.0, module: str = "the candidate") -> Row:
    """One row: `what` holds where the arrays are equal, or within their scale; `fix` says what to do where it does not."""
    result = measure(found, wanted, scale)
    if Verdict(result.verdict).fails:
        result = result._replace(note="; ".join(filter(None, (fix, result.note))))
    shown = np.asarray(wanted)
    shape = "x".join(map(str, shown.shape)) or "scalar"
    fields = {**result._asdict(), "verdict": str(result.verdict)}
    return Row(case, CONTRACT, 0, 0, module, what, what, shape, str(shown.dtype), **fields)


def own_scale(array: Any, sigma: Any = 0.0) -> Any:
    """The scale where a candidate is held against itself: its numbers may be others than the right ones, and round otherwise."""
    return sigma if array.dtype.kind in "iub" else np.maximum(sigma, unit_roundoff(array.dtype) * size(array))


def of_rows(rows: Sequence[Row], what: str, text: str, *, module: str = "the candidate") -> Row:
    """A duty that holds where none of these rows fails: the first that does, with what to do, or else the first."""
    failing = [row for row in rows if Verdict(row.verdict).fails]
    shown = (failing or rows)[0]
    note = f"{shown.symbol}: {text}" if failing else shown.note
    return shown._replace(comparison=CONTRACT, position=0, layer=0, module=module, quantity=what, symbol=what, note=note)


def printed(case: str, outcome: Outcome, *, module: str = "the candidate") -> Iterator[Row]:
    """A row that agrees for what a candidate prints, if it does."""
    if outcome.told:
        yield told(case, PRINTED, outcome.told, module=module)


def told(case: str, what: str, text: str, *, module: str = "the candidate") -> Row:
    """A row that agrees, for something to be told."""
    return duty(case, what, np.zeros(0), np.zeros(0), "", module=module)._replace(note=text)
