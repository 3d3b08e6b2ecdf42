"""Version 2 on any dense network: every node and weight with its formula, the numbers put in, autograd's number beside it.

Nodes are numbered through as in the notes (manualbp.textbook.version2); values and errors are those of one sample, gradients
are summed over the batch. Each result is added up here from the numbers that are shown, one by one.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from manualbp import Linear
from manualbp.layer import Elementwise
from manualbp.textbook.version2 import edge_name, number_nodes
from oracle.discrepancy import Discrepancy
from oracle.mutants.trial import Bench
from oracle.teach import mathml
from oracle.teach.judged import Judge

#: Of a wide layer so many nodes are shown.
NODES = 8


@dataclass(frozen=True)
class Worked:
    """One number worked out: `formula` in plain notation, `numbers` as MathML, and how far autograd's is from `by_hand`."""

    symbol: str
    formula: str
    numbers: Markup
    by_hand: float
    autograd: float
    off: Discrepancy


def why_not(bench: Bench) -> str:
    """Why a network cannot be drawn node by node; empty where it can."""
    layers = bench.case.network.layers
    pairs = list(zip(layers[::2], layers[1::2], strict=False))
    if not layers or len(layers) % 2 or not all(isinstance(a, Linear) and not isinstance(b, Linear) for a, b in pairs):
        return "its layers are not Linear and activation in turn"
    if any(activation.rows_out(linear.out_features) != linear.out_features for linear, activation in pairs):  # type: ignore[attr-defined]
        return "its gates take two nodes for one"
    if bench.case.x.ndim != 2:
        return "each of its nodes is an array, not a number"
    return "" if bench.reference.loss is not None else "torch could not compute it"


