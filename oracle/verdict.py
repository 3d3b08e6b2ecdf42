"""What a discrepancy means, and the only tolerance there is."""

from collections.abc import Iterable
from enum import StrEnum

#: An element agrees when it is no further from the reference than this many of its rounding scales (oracle.rounding).
#: One number, measured: over six full sweeps of an earlier and smaller catalogue (1,058,928 comparisons) the largest ratio of any
#: element was 11.1; over today's (seed 0) it is 45 in float32 and 27 in bfloat16, and below 5 in 99.9 % of the comparisons. An
#: operation inside a layer is not modelled yet; where that matters the referee decides. tests/test_tolerance.py measures again.
TOLERANCE = {"float64": 48.0, "float32": 48.0, "float16": 48.0, "bfloat16": 48.0}


class Verdict(StrEnum):
    """The outcome of one comparison, from best to worst.

    `reference`: they differ, and the referee proves the candidate right and torch inaccurate.
    """

    AGREE = "agree"
    REFERENCE = "reference"
    DIFFER = "differ"
    NONFINITE = "nonfinite"
    MISSING = "missing"

    @property
    def fails(self) -> bool:
        """True unless the candidate agrees, or is right where torch is not."""
        return self not in (Verdict.AGREE, Verdict.REFERENCE)


def all_agree(verdicts: Iterable[str]) -> bool:
    """True when there is at least one verdict and none of them fails: nothing compared is not agreement."""
    found = set(verdicts)
    return bool(found) and not any(Verdict(verdict).fails for verdict in found)
