"""From a case to its table: the three runs, their comparison, one tidy row for each quantity and comparison."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from manualbp import Network, Trace
from oracle import judge
from oracle.case import DTYPES, Case
from oracle.discrepancy import Row, compare
from oracle.manual_run import layerwise_run, manual_run
from oracle.rounding import hulls, scales
from oracle.torch_run import torch_run

if TYPE_CHECKING:
    import pandas as pd

END_TO_END, LAYERWISE, ALONE, TRAINING = "end to end", "layerwise", "alone", "training"


def module_names(network: Network) -> tuple[str, ...]:
    """The layers of the chain and the loss, as a reader would write them."""
    return (*map(str, network.layers), str(network.loss))


def check(case: Case) -> None:
    """Raise, before any work, unless the case's numbers fit its network and have a dtype with a tolerance.

    Raises TypeError for the wrong kind of number, ValueError for a wrong count, shape or value.
    """
    case.network.check(case.params, case.x, case.target)
    if str(case.dtype) not in DTYPES:
        *others, last = DTYPES
        raise TypeError(f"the oracle compares {', '.join(others)} and {last}; got {case.dtype}. Convert x, params and target.")


def rows(case: Case, *, candidate: Trace | None = None, layerwise: Trace | None = None) -> list[Row]:
    """Compare a case with autograd, end to end and layerwise.

    `candidate` and `layerwise` stand in for manualbp's own two runs, for a gradient that comes from elsewhere. Raises
    TypeError or ValueError when the case does not fit its network.
    """
    check(case)
    reference = torch_run(case)
    scale, wanted, on_kinks = scales(case, reference), reference.quantities(), cache(lambda: hulls(case, reference))
    by_layer = (judge.layerwise(case, reference), scale.own, lambda quantity: on_kinks().own[quantity])
    if case.close:
        own = range(max(len(case.network.layers), 1))
        wanted = {quantity: array for quantity, array in wanted.items() if quantity.position in own}
        runs = {ALONE: (candidate or manual_run(case), *by_layer)}
    else:
        through = (judge.end_to_end(case), scale.through, lambda quantity: on_kinks().through[quantity])
        runs = {
            END_TO_END: (candidate or manual_run(case), *through),
            LAYERWISE: (layerwise or layerwise_run(case, reference), *by_layer),
        }
    return [
        row
        for comparison, (trace, referee, allowed, hull) in runs.items()
        for row in compare(
            case.name,
            comparison,
            module_names(case.network),
            case.dtype,
            {quantity: array for quantity, array in trace.quantities().items() if not case.close or quantity in wanted},
            wanted,
            allowed,
            trace.failure or reference.failure,
            referee,
            hull,
            close=case.close,
        )
    ]


def table(found: Iterable[Row]) -> "pd.DataFrame":
    """The rows as a pandas table; texts that repeat are categories, ratios have float32's seven digits."""
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame(list(found), columns=Row._fields)
    repeated = ["case", "comparison", "module", "quantity", "symbol", "shape", "dtype", "verdict"]
    with np.errstate(over="ignore"):
        return frame.astype(
            {**dict.fromkeys(repeated, "category"), "max_rel": "f4", "normwise": "f4", "sigmas": "f4", "margin": "f4"}
        )


def discrepancies(case: Case, *, candidate: Trace | None = None, layerwise: Trace | None = None) -> "pd.DataFrame":
    """The table of one case: one row for each quantity, end to end and layerwise, with numbers and verdict."""
    return table(rows(case, candidate=candidate, layerwise=layerwise))
