"""The notes' network by name: nodes 1 2 3 in, 4 5 6 hidden, 7 8 9 out, each weight and bias under the name it has on paper.

>>> gradients = backpropagate()
>>> gradients["w47"] == gradients.error[7][0] * gradients.a[4][0]
True
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from manualbp.textbook import version2
from manualbp.textbook.functions import Array

WIDTHS = (3, 3, 3)

#: w47 joins node 4 to node 7, b7 is the bias of node 7.
PARAMETERS: Mapping[str, float] = {
    "w14": 0.2, "w24": -0.5, "w34": 0.9, "b4": 0.1,
    "w15": 0.7, "w25": 0.3, "w35": -0.4, "b5": -0.2,
    "w16": -0.8, "w26": 0.6, "w36": 0.4, "b6": 0.3,
    "w47": 1.1, "w57": -0.7, "w67": 0.5, "b7": 0.2,
    "w48": -0.3, "w58": 0.8, "w68": -0.9, "b8": -0.1,
    "w49": 0.6, "w59": 0.4, "w69": 1.2, "b9": -0.4,
}  # fmt: skip

#: One sample: x of nodes 1, 2, 3 and the target y of nodes 7, 8, 9.
X = (0.5, -1.0, 0.25)
Y = (1.0, 0.0, 0.75)


def weights(parameters: Mapping[str, float] = PARAMETERS) -> dict[version2.Edge, float]:
    """The weights by the pair of nodes they join."""
    return {(int(name[1]), int(name[2])): value for name, value in parameters.items() if name.startswith("w")}


def biases(parameters: Mapping[str, float] = PARAMETERS) -> dict[version2.Node, float]:
    """The biases by node."""
    return {int(name[1]): value for name, value in parameters.items() if name.startswith("b")}


def matrices(parameters: Mapping[str, float] = PARAMETERS) -> tuple[dict[int, Array], dict[int, Array]]:
    """(W, b) by layer, as Version 1 takes them: row i of W[2] holds the weights that lead to the i-th output node."""
    layers = version2.number_nodes(WIDTHS)
    w, b = weights(parameters), biases(parameters)
    pairs = list(enumerate(pairwise(layers), start=1))
    W = {l: np.array([[w[j, i] for j in left] for i in right]) for l, (left, right) in pairs}
    return W, {l: np.array([b[i] for i in right]) for l, (_, right) in pairs}


def backpropagate(cost: version2.NodeCost = version2.half_squared_error) -> version2.NodeGradients:
    """Version 2 on this network and this sample."""
    return version2.backpropagate(WIDTHS, weights(), biases(), [(X, Y)], cost)
