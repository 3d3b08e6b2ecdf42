"""What a discrepancy means, and the only tolerance there is."""

from collections.abc import Iterable
from enum import StrEnum

#: An element agrees when it is no further from the reference than this many of its rounding scales (oracle.rounding).
TOLERANCE = 16.0


class Verdict(StrEnum):
    """The outcome of one comparison, from best to worst.

    `reference`: they differ, and the referee proves the candidate right and torch inaccurate. `kink`: an input lies exactly on a
    kink, and the candidate takes another value between the two one-sided ones than torch does: a convention.
    """

    AGREE = "agree"
    REFERENCE = "reference"
    KINK = "kink"
    DIFFER = "differ"
    NONFINITE = "nonfinite"
    MISSING = "missing"

    @property
    def fails(self) -> bool:
        """True unless the candidate agrees, is right where torch is not, or follows another convention."""
        return self not in (Verdict.AGREE, Verdict.REFERENCE, Verdict.KINK)


def all_agree(verdicts: Iterable[str]) -> bool:
    """True when there is at least one verdict and none of them fails: nothing compared is not agreement."""
    found = set(verdicts)
    return bool(found) and not any(Verdict(verdict).fails for verdict in found)
