"""A case in the notes' own forms, where they have its activations and its cost: what `manualbp.textbook` computes of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from manualbp import Linear
from manualbp.textbook import functions, joined, version1, version2
from oracle.case import FULL_DTYPES, Case
from oracle.discrepancy import Discrepancy
from oracle.mutants.trial import Bench
from oracle.teach.judged import Judge

ACTIVATIONS = {"Sigmoid": functions.sigmoid, "Tanh": functions.tanh, "ReLU": functions.relu, "Identity": functions.identity}
COSTS = {
    "HalfSquaredError": (functions.half_squared_error, version2.half_squared_error),
    "BCELoss(reduction='sum')": (functions.cross_entropy, version2.cross_entropy),
}


@dataclass(frozen=True)
class Form:
    """A case as Version 1 takes it, and which forms can compute it."""

    W: dict[int, Any]
    b: dict[int, Any]
    g: dict[int, functions.Activation]
    x: Any
    y: Any
    cost: functions.Cost
    node_cost: version2.NodeCost | None

    @classmethod
    def of(cls, case: Case) -> "Form | None":
        """None where the notes do not have an activation, the cost, layers without bias, or half precision."""
        layers, activations = case.network.layers[::2], list(map(str, case.network.layers[1::2]))
        dense = len(case.network.layers) % 2 == 0 and all(isinstance(layer, Linear) and layer.bias for layer in layers)
        known = str(case.network.loss) in COSTS and {*activations} <= {*ACTIVATIONS}
        if not layers or not dense or not known or case.x.ndim != 2 or str(case.dtype) not in FULL_DTYPES:
            return None
        cost, node_cost = COSTS[str(case.network.loss)]
        own = dict(enumerate(case.params[::2], start=1))
        g = {l: ACTIVATIONS[name] for l, name in enumerate(activations, start=1)}
        W, b = {l: own[l]["weight"] for l in own}, {l: own[l]["bias"] for l in own}
        return cls(W, b, g, case.x, case.target, cost, node_cost if {*activations} == {"Sigmoid"} else None)

    def versions(self) -> dict[str, dict[str, Any]]:
        """By the name of the form, dC/dW and dC/db by symbol; nothing where plain Python numbers overflow."""
        first = version1.backpropagate(self.W, self.b, self.g, self.x, self.y, self.cost)
        _, dC_dW, dC_db = joined.backpropagate(self.W, self.b, self.g, self.x, self.y, self.cost)
        found = {"Version 1": _named(first.dC_dW, first.dC_db)}
        if self.node_cost:
            try:
                found["Version 2"] = self._by_nodes(self.node_cost)
            except (OverflowError, ValueError, ZeroDivisionError):  # of an exponential, of a logarithm
                found["Version 2"] = {}
        return {**found, "joined": _named(dC_dW, dC_db)}

    def _by_nodes(self, cost: version2.NodeCost) -> dict[str, Any]:
        widths = [self.x.shape[0], *(len(b) for b in self.b.values())]
        layers = version2.number_nodes(widths)
        ends = [(l, layers[l - 1], layers[l]) for l in self.W]
        w = {(j, i): float(self.W[l][r, c]) for l, left, right in ends for r, i in enumerate(right) for c, j in enumerate(left)}
        b = {i: float(self.b[l][r]) for l, _, right in ends for r, i in enumerate(right)}
        samples = [(x.tolist(), y.tolist()) for x, y in zip(self.x.T, self.y.T, strict=True)]
        found = version2.backpropagate(widths, w, b, samples, cost)
        dC_dW = {l: np.array([[found.dC_dw[j, i] for j in left] for i in right]) for l, left, right in ends}
        return _named(dC_dW, {l: np.array([found.dC_db[i] for i in right]) for l, _, right in ends})

    def C(self, W: dict[int, Any]) -> Any:
        """The cost with these weights, which may be complex."""
        return self.cost.C(version1.forward(W, self.b, self.g, self.x)[1][len(W)], self.y)


def _named(dC_dW: dict[int, Any], dC_db: dict[int, Any]) -> dict[str, Any]:
    return {f"dC/dW[{l}]": dC_dW[l] for l in dC_dW} | {f"dC/db[{l}]": dC_db[l] for l in dC_db}


def side_by_side(bench: Bench) -> dict[str, dict[str, Discrepancy]]:
    """By symbol and form, how far each of the notes' forms, and the general chain, is from autograd."""
    form = Form.of(bench.case)
    if form is None or bench.reference.failure:
        return {}
    with np.errstate(all="ignore"):
        versions = form.versions()
    forms = {**versions, "general chain": {q.symbol: array for q, array in bench.honest.quantities().items()}}
    judge = Judge(bench)
    return {
        symbol: {name: judge(symbol, found.get(symbol)) for name, found in forms.items()}
        for symbol in judge.quantities
        if symbol.startswith(("dC/dW", "dC/db"))
    }
