"""From a case to its table: the three runs, their comparison, one tidy row for each quantity and comparison."""

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from manualbp import Quantity, Trace
from oracle import judge
from oracle.case import DTYPES, Case
from oracle.corrected import UnknownTruthError, corrected_run
from oracle.discrepancy import Row, compare, measure
from oracle.inputs import generator
from oracle.manual_run import layerwise_run, manual_run
from oracle.rounding import Scale, Scales, floor, hulls, movement, scales, unit_roundoff
from oracle.tables import ALONE, END_TO_END, LAYERWISE, module_names, table
from oracle.torch_run import torch_run
from oracle.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

#: With the truth in the place of torch's numbers, rounding is measured by so many runs in which all that is handed on is rounded.
AGAIN = 3
#: Divided by, it leaves a number.
TINY = float(np.finfo(np.float64).tiny)


def check(case: Case) -> None:
    """Raise, before any work, unless the case's numbers fit its network and have a dtype with a tolerance.

    Raises TypeError for the wrong kind of number, ValueError for a wrong count, shape or value.
    """
    case.network.check(case.params, case.x, case.target)
    if str(case.dtype) not in DTYPES:
        *others, last = DTYPES
        raise TypeError(f"the oracle compares {', '.join(others)} and {last}; got {case.dtype}. Convert x, params and target.")


def rows(
    case: Case,
    *,
    candidate: Trace | None = None,
    layerwise: Trace | None = None,
    reference: Trace | None = None,
    scale: Scales | None = None,
    claimed: Collection[str] | None = None,
) -> list[Row]:
    """Compare a case with autograd, end to end and layerwise.

    `candidate` and `layerwise` stand in for manualbp's own two runs, for a gradient that comes from elsewhere. Where one claims
    to give only some quantities, `claimed` holds their symbols, and only these are compared, end to end. `reference` and `scale`
    are computed where they are not given. Raises TypeError or ValueError when the case does not fit its network.
    """
    check(case)
    reference = torch_run(case) if reference is None else reference
    scale = scales(case, reference) if scale is None else scale
    wanted, on_kinks = reference.quantities(), cache(lambda: hulls(case, reference))

    def compared(comparison: str, trace: Trace, referee: judge.Ask, part: int, wanted: dict[Quantity, Any]) -> list[Row]:
        given, partly = trace.quantities(), case.close or wanted.keys() != reference.quantities().keys()
        return list(
            compare(
                case.name,
                comparison,
                module_names(case.network),
                case.dtype,
                {quantity: array for quantity, array in given.items() if not partly or quantity in wanted},
                wanted,
                scale[part],
                trace.failure or reference.failure,
                referee,
                lambda quantity: scale[part + 2][quantity],
                lambda quantity: on_kinks()[part][quantity],
                close=case.close,
            )
        )

    one_layer = judge.layerwise(case, reference)
    if case.close:
        own = range(max(len(case.network.layers), 1))
        wanted = {quantity: array for quantity, array in wanted.items() if quantity.position in own}
        return compared(ALONE, candidate or manual_run(case), one_layer, 1, wanted)
    by_hand = candidate or manual_run(case)
    ours = {quantity: array for quantity, array in wanted.items() if claimed is None or quantity.symbol in claimed}
    through = compared(END_TO_END, by_hand, judge.end_to_end(case), 0, ours)
    by_layer = compared(LAYERWISE, layerwise or layerwise_run(case, reference), one_layer, 1, wanted)
    through = _inherited(case, through, by_layer, by_hand, wanted, scale.through)
    return [*through, *(by_layer if claimed is None else ())]


def _inherited(
    case: Case, through: list[Row], by_layer: list[Row], trace: Trace, wanted: dict[Quantity, Any], scale: Scale
) -> list[Row]:
    """The rows end to end, with `reference` where torch's inaccuracy in a layer, proved there, explains all that differs."""
    inaccurate = {row.position for row in by_layer if row.verdict == Verdict.REFERENCE}
    if not inaccurate or all(row.verdict in (Verdict.AGREE, Verdict.REFERENCE) for row in through):
        return through
    rng, u = generator(0, case.name), unit_roundoff(case.dtype)

    def disturb(array: Any) -> Any:
        return array * (1 + u * rng.choice([-1.0, 1.0], np.shape(array)))

    try:
        truth = corrected_run(case, inaccurate).quantities()
        noisy = [corrected_run(case, inaccurate, disturb).quantities() for _ in range(AGAIN)]
    except UnknownTruthError:
        return through
    where = ", ".join(module_names(case.network)[at] for at in sorted(inaccurate))
    named, given = {quantity.symbol: quantity for quantity in truth}, trace.quantities()
    rows = []
    for row in through:
        if row.symbol in named and row.verdict not in (Verdict.AGREE, Verdict.REFERENCE):
            quantity = named[row.symbol]
            with np.errstate(all="ignore"):
                right = np.asarray(truth[quantity]).astype(case.dtype)
                moved = movement(truth[quantity], np.array([run[quantity] for run in noisy]))
                own = np.maximum(moved, scale_of(right, truth[quantity], wanted[quantity], scale[quantity]))
                found = measure(given.get(quantity), right, own)
            if found.verdict == Verdict.AGREE:
                note = f"torch is inaccurate in {where}; with the truth there the candidate is within {found.sigmas:.2g} sigmas"
                row = row._replace(verdict=str(Verdict.REFERENCE), note=note)
        rows.append(row)
    return rows


def scale_of(right: Any, exact: Any, reference: Any, scale: Any) -> Any:
    """The rounding scale of an array that stands in the reference's place, and may be larger where torch is wrong."""
    size = np.abs(np.asarray(reference, dtype=np.float64))
    share = np.max(scale, initial=0.0) / max(float(np.max(size, initial=0.0, where=np.isfinite(size))), TINY)
    return np.maximum(np.maximum(scale, floor(right, exact, right.dtype)), share * np.abs(right.astype(np.float64)))


def discrepancies(case: Case, *, candidate: Trace | None = None, layerwise: Trace | None = None) -> "pd.DataFrame":
    """The table of one case: one row for each quantity, end to end and layerwise, with numbers and verdict."""
    return table(rows(case, candidate=candidate, layerwise=layerwise))
