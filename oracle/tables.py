"""Rows as one pandas table; the names of the comparisons in it, and of the modules."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from manualbp import Network
from oracle.discrepancy import Row

if TYPE_CHECKING:
    import pandas as pd

END_TO_END, LAYERWISE, ALONE, TRAINING = "end to end", "layerwise", "alone", "training"
#: What somebody else's gradient owes besides its numbers; such a row is of no layer.
CONTRACT = "contract"
#: Its rows for what was printed, and for what was returned and not read, which is told and no fault.
PRINTED, NOT_READ = "printed", "not read"


def module_names(network: Network) -> tuple[str, ...]:
    """The layers of the chain and the loss, as a reader would write them."""
    return (*map(str, network.layers), str(network.loss))


def table(found: Iterable[Row]) -> "pd.DataFrame":
    """The rows as a pandas table; texts that repeat are categories, ratios have float32's seven digits."""
    import pandas as pd

    frame = pd.DataFrame(list(found), columns=Row._fields)
    repeated = ["case", "comparison", "module", "quantity", "symbol", "shape", "dtype", "verdict"]
    with np.errstate(over="ignore"):
        return frame.astype(
            {**dict.fromkeys(repeated, "category"), "max_rel": "f4", "normwise": "f4", "sigmas": "f4", "margin": "f4"}
        )
