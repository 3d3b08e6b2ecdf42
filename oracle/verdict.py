"""What a discrepancy means, and the only tolerance there is."""

from collections.abc import Iterable
from enum import StrEnum

#: An element agrees when it is no further from the reference than this many of its rounding scales (oracle.rounding).
#: One number per dtype, measured: over six full sweeps of the networks of an earlier catalogue (seeds 0 to 5, 1,058,928
#: comparisons) the largest ratio of any element was 11.1 in float64 and 9.4 in float32; of today's networks in float16 it is
#: 11.0 and in bfloat16 11.5 (seed 20261124, 113,156 comparisons). tests/test_tolerance.py measures again.
TOLERANCE = {"float64": 48.0, "float32": 48.0, "float16": 32.0, "bfloat16": 32.0}


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
