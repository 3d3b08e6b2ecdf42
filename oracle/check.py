"""From a case to its table: the three runs, their comparison, one tidy row for each quantity and comparison."""

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, Any

from manualbp import Quantity, Trace
from oracle import judge
from oracle.case import DTYPES, Case
from oracle.corrected import inherited
from oracle.discrepancy import Row, compare
from oracle.manual_run import layerwise_run, manual_run
from oracle.rounding import Scales, scales, sides
from oracle.tables import ALONE, END_TO_END, LAYERWISE, module_names, table
from oracle.torch_run import torch_run

if TYPE_CHECKING:
    import pandas as pd


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
    wanted, on_kinks = reference.quantities(), cache(lambda: sides(case, reference))

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
    through = inherited(case, reference, scale, through, by_layer, by_hand)
    return [*through, *(by_layer if claimed is None else ())]


def discrepancies(case: Case, *, candidate: Trace | None = None, layerwise: Trace | None = None) -> "pd.DataFrame":
    """The table of one case: one row for each quantity, end to end and layerwise, with numbers and verdict."""
    return table(rows(case, candidate=candidate, layerwise=layerwise))
