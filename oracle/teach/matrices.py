"""Version 1: every step of `oracle.explain`, with its matrices put in."""

from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup

from manualbp import Linear
from manualbp.layer import Elementwise
from oracle.explain import Step
from oracle.mutants.trial import Bench
from oracle.teach.mathml import matrix, row, sign, tag


class Matrices:
    """The numbers that go into each quantity of a case, by hand."""

    def __init__(self, bench: Bench) -> None:
        self.case, self.trace = bench.case, bench.honest
        network = self.case.network
        self.quantities = {quantity.symbol: quantity for quantity in self.trace.quantities()}
        self.layers: tuple[Any, ...] = (*network.layers, network.loss)

    def numbers(self, step: Step) -> Markup:
        """The right side of a step with its matrices in the places of their letters; nothing where that does not help."""
        quantity = self.quantities.get(step.symbol)
        if quantity is None or self.trace.failure:
            return Markup("")
        layer, at = self.layers[quantity.position], quantity.position
        kind: Callable[[int, str], Markup] = self._of_other
        if at == len(self.layers) - 1:
            kind = self._of_loss
        elif isinstance(layer, Linear):
            kind = self._of_linear
        elif isinstance(layer, Elementwise):
            kind = self._of_activation
        return kind(at, quantity.name if quantity.is_gradient else "")

    def _of_linear(self, at: int, name: str) -> Markup:
        own, a, delta = self.case.params[at], self.trace.values[at], self.trace.gradients[at + 1]
        if not name:
            bias = [sign("+"), matrix(own["bias"])] if "bias" in own else []
            return row(matrix(own["weight"]), matrix(a), *bias)
        if name == "dC/dW":
            return row(matrix(delta), _transposed(a))
        if name == "dC/db":
            return row(tag("mtext", "row sums of "), matrix(delta))
        return row(_transposed(own["weight"]), matrix(delta))

    def _of_activation(self, at: int, name: str) -> Markup:
        z, layer = self.trace.values[at], self.layers[at]
        if not name:
            return row(tag("mi", "g"), sign("("), matrix(z), sign(")"))
        if name not in ("delta", "dC/da", "dC/da'", "dC/dx"):
            return Markup("")
        _, slope = layer.value_and_vjp(np.asarray(z, np.float64), np.ones(np.shape(z)))
        return row(matrix(self.trace.gradients[at + 1]), sign("⊙"), matrix(slope))

    def _of_loss(self, at: int, name: str) -> Markup:
        a, y = self.trace.values[at], self.case.target
        if np.ndim(y) == 0 or np.ndim(a) > 2:
            return Markup("")
        if name and self.case.network.loss.derivative_formula == "a - y":
            return row(matrix(a), sign("−"), matrix(y))
        letter = "z" if "z" in self.case.network.loss.formula else "a"
        return row(tag("mi", letter), sign("="), matrix(a), sign(","), tag("mi", "y"), sign("="), matrix(y))

    def _of_other(self, at: int, name: str) -> Markup:
        arriving = [matrix(self.trace.gradients[at + 1]), sign(",")] if name else []
        return row(*arriving, tag("mi", "z"), sign("="), matrix(self.trace.values[at]))


def _transposed(array: Any) -> Markup:
    """The matrix as it stands, with a T: a reader sees what is turned."""
    return tag("msup", matrix(array), tag("mi", "T"))
