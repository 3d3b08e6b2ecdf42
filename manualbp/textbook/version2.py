"""Version 2: backpropagation node by node, with plain Python numbers and nothing else.

The nodes are numbered through, layer after layer; in the notes' 3-3-3 network they are 1 2 3, 4 5 6, 7 8 9.
w47 joins node 4 to node 7, b7 is the bias of node 7. Every node but the inputs is a sigmoid.

    error at an output node:  dC/dz = (a - y) a (1 - a) for the squared error, a - y for the cross entropy
    dC/dw47 = error at node 7 times a of node 4;    dC/db7 = error at node 7

Then the output layer is covered up and the hidden layer treated as the output layer: what the nodes to its right
report back, weighted with the weights that lead there, stands where a - y stood.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, log

Node = int
Edge = tuple[Node, Node]


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


@dataclass(frozen=True)
class NodeCost:
    """The cost of one output node, and its error dC/dz with the sigmoid's derivative already in it."""

    cost: Callable[[float, float], float]
    error: Callable[[float, float], float]


half_squared_error = NodeCost(
    cost=lambda a, y: (a - y) ** 2 / 2,
    error=lambda a, y: (a - y) * a * (1 - a),
)
cross_entropy = NodeCost(
    cost=lambda a, y: -(y * log(a) + (1 - y) * log(1 - a)),
    error=lambda a, y: a - y,  # (a - y) / (a (1 - a)) times a (1 - a)
)


def number_nodes(widths: Sequence[int]) -> list[list[Node]]:
    """The node numbers of each layer: (3, 3, 3) gives [1 2 3] [4 5 6] [7 8 9]."""
    layers, last = [], 0
    for width in widths:
        layers.append(list(range(last + 1, last + width + 1)))
        last += width
    return layers


def edge_name(edge: Edge) -> str:
    """(4, 7) is w47; from node 10 on the two numbers are kept apart, w9_12."""
    j, i = edge
    return f"w{j}{i}" if i < 10 else f"w{j}_{i}"


@dataclass
class NodeGradients:
    """What Version 2 computes: the cost, each node's value and error for each sample, and the gradient of every weight and bias.

    `self["w47"]` and `self["b7"]` look a gradient up by its name on paper.
    """

    C: float = 0.0
    a: dict[Node, list[float]] = field(default_factory=dict)
    error: dict[Node, list[float]] = field(default_factory=dict)
    dC_dw: dict[Edge, float] = field(default_factory=dict)
    dC_db: dict[Node, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        by_name = {edge_name(edge): value for edge, value in self.dC_dw.items()}
        by_name |= {f"b{node}": value for node, value in self.dC_db.items()}
        if name not in by_name:
            raise KeyError(f"this network has the gradients {', '.join(by_name)}; got {name!r}.")
        return by_name[name]


def forward(layers: list[list[Node]], w: Mapping[Edge, float], b: Mapping[Node, float], x: Sequence[float]) -> dict[Node, float]:
    """Return a of every node for one sample; the a of an input node is its x."""
    a = dict(zip(layers[0], x, strict=True))
    for left, right in pairwise(layers):
        for i in right:
            z = b[i]
            for j in left:
                z += w[j, i] * a[j]
            a[i] = sigmoid(z)
    return a


def backpropagate(
    widths: Sequence[int],
    w: Mapping[Edge, float],
    b: Mapping[Node, float],
    samples: Sequence[tuple[Sequence[float], Sequence[float]]],
    cost: NodeCost = half_squared_error,
) -> NodeGradients:
    """Return the gradients of C, summed over the samples (x, y)."""
    layers = number_nodes(widths)
    total = NodeGradients(dC_dw=dict.fromkeys(w, 0.0), dC_db=dict.fromkeys(b, 0.0))
    for x, y in samples:
        a = forward(layers, w, b, x)
        for node in a:
            total.a.setdefault(node, []).append(a[node])
        error: dict[Node, float] = {}

        # The output layer.
        for i, y_i in zip(layers[-1], y, strict=True):
            total.C += cost.cost(a[i], y_i)
            error[i] = cost.error(a[i], y_i)

        # Cover up the output layer, treat the layer before it as the output layer, and so on.
        for hidden, right in zip(layers[-2:0:-1], layers[:1:-1], strict=True):
            for j in hidden:
                reported_back = sum(w[j, i] * error[i] for i in right)
                error[j] = reported_back * a[j] * (1 - a[j])

        for j, i in w:
            total.dC_dw[j, i] += error[i] * a[j]
        for i in b:
            total.dC_db[i] += error[i]
            total.error.setdefault(i, []).append(error[i])
    return total
