"""What a discrepancy means, and the only tolerance there is."""

from collections.abc import Iterable
from enum import StrEnum

#: An array agrees when no element is further from the reference than this many rounding scales (oracle.rounding).
#: One normwise number per dtype, measured: over six full sweeps (seeds 0 to 5, 1,058,928 comparisons of correct networks) the
#: largest ratio was 3.74 in float64 and 4.38 in float32. tests/test_tolerance.py measures again on another seed.
TOLERANCE = {"float64": 16.0, "float32": 16.0}


class Verdict(StrEnum):
    """The outcome of one comparison, from best to worst."""

    AGREE = "agree"
    DIFFER = "differ"
    NONFINITE = "nonfinite"
    MISSING = "missing"

    @property
    def fails(self) -> bool:
        return self is not Verdict.AGREE


def all_agree(verdicts: Iterable[str]) -> bool:
    """True when there is at least one verdict and none of them fails: nothing compared is not agreement."""
    found = set(verdicts)
    return bool(found) and not any(Verdict(verdict).fails for verdict in found)
