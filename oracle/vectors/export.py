"""Freezes a case: torch's numbers, the rounding allowed to each, and the mistakes that show. This needs torch."""

from typing import Any

import numpy as np

from oracle.case import Case, Spec
from oracle.check import rows as compared
from oracle.drawn import Drawn, is_drawn
from oracle.drawn import build as draw
from oracle.inputs import build
from oracle.manual_run import manual_run
from oracle.mistakes import planted
from oracle.report.model import versions
from oracle.rounding import scales
from oracle.torch_run import torch_run
from oracle.vectors.check import rows
from oracle.vectors.document import Frozen
from oracle.vectors.reading import VectorsError
from oracle.verdict import TOLERANCE, Verdict

#: Whose versions are told.
PACKAGES = ("torch", "numpy")


def build_case(text: str, seed: int) -> Case:
    """The numbers of a network, by its name."""
    return draw(Drawn.parse(text), seed) if is_drawn(text) else build(Spec.parse(text), seed)


def freeze(case: Case) -> Frozen:
    """Freeze a case. Raises VectorsError where torch's numbers are no reference: inaccurate, on a kink, or not finite."""
    off = [row for row in compared(case) if row.verdict != Verdict.AGREE]
    if off:
        reason = off[0].note or f"by hand it is {off[0].sigmas:.3g} sigmas off"
        raise VectorsError(f"{case.name}: {off[0].symbol} is {off[0].verdict}, {reason}. Freeze it with another --seed.")
    reference = torch_run(case)
    with np.errstate(over="ignore"):
        allowed = {quantity: TOLERANCE * sigma for quantity, sigma in scales(case, reference).through.items()}
    for quantity, array in reference.quantities().items():
        if not (np.isfinite(np.asarray(array, np.float64)).all() and np.isfinite(allowed[quantity]).all()):
            raise VectorsError(f"{case.name}: {quantity.symbol} is not finite. Freeze it with another --seed.")
    found = versions()
    frozen = Frozen(case, reference, allowed, {}, {name: found[name] for name in PACKAGES})
    return Frozen(case, reference, allowed, exposed(frozen), frozen.versions)


def exposed(frozen: Frozen) -> dict[str, tuple[int, ...]]:
    """The mistakes that fail when they are made in this case, with the positions at which they do."""
    honest: Any = manual_run(frozen.case)
    found: dict[str, tuple[int, ...]] = {}
    for mistake, position in planted(frozen.case):
        wrong = rows(frozen, mistake.run(frozen.case, position, honest))
        if any(Verdict(row.verdict).fails for row in wrong):
            found[mistake.name] = (*found.get(mistake.name, ()), position)
    return found
