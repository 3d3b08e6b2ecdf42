"""The notes' activations g with their derivatives, and the notes' two costs with theirs, on arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Activation(NamedTuple):
    """g and its derivative, both functions of z."""

    g: Callable[[Array], Array]
    g_prime: Callable[[Array], Array]


class Cost(NamedTuple):
    """C(a, y), summed over all outputs and samples, and dC/da."""

    C: Callable[[Array, Array], Any]
    dC_da: Callable[[Array, Array], Array]


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


sigmoid = Activation(_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z)))
tanh = Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
relu = Activation(lambda z: np.where(z > 0, z, 0), lambda z: np.where(z > 0, np.ones_like(z), 0))
identity = Activation(lambda z: z, np.ones_like)

#: C = 1/2 ||a - y||^2, with no 1/m.
half_squared_error = Cost(lambda a, y: 0.5 * np.sum((a - y) ** 2), lambda a, y: a - y)

#: C = -sum (y log a + (1 - y) log(1 - a)).
cross_entropy = Cost(
    lambda a, y: -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a)),
    lambda a, y: (a - y) / (a * (1 - a)),
)
