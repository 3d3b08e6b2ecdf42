"""From a case to its table: the three runs, their comparison, one tidy row for each quantity and comparison."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from manualbp import Network, Trace
from oracle.case import Case
from oracle.discrepancy import Row, compare
from oracle.manual_run import layerwise_run, manual_run
from oracle.rounding import scales
from oracle.torch_run import torch_run

if TYPE_CHECKING:
    import pandas as pd

END_TO_END, LAYERWISE, TRAINING = "end to end", "layerwise", "training"


def module_names(network: Network) -> tuple[str, ...]:
    """The layers of the chain and the loss, as a reader would write them."""
    return (*map(str, network.layers), str(network.loss))


def rows(case: Case, *, candidate: Trace | None = None, layerwise: Trace | None = None) -> list[Row]:
    """Compare a case with autograd, end to end and layerwise.

    `candidate` and `layerwise` stand in for manualbp's own two runs, for a gradient that comes from elsewhere.
    """
    reference = torch_run(case)
    scale = scales(case, reference)
    runs = {
        END_TO_END: candidate or _attempt(case, lambda: manual_run(case)),
        LAYERWISE: layerwise or _attempt(case, lambda: layerwise_run(case, reference)),
    }
    names, wanted = module_names(case.network), reference.quantities()
    return [
        row
        for comparison, trace in runs.items()
        for row in compare(
            case.name,
            comparison,
            names,
            case.dtype,
            trace.quantities(),
            wanted,
            scale,
            trace.failure or reference.failure,
        )
    ]


def _attempt(case: Case, run: Callable[[], Trace]) -> Trace:
    """The run's trace; where it raises, an empty one that says why, so that the case fails and the sweep goes on."""
    try:
        return run()
    except Exception as error:
        count = len(case.network.layers)
        nothing = (None,) * (count + 1)
        message = str(error).partition("\n")[0]
        return Trace(case.network, None, nothing, nothing, ({},) * count, f"candidate raised {type(error).__name__}: {message}")


def table(found: Iterable[Row]) -> "pd.DataFrame":
    """The rows as a pandas table; texts that repeat are categories, ratios have float32's seven digits."""
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame(list(found), columns=Row._fields)
    repeated = ["case", "comparison", "module", "quantity", "symbol", "shape", "dtype", "verdict"]
    with np.errstate(over="ignore"):
        return frame.astype({**dict.fromkeys(repeated, "category"), "max_rel": "f4", "normwise": "f4", "margin": "f4"})


def discrepancies(case: Case, *, candidate: Trace | None = None, layerwise: Trace | None = None) -> "pd.DataFrame":
    """The table of one case: one row for each quantity, end to end and layerwise, with numbers and verdict."""
    return table(rows(case, candidate=candidate, layerwise=layerwise))
