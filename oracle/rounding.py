"""How far rounding alone can move each quantity: one measured number per array, its scale.

The twin runs in float64 with random relative noise of one ulp of the dtype under test, on every parameter and on what every
layer hands on, forward and back; what may cancel inside an activation, as 1 - a does in a (1 - a), gets noise of
the size of its terms. How far each array moves is the scale of its rounding errors. A gradient that
is a small difference of large terms moves much and is allowed much; no layer needs a formula for it.

The scale is *normwise*, one number for all elements of an array. The seam for a finer one is `scales`: whatever it
returns per quantity only has to broadcast against the array.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp import Quantity, Trace
from oracle.case import Case
from oracle.inputs import generator
from oracle.torch_run import Replicas, torch_run

#: So many noisy runs stand behind each scale.
REPLICAS = 8


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """The largest relative error of one rounding to nearest: half the gap between 1 and the next number."""
    return float(np.finfo(dtype).eps) / 2


def disturbed(name: str, dtype: np.dtype[Any], count: int = REPLICAS) -> Replicas:
    """So many copies in which every element is moved by one ulp of 1, up or down by a coin of its own.

    The coins depend on `name` alone.
    """
    rng = torch.Generator().manual_seed(int(generator(0, name).integers(2**31)))
    ulp = 2 * unit_roundoff(dtype)

    def perturb(tensor: Tensor) -> Tensor:
        coins = torch.randint(0, 2, tensor.shape, dtype=torch.int8, generator=rng)  # the fastest coins torch has
        return tensor * coins.to(tensor.dtype).mul_(2 * ulp).add_(1 - ulp)

    return Replicas(count, perturb)


def movement(exact: Any, noisy: Any) -> float:
    """The root mean square over the replicas of an array's largest movement; 0 where there is nothing to move."""
    if exact is None or noisy is None:
        return 0.0
    with np.errstate(invalid="ignore"):
        moved = np.abs(noisy - exact).reshape(len(noisy), -1)
    largest = np.max(moved, axis=1, initial=0.0, where=np.isfinite(moved))
    return float(np.sqrt(np.mean(largest * largest)))


def scales(case: Case, reference: Trace) -> dict[Quantity, float]:
    """The rounding scale of every quantity of the case, in the case's dtype.

    No scale is below one unit roundoff of the array's largest element.
    """
    u = unit_roundoff(case.dtype)
    with np.errstate(all="ignore"):
        exact = (reference if case.dtype == np.float64 else torch_run(case, dtype=torch.float64)).quantities()
        noisy = torch_run(case, dtype=torch.float64, replicas=disturbed(case.name, case.dtype)).quantities()
        return {
            quantity: max(movement(exact[quantity], noisy[quantity]), u * largest(array))
            for quantity, array in reference.quantities().items()
            if array is not None
        }


def largest(array: Any) -> float:
    """The largest finite magnitude: an infinity must not swell the scale that judges the other elements."""
    magnitudes = np.abs(np.asarray(array, dtype=np.float64))
    return float(np.max(magnitudes, initial=0.0, where=np.isfinite(magnitudes)))
