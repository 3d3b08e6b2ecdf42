"""From answers to figures: errors in ulps, the worst and where it happens, and whether the criterion holds."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oracle.accuracy.points import limits
from oracle.accuracy.sample import Floats, Marks, Quantity, Sample
from oracle.accuracy.slices import Slices, sliced
from oracle.accuracy.subject import Subject
from oracle.referee import ulp_error

#: Ulps that our value and our derivative may be wrong by, and the gradient of a loss.
LIMITS = {"float64": (4.0, 8.0), "float32": (2.0, 4.0), "float16": (1.0, 1.0), "bfloat16": (1.0, 1.0)}
LOSS_LIMIT = 8.0
#: Unit roundoffs of the largest term that a derivative may be wrong by instead, near one of its zeros.
ROUNDOFFS = 4.0
#: Two worst errors within so many ulps of each other are equal.
EQUAL = 1.0


@dataclass(frozen=True)
class Measured:
    """One function in one dtype. Errors are in ulps of the truth in that dtype; NaN where nothing was measured.

    A derivative's worst error leaves out the elements near one of its zeros that are off by no more than `ROUNDOFFS` of the
    largest term; the one `everywhere` does not. `near_zero` counts the elements near a zero, `excused` those of ours that are
    left out and off by more ulps than the limit.
    """

    function: str
    kind: str
    dtype: str
    inputs: int
    ours_value_ulp: float = np.nan
    torch_value_ulp: float = np.nan
    ours_derivative_ulp: float = np.nan
    torch_derivative_ulp: float = np.nan
    ours_value_median_ulp: float = np.nan
    torch_value_median_ulp: float = np.nan
    ours_derivative_median_ulp: float = np.nan
    torch_derivative_median_ulp: float = np.nan
    ours_derivative_ulp_everywhere: float = np.nan
    torch_derivative_ulp_everywhere: float = np.nan
    near_zero: int = 0
    excused: int = 0
    value_limit: float | None = None
    derivative_limit: float = np.nan
    where: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    unmeasured: bool = False
    slices: dict[str, Slices] = field(default_factory=dict, repr=False)

    @property
    def value_holds(self) -> bool:
        return self.value_limit is None or self.ours_value_ulp <= self.value_limit

    @property
    def derivative_holds(self) -> bool:
        return self.ours_derivative_ulp <= self.derivative_limit

    @property
    def holds(self) -> bool:
        """True where the criterion is met; NaN, nothing measured, never meets it."""
        return self.value_holds and self.derivative_holds

    @property
    def standing(self) -> str:
        """Our worst derivative error beside torch's: below, equal (within one ulp), above."""
        ours, torchs = self.ours_derivative_ulp, self.torch_derivative_ulp
        if ours == torchs or abs(ours - torchs) <= EQUAL:
            return "equal"
        return "below" if ours < torchs else "above"

    @property
    def name(self) -> str:
        return f"{self.function} in {self.dtype}"


def allowed(kind: str, subject: Subject) -> tuple[float | None, float]:
    """What the criterion allows value and derivative, in ulps; of the value of a loss it asks nothing.

    Nor does it of a loss with a matrix of its own: the rounding of a product of matrices is not a loss's.
    """
    if kind != "loss":
        return LIMITS[subject.dtype]
    return None, np.inf if subject.record.parameter_shapes() else LOSS_LIMIT


def figures(subject: Subject, kind: str, sample: Sample) -> Measured:
    """The figures of a sample."""
    most = allowed(kind, subject)
    found: dict[str, Any] = {}
    where, slices, excused = {}, {}, 0
    for name in ("value", "derivative"):
        part: Quantity = getattr(sample, name)
        for side in ("ours", "torch"):
            answer = getattr(part, side)
            errors = np.where(part.counts, ulp_error(answer, part.truth, subject.numpy), 0.0)
            exempt = _exempt(part, answer, subject)
            worst = _worst(np.where(exempt, 0.0, errors), part.at)
            found |= {
                f"{side}_{name}_ulp": 0.0 if exempt[worst] else float(errors[worst]),
                f"{side}_{name}_median_ulp": float(np.median(errors[part.counts])) if part.counts.any() else 0.0,
            }
            if name == "derivative":
                found[f"{side}_derivative_ulp_everywhere"] = float(errors.max())
                excused = int((exempt & (errors > most[1])).sum()) if side == "ours" else excused
            where[f"{side}_{name}"] = _place(part, worst, side)
            slices[f"{side}_{name}"] = sliced(part.at, errors, part.counts)
    return Measured(
        subject.function, kind, subject.dtype, sample.inputs,
        near_zero=int(sample.derivative.near.sum()), excused=excused, value_limit=most[0], derivative_limit=most[1],
        where=where, note="; ".join(f"{side} {text}" for side, text in sample.failures.items()), slices=slices, **found,
    )  # fmt: skip


def _exempt(part: Quantity, answer: Any, subject: Subject) -> Marks:
    """Elements near a zero of the derivative, with an error of a few roundoffs of the largest term."""
    if not part.near.any():
        return part.near
    roundoff = float(limits(subject.numpy).eps) / 2
    with np.errstate(all="ignore"):
        distance = np.abs(answer.astype(np.float64) - part.truth.hi - part.truth.lo)
    found: Marks = part.near & (distance <= ROUNDOFFS * roundoff * part.largest)
    return found


def _worst(errors: Floats, at: Floats) -> int:
    """The largest error; among several, the one at the smallest input, which says most."""
    ties = np.flatnonzero(errors == errors.max())
    return int(ties[np.argmin(np.nan_to_num(np.abs(at[ties]), nan=np.inf))])


def _place(part: Quantity, i: int, side: str) -> dict[str, Any]:
    """An element: its input, the truth there, what was found, and what both sides say."""
    truth: Any = float(part.truth.hi[i])
    if part.truth.at_kink[i]:
        truth = [float(part.truth.low[i]), float(part.truth.high[i])]
    both = {"ours": float(part.ours[i]), "torch": float(part.torch[i])}
    return {"input": part.describe(i), "truth": truth, "found": both[side], **both}