class Nodes:
    """A dense network of Linear and activation in turn, node by node, for the first sample."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.case, self.judge = bench, bench.case, Judge(bench)
        self.network = bench.case.network
        linears = [layer for layer in self.network.layers if isinstance(layer, Linear)]
        self.widths = [linears[0].in_features, *(layer.out_features for layer in linears)]
        self.layers = number_nodes(self.widths)
        self.place = {node: (l, row) for l, nodes in enumerate(self.layers) for row, node in enumerate(nodes)}

    @property
    def depth(self) -> int:
        return len(self.layers) - 1

    def value(self, kind: str, node: int) -> float:
        """By hand: "x", "z" or "a" of a node, or by these letters dC/d of it."""
        l, row = self.place[node]
        at = 2 * l - (kind.endswith("z"))
        store = self.bench.honest.gradients if kind.startswith("d") else self.bench.honest.values
        return float(store[at][row, 0])

    def weight(self, j: int, i: int) -> float:
        return float(self.case.params[2 * self.place[i][0] - 2]["weight"][self.place[i][1], self.place[j][1]])

    def bias(self, i: int) -> float:
        return float(self.case.params[2 * self.place[i][0] - 2]["bias"][self.place[i][1]]) if self.has_bias(i) else 0.0

    def has_bias(self, i: int) -> bool:
        """Whether a bias is added at this node."""
        return "bias" in self.case.params[2 * self.place[i][0] - 2]

    def activation(self, i: int) -> Any:
        return self.network.layers[2 * self.place[i][0] - 1]

    def target(self, i: int) -> float | None:
        """The y of an output node, where the loss has one for each."""
        given = self.case.target
        fits = given.shape == self.bench.honest.values[-1].shape and given.dtype.kind == "f"
        return float(given[self.place[i][1], 0]) if fits and self.place[i][0] == self.depth else None

    def name(self, j: int) -> str:
        """The notes' sign for the value of a node: x of an input, a of any other."""
        return f"{'a' if self.place[j][0] else 'x'}{j}"

    def _worked(self, symbol: str, formula: str, numbers: Markup, result: float, slot: str, at: tuple[int, ...]) -> Worked:
        return Worked(symbol, formula, numbers, result, float(self.judge.autograd(slot, at)), self.judge(slot, result, at))

    def sum_in(self, i: int) -> Worked:
        """The z of a node: the weighted sum over the nodes to its left."""
        l, row = self.place[i]
        terms = [(self.weight(j, i), self.value("a", j)) for j in self.layers[l - 1]]
        result = self.bias(i) + sum(w * a for w, a in terms)
        names = _long([f"{edge_name((j, i))} {self.name(j)}" for j in self.layers[l - 1]])
        numbers = mathml.total([*terms, *([(self.bias(i),)] if self.has_bias(i) else [])])
        return self._worked(f"z{i}", names + (f" + b{i}" if self.has_bias(i) else ""), numbers, result, f"z[{l}]", (row, 0))

    def passed_on(self, i: int) -> Worked:
        """The a of a node: its activation on z."""
        l, row = self.place[i]
        shown = mathml.row(mathml.tag("mi", "g"), mathml.sign("("), mathml.number(self.value("z", i)), mathml.sign(")"))
        if not isinstance(self.activation(i), Elementwise):
            shown = mathml.tag("mtext", "all z of the layer together")
        return self._worked(f"a{i}", f"g(z{i})", shown, self.value("a", i), f"a[{l}]", (row, 0))

    def propagated(self, j: int) -> Worked:
        """Step 1 at a node: what the nodes to its right report back, weighted. At an output node the loss's own gradient."""
        l, row = self.place[j]
        slot, symbol = f"dC/da[{l}]" if l else "dC/dx", f"dC/d{self.name(j)}"
        if l == self.depth:
            y, a = self.target(j), self.value("a", j)
            rule = str(self.network.loss.derivative_formula)
            shown = mathml.tag("mtext", "from the loss")
            if rule == "a - y" and y is not None:
                return self._worked(symbol, f"a{j} - y{j}", mathml.difference(a, y), a - y, slot, (row, 0))
            return self._worked(symbol, rule, shown, self.value("da", j), slot, (row, 0))
        right = self.layers[l + 1]
        terms = [(self.weight(j, i), self.value("dz", i)) for i in right]
        names = _long([f"{edge_name((j, i))} delta{i}" for i in right])
        result = sum(w * error for w, error in terms)
        return self._worked(symbol, names, mathml.total(terms), result, slot, (row, 0))

    def error(self, i: int) -> Worked:
        """Step 2 at a node: its error dC/dz, through the activation."""
        l, row = self.place[i]
        arriving, activation = self.value("da", i), self.activation(i)
        if not isinstance(activation, Elementwise):
            shown = mathml.tag("mtext", "all dC/da of the layer through the Jacobian of g")
            return self._worked(f"delta{i}", activation.derivative_formula, shown, self.value("dz", i), f"delta[{l}]", (row, 0))
        z, a = self.value("z", i), self.value("a", i)
        if activation.derivative_formula == "a (1 - a)":
            formula, numbers, slope = f"dC/da{i} a{i} (1 - a{i})", mathml.product(arriving, a, 1 - a), a * (1 - a)
        else:
            _, (slope,) = activation.value_and_vjp(np.array([z]), np.ones(1))
            formula, numbers = f"dC/da{i} g'(z{i})", mathml.product(arriving, slope)
        return self._worked(f"delta{i}", formula, numbers, arriving * float(slope), f"delta[{l}]", (row, 0))

    def _sums(self, i: int, j: int | None = None) -> list[tuple[float, ...]]:
        """Over the batch: the error of node i, times a of node j."""
        l, row = self.place[i]
        errors = self.bench.honest.gradients[2 * l - 1][row]
        others = [()] * len(errors) if j is None else [(a,) for a in self.bench.honest.values[2 * l - 2][self.place[j][1]]]
        return [(error, *other) for error, other in zip(errors.tolist(), others, strict=True)]

    def weight_gradient(self, j: int, i: int) -> Worked:
        """dC/dw of the weight from node j to node i."""
        (l, row), terms = self.place[i], self._sums(i, j)
        name, many = edge_name((j, i)), ", summed over the batch" if len(terms) > 1 else ""
        result = sum(float(error) * float(a) for error, a in terms)
        return self._worked(
            f"dC/d{name}", f"delta{i} {self.name(j)}{many}", mathml.total(terms), result, f"dC/dW[{l}]", (row, self.place[j][1])
        )

    def bias_gradient(self, i: int) -> Worked:
        """dC/db of node i."""
        (l, row), terms = self.place[i], self._sums(i)
        many = ", summed over the batch" if len(terms) > 1 else ""
        result = sum(float(error) for (error,) in terms)
        return self._worked(f"dC/db{i}", f"delta{i}{many}", mathml.total(terms), result, f"dC/db[{l}]", (row,))

    def of_node(self, i: int) -> list[Worked]:
        """All that is computed at a node, in the order of the computation."""
        if self.place[i][0] == 0:
            return [self.propagated(i)]
        own = [self.sum_in(i), self.passed_on(i), self.propagated(i), self.error(i)]
        return [*own, self.bias_gradient(i)] if self.has_bias(i) else own

    @property
    def shown(self) -> list[list[int]]:
        """The nodes that a drawing has room for, layer by layer."""
        return [nodes[:NODES] for nodes in self.layers]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """The weights between shown nodes."""
        return [(j, i) for left, right in pairwise(self.shown) for i in right for j in left]

    def in_full(self) -> list[tuple[str, list[Worked]]]:
        """The notes' walk: an output node with one weight and its bias, the output layer covered up, a hidden node likewise."""
        out, before = self.layers[-1][0], self.layers[-2][0]
        ways = [
            (f"Forward to node {out}", [self.sum_in(out), self.passed_on(out)]),
            (f"The error at node {out}", [self.propagated(out), self.error(out)]),
            (f"The weight from node {before} to node {out}, and the bias of node {out}", self._last(before, out)),
        ]
        if self.depth > 1:
            first = self.layers[-3][0]
            ways.insert(0, (f"Forward to node {before}", [self.sum_in(before), self.passed_on(before)]))
            ways += [
                (
                    f"Cover up the output layer: node {before} gets what the nodes to its right report back, in two steps",
                    [self.propagated(before), self.error(before)],
                ),
                (f"The weight from node {first} to node {before}, and the bias of node {before}", self._last(first, before)),
            ]
        return ways

    def _last(self, j: int, i: int) -> list[Worked]:
        return [self.weight_gradient(j, i), *([self.bias_gradient(i)] if self.has_bias(i) else [])]


def _long(names: list[str]) -> str:
    """A sum in symbols; of a long one the first terms and the last."""
    if len(names) > mathml.TERMS:
        names = [*names[: mathml.TERMS - 2], "⋯", names[-1]]
    return " + ".join(names)
