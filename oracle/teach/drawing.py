"""The network drawn: where its nodes and weights stand, and in which step each of its numbers appears."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from manualbp.textbook.version2 import edge_name
from oracle.teach.nodes import NODES, Nodes

#: Distances in the drawing's own units, which are pixels at its natural size.
ACROSS, DOWN, EDGE, RADIUS = 170, 112, 70, 24


@dataclass(frozen=True)
class Step:
    """One step of the walk: `kind` is its direction, `layer` the layer it is about."""

    kind: str
    layer: int
    title: str
    text: str


@dataclass(frozen=True)
class DrawnNode:
    """A node: its place, what it shows, and the steps at which its value and its error appear.

    Columns are counted from the left, those of nodes and of weights in turn.
    """

    node: int
    column: int
    x: float
    y: float
    letter: str
    value: float
    error: float | None
    value_at: int
    error_at: int


@dataclass(frozen=True)
class DrawnEdge:
    """A weight: its ends, its share of the largest, and the steps in which something flows along it."""

    j: int
    i: int
    column: int
    ends: tuple[float, float, float, float]
    weight: float
    thickness: float
    forward_at: int
    back_at: int
    gradient_at: int

    @property
    def name(self) -> str:
        return edge_name((self.j, self.i))


class Drawing:
    """A network of nodes with the steps forward and back."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.width = ACROSS * nodes.depth + 2 * EDGE
        self.height = DOWN * max(map(len, nodes.shown)) + 24

    @cached_property
    def steps(self) -> list[Step]:
        """Forward layer by layer, the cost, back layer by layer, the update."""
        L = self.nodes.depth
        walk = [Step("input", 0, "The input", "The input nodes hold x.")]
        walk += [
            Step(
                "forward",
                l,
                f"Forward to layer {l}",
                f"Each node of layer {l} adds up what comes over its weights, and its bias: z. Its activation makes a of it.",
            )
            for l in range(1, L + 1)
        ]
        walk.append(Step("cost", L, "The cost", "The output is held against the target: C, one number."))
        for l in range(L, 0, -1):
            text = "At each output node: dC/da from the cost, then through the activation. The result is the node's error δ."
            if l < L:
                text = (
                    f"Cover up layer {l + 1} and treat layer {l} as the output layer: the errors propagate back through the "
                    "weights as a weighted sum over the nodes to the right, then pass through the activation."
                )
            walk.append(Step("error", l, f"Back to layer {l}: its errors", text))
            walk.append(
                Step(
                    "gradient",
                    l,
                    f"The gradients of layer {l}",
                    "The gradient of a weight is the error at its right end times the a at its left end; of a bias, the error.",
                )
            )
        walk.append(Step("update", 0, "The update", "Every weight and bias takes a step down its gradient."))
        return walk

    @cached_property
    def at(self) -> dict[tuple[str, int], int]:
        """The number of each step by kind and layer."""
        return {(step.kind, step.layer): number for number, step in enumerate(self.steps)}

    def _place(self, node: int) -> tuple[float, float]:
        l, row = self.nodes.place[node]
        inside = len(self.nodes.shown[l])
        return EDGE + ACROSS * l, self.height / 2 + DOWN * (row - (inside - 1) / 2)

    @cached_property
    def drawn_nodes(self) -> list[DrawnNode]:
        return [self._node(l, node) for l, nodes in enumerate(self.nodes.shown) for node in nodes]

    def _node(self, l: int, node: int) -> DrawnNode:
        x, y = self._place(node)
        value, letter = self.nodes.value("a", node), "a" if l else "x"
        if not l:
            return DrawnNode(node, 2 * l, x, y, letter, value, None, 0, len(self.steps))
        return DrawnNode(
            node, 2 * l, x, y, letter, value, self.nodes.value("dz", node), self.at["forward", l], self.at["error", l]
        )

    @cached_property
    def edges(self) -> list[DrawnEdge]:
        return list(self._edges())

    def _edges(self) -> Iterator[DrawnEdge]:
        found = self.nodes.edges
        largest = max((abs(self.nodes.weight(j, i)) for j, i in found), default=1.0) or 1.0
        for j, i in found:
            (x, y), (to_x, to_y) = self._place(j), self._place(i)
            l, weight = self.nodes.place[i][0], self.nodes.weight(j, i)
            back = self.at["error", l - 1] if l > 1 else -1
            ends = (x + RADIUS, y, to_x - RADIUS, to_y)
            thickness = 1 + 3 * abs(weight) / largest
            yield DrawnEdge(j, i, 2 * l - 1, ends, weight, thickness, self.at["forward", l], back, self.at["gradient", l])

    @property
    def left_out(self) -> str:
        """What a wide network's drawing does not show."""
        wide = [(l, len(nodes)) for l, nodes in enumerate(self.nodes.layers) if len(nodes) > NODES]
        return "; ".join(f"layer {l}: the first {NODES} of {count} nodes" for l, count in wide)
