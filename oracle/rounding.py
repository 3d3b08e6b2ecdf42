"""How far rounding alone can move each element of each quantity: a measured scale, not a chosen tolerance.

The twin runs in float64 with random relative noise of one ulp of the dtype under test, on every parameter and on what every
layer hands on, forward and back; what may cancel inside an activation, as 1 - a does in a (1 - a), gets noise of the size of
its terms. How far an element moves is the scale of its rounding errors. A gradient that is a small difference of large
terms moves much and is allowed much; one that is not is held to its last digits. No layer needs a formula for it.

This is Monte Carlo arithmetic (Parker 1997) at the boundaries of layers. A finer one, after every operation, has its place
here: whatever `scales` returns per quantity only has to broadcast against the array.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manualbp import Quantity, Trace
from oracle.case import Case, float_info
from oracle.inputs import generator
from oracle.torch_run import Replicas, torch_run

#: So many noisy runs stand behind each scale.
REPLICAS = 16


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """The largest relative error of one rounding to nearest: half the gap between 1 and the next number."""
    return float(float_info(dtype).eps) / 2


def disturbed(name: str, dtype: np.dtype[Any], count: int = REPLICAS) -> Replicas:
    """So many copies in which every element is moved by one ulp of 1, up or down by a coin.

    In every other copy the samples of a batch share their coins: equal samples round equally, and their errors add up.
    The coins depend on `name` alone.
    """
    rng = torch.Generator().manual_seed(int(generator(0, name).integers(2**31)))
    ulp = 2 * unit_roundoff(dtype)

    def perturb(tensor: Tensor) -> Tensor:
        coins = torch.randint(0, 2, tensor.shape, dtype=torch.int8, generator=rng)  # the fastest coins torch has
        if tensor.ndim > 1:
            coins[::2] = coins[::2, :1]
        return tensor * coins.to(tensor.dtype).mul_(2 * ulp).add_(1 - ulp)

    return Replicas(count, perturb)


def movement(exact: Any, noisy: Any) -> NDArray[np.float64]:
    """The root mean square over the replicas of how far each element moved; what is not finite did not move."""
    with np.errstate(invalid="ignore", over="ignore"):
        moved = np.abs(noisy - exact)
    moved = np.where(np.isfinite(moved), moved, 0.0)
    furthest = moved.max(axis=0)
    share = moved / np.where(furthest > 0, furthest, 1.0)  # whose squares neither overflow nor underflow
    return furthest * np.sqrt(np.mean(share * share, axis=0))


def floor(array: Any, exact: Any, dtype: np.dtype[Any]) -> NDArray[np.float64]:
    """The rounding of the result itself: a unit roundoff of each element, and never less than the smallest float.

    Where `exact`, the same in float64, is 0 too, nothing is rounded and the floor is 0.
    """
    size = np.abs(np.asarray(array, dtype=np.float64))
    size = np.where(size > 0, size, np.abs(np.asarray(exact, dtype=np.float64)))
    smallest = float(float_info(dtype).smallest_subnormal)
    return np.where(np.isfinite(size) & (size > 0), np.maximum(unit_roundoff(dtype) * size, smallest), 0.0)


def scales(case: Case, reference: Trace) -> dict[Quantity, NDArray[np.float64]]:
    """The rounding scale of every element of every quantity that the reference gives, in the case's dtype."""
    with np.errstate(all="ignore"):
        exact = (reference if case.dtype == np.float64 else torch_run(case, dtype=torch.float64)).quantities()
        noisy = torch_run(case, dtype=torch.float64, replicas=disturbed(case.name, case.dtype)).quantities()
        found = {}
        for quantity, array in reference.quantities().items():
            if array is None:
                continue
            found[quantity] = floor(array, array if exact[quantity] is None else exact[quantity], case.dtype)
            if exact[quantity] is not None and noisy[quantity] is not None:
                found[quantity] = np.maximum(found[quantity], movement(exact[quantity], noisy[quantity]))
            if case.close and quantity.is_gradient and len(case.network.loss.inputs) > 1 and case.network.loss.per_sample:
                # the numbers of a vector share the rounding of its length
                found[quantity] = np.maximum(found[quantity], floor(array, array, case.dtype).max(axis=0, keepdims=True))
        return found
