"""Freezes a case: torch's numbers, the rounding allowed to each, and the mistakes that show. This needs torch."""

from dataclasses import replace
from typing import Any

import numpy as np

from oracle import alone, drawn, inputs
from oracle.alone import Alone, is_alone
from oracle.case import Case, Spec
from oracle.check import rows as compared
from oracle.corrected import scale_of
from oracle.drawn import Drawn, is_drawn
from oracle.manual_run import manual_run
from oracle.mistakes import planted
from oracle.report.model import versions
from oracle.rounding import scales
from oracle.torch_run import torch_run
from oracle.vectors.check import rows
from oracle.vectors.document import Frozen, trace_of
from oracle.vectors.reading import VectorsError
from oracle.verdict import TOLERANCE, Verdict

#: Whose versions are told.
PACKAGES = ("torch", "numpy")


def build_case(text: str, seed: int) -> Case:
    """The numbers of a network, or of a loss alone, by its name."""
    if is_drawn(text):
        return drawn.build(Drawn.parse(text), seed)
    return alone.build(Alone.parse(text), seed) if is_alone(text) else inputs.build(Spec.parse(text), seed)


def freeze(case: Case) -> Frozen:
    """Freeze a case. Where the referee proves torch inaccurate, the number by hand stands in its place.

    Raises VectorsError where neither is a reference: on a kink, where they differ, or where numbers are not finite.
    """
    proved = []
    for row in compared(case):
        if row.verdict == Verdict.REFERENCE:
            proved.append(row.symbol)
        elif row.verdict != Verdict.AGREE:
            reason = row.note or f"by hand it is {row.sigmas:.3g} sigmas off"
            raise VectorsError(f"{case.name}: {row.symbol} is {row.verdict}, {reason}. Freeze it with another --seed.")
    by_torch, found = torch_run(case), versions()
    measured = scales(case, by_torch)
    by_hand, scale = manual_run(case).quantities(), measured.through
    numbers, allowed = {}, {}
    for quantity, array in by_torch.quantities().items():
        numbers[quantity.symbol], sigma = np.asarray(array), scale[quantity]
        if quantity.symbol in proved:
            numbers[quantity.symbol] = right = np.asarray(by_hand[quantity])
            sigma = scale_of(right, right, array, sigma)
        with np.errstate(over="ignore"):
            allowed[quantity] = TOLERANCE * np.asarray(sigma, np.float64)
        if not (np.isfinite(numbers[quantity.symbol].astype(np.float64)).all() and np.isfinite(allowed[quantity]).all()):
            raise VectorsError(f"{case.name}: {quantity.symbol} is not finite. Freeze it with another --seed.")
    reference = trace_of(case.network, case.x, numbers)
    frozen = Frozen(case, reference, allowed, proved=tuple(proved), versions={name: found[name] for name in PACKAGES})
    return replace(frozen, exposes=exposed(frozen))


def exposed(frozen: Frozen) -> dict[str, tuple[int, ...]]:
    """The mistakes that fail when they are made in this case, with the positions at which they do."""
    honest: Any = manual_run(frozen.case)
    found: dict[str, tuple[int, ...]] = {}
    for mistake, position in planted(frozen.case):
        wrong = rows(frozen, mistake.run(frozen.case, position, honest))
        if any(Verdict(row.verdict).fails for row in wrong):
            found[mistake.name] = (*found.get(mistake.name, ()), position)
    return found
