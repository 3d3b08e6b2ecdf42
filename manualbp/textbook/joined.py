"""The two versions joined, and the summary: what happens between layer l and layer l-1 is two steps, and they have names.

    1. The error propagates through the weights:    dC/da_j[l-1] = sum_i w_ij[l] delta_i[l]
    2. and passes through the activation:           delta[l-1] = dC/da[l-1] * g'(z[l-1])

Version 2's weighted sum over the nodes to the right, done for all j and all samples at once, is Version 1's W^T delta.

    dC/dw_ij[l] = sum over samples delta_i[l] a_j[l-1],    dC/db_i[l] = sum over samples delta_i[l]
    w <- w - alpha dC/dw,    b <- b - alpha dC/db
"""

from typing import Any

import numpy as np

from manualbp.textbook.functions import Activation, Array, Cost

Layers = dict[int, Array]


def propagate_through_weights(w: Array, delta: Array) -> Array:
    """Step 1: dC/da (n_{l-1}, m) from w (n_l, n_{l-1}) and delta (n_l, m); i is the node to the right, j to the left."""
    return np.einsum("ij,is->js", w, delta)


def pass_through_activation(dC_da: Array, z: Array, g: Activation) -> Array:
    """Step 2: delta = dC/dz (n_l, m), element by element."""
    return dC_da * g.g_prime(z)


def backpropagate(W: Layers, b: Layers, g: dict[int, Activation], x: Array, y: Array, cost: Cost) -> tuple[Any, Layers, Layers]:
    """Return (C, dC/dW, dC/db), by layer, for the input x (n_0, m) and the target y (n_L, m)."""
    a, z = {0: x}, {}
    for l in sorted(W):
        z[l] = np.einsum("ij,js->is", W[l], a[l - 1]) + b[l].reshape(-1, 1)
        a[l] = g[l].g(z[l])

    dC_dW, dC_db = {}, {}
    dC_da = cost.dC_da(a[len(W)], y)
    for l in sorted(W, reverse=True):
        delta = pass_through_activation(dC_da, z[l], g[l])
        dC_dW[l] = np.einsum("is,js->ij", delta, a[l - 1])
        dC_db[l] = np.einsum("is->i", delta)
        dC_da = propagate_through_weights(W[l], delta)
    return cost.C(a[len(W)], y), dC_dW, dC_db


def update(W: Layers, b: Layers, dC_dW: Layers, dC_db: Layers, alpha: float) -> tuple[Layers, Layers]:
    """One step down the gradient with learning rate alpha, as new arrays."""
    return {l: W[l] - alpha * dC_dW[l] for l in W}, {l: b[l] - alpha * dC_db[l] for l in b}
