"""What a gradient owes besides its numbers: each duty is a comparison of two arrays, and so a row like any other."""

from typing import Any

import numpy as np

from oracle.discrepancy import Row, measure
from oracle.tables import CONTRACT
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
