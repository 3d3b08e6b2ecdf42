"""Version 1: backpropagation in matrix form.

A layer computes z[l] = W[l] a[l-1] + b[l] and a[l] = g[l](z[l]). One column per sample: a[l] is (n_l, m), W[l] is
(n_l, n_{l-1}), b[l] is (n_l). The error of a layer is delta[l] = dC/dz[l].
"""

from dataclasses import dataclass
from typing import Any

from manualbp.textbook.functions import Activation, Array, Cost

Layers = dict[int, Array]


@dataclass(frozen=True)
class Gradients:
    """What Version 1 computes; every dictionary is by layer, 1 to L, and a[0] is x."""

    C: Any
    z: Layers
    a: Layers
    dC_da: Layers
    delta: Layers
    dC_dW: Layers
    dC_db: Layers


def forward(W: Layers, b: Layers, g: dict[int, Activation], x: Array) -> tuple[Layers, Layers]:
    """Return (z, a) for the input x (n_0, m), with a[0] = x."""
    z: Layers = {}
    a: Layers = {0: x}
    for l in range(1, len(W) + 1):
        z[l] = W[l] @ a[l - 1] + b[l][:, None]
        a[l] = g[l].g(z[l])
    return z, a


def backpropagate(W: Layers, b: Layers, g: dict[int, Activation], x: Array, y: Array, cost: Cost) -> Gradients:
    """Return every gradient of C for the input x (n_0, m) and the target y (n_L, m)."""
    z, a = forward(W, b, g, x)
    L = len(W)
    delta: Layers = {}
    dC_da: Layers = {L: cost.dC_da(a[L], y)}

    # At the output: delta[L] = dC/da[L] * g'(z[L]), element by element.
    delta[L] = dC_da[L] * g[L].g_prime(z[L])

    # Back through the layers: delta[l] = W[l+1]^T delta[l+1] * g'(z[l]). Only the * is elementwise, and it comes last.
    for l in range(L - 1, 0, -1):
        dC_da[l] = W[l + 1].T @ delta[l + 1]
        delta[l] = dC_da[l] * g[l].g_prime(z[l])
    dC_da[0] = W[1].T @ delta[1]

    # The notes write dC/dW = delta a and dC/db = delta. For a batch this is delta a^T, which sums over the samples
    # inside the product, and delta summed over the samples.
    dC_dW = {l: delta[l] @ a[l - 1].T for l in range(1, L + 1)}
    dC_db = {l: delta[l].sum(axis=1) for l in range(1, L + 1)}
    return Gradients(cost.C(a[L], y), z, a, dC_da, delta, dC_dW, dC_db)
