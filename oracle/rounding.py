"""How far rounding alone can move each quantity: one measured number per array, its scale.

The twin runs in float64 with random relative noise on every parameter and on what every layer hands on, forward and back. How far each array moves, divided by the noise's size, is the condition of that array; times the unit
roundoff of the dtype under test it is the scale of its rounding errors. A gradient that is a small difference of large
terms moves much and is allowed much; no layer needs a formula for it.

The scale is *normwise*, one number for all elements of an array. The seam for a finer one is `scales`: whatever it
returns per quantity only has to broadcast against the array.
"""

from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp import Activation, Quantity, Trace
from oracle.case import Case
from oracle.inputs import generator
from oracle.torch_run import Replicas, torch_run

#: Standard deviation of the relative noise, which is uniform. This is far above float64's own rounding and far below what would bend the response.
NOISE = 2.0**-30
#: So many noisy runs stand behind each scale.
REPLICAS = 8


def unit_roundoff(dtype: np.dtype[Any]) -> float:
    """The largest relative error of one rounding to nearest: half the gap between 1 and the next number."""
    return float(np.finfo(dtype).eps) / 2


def disturbed(name: str) -> Replicas:
    """REPLICAS copies in which every element is multiplied by its own 1 + noise; the stream depends on `name`."""
    rng = torch.Generator().manual_seed(int(generator(0, name).integers(2**31)))

    def perturb(tensor: Tensor) -> Tensor:
        uniform = torch.rand(tensor.shape, dtype=tensor.dtype, generator=rng)
        return tensor * uniform.sub_(0.5).mul_(NOISE * sqrt(12)).add_(1)

    return Replicas(REPLICAS, perturb)


def movement(exact: Any, noisy: Any) -> float:
    """The root mean square over the replicas of an array's largest movement, per unit of noise; 0 where there is none."""
    if exact is None or noisy is None:
        return 0.0
    moved = np.abs(noisy - exact).reshape(len(noisy), -1)
    largest = np.max(moved, axis=1, initial=0.0, where=np.isfinite(moved))
    return float(np.sqrt(np.mean(largest * largest))) / NOISE


def scales(case: Case, reference: Trace) -> dict[Quantity, float]:
    """The rounding scale of every quantity of the case, in the case's dtype.

    To the movement comes a floor of one unit roundoff of the largest element; and behind an activation, whose derivative
    is itself only known to a unit roundoff of its largest value, of the largest upstream gradient.
    """
    with np.errstate(all="ignore"):
        exact = torch_run(case, dtype=torch.float64).quantities()
        noisy = torch_run(case, dtype=torch.float64, replicas=disturbed(case.name)).quantities()
        u = unit_roundoff(case.dtype)
        return {
            quantity: u * max(movement(exact[quantity], noisy[quantity]), largest(array), _upstream(reference, quantity))
            for quantity, array in reference.quantities().items()
            if array is not None
        }


def _upstream(reference: Trace, quantity: Quantity) -> float:
    layers = reference.network.layers
    behind_activation = quantity.position < len(layers) and isinstance(layers[quantity.position], Activation)
    if not behind_activation or not quantity.is_gradient:
        return 0.0
    return largest(reference.gradients[quantity.position + 1])


def largest(array: Any) -> float:
    """The largest finite magnitude: an infinity must not swell the scale that judges the other elements."""
    magnitudes = np.abs(np.asarray(array, dtype=np.float64))
    return float(np.max(magnitudes, initial=0.0, where=np.isfinite(magnitudes)))
