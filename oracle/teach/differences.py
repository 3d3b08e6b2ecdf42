"""Finite differences: how far they are from the gradient at each step size, and why no step is small enough."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from manualbp import Linear, Quantity
from manualbp.backpropagation import parameter_symbol
from manualbp.textbook.version2 import edge_name, number_nodes
from oracle import judge
from oracle.discrepancy import Discrepancy, measure
from oracle.manual_run import manual_run
from oracle.mutants.trial import Bench
from oracle.teach.textbook import Form
from oracle.verdict import TOLERANCE, Verdict

#: Steps from 0.1 down, four to a decade.
STEPS = tuple(10.0 ** (-k / 4) for k in range(4, 65))

#: The relative error that is planted to see who sees it.
PLANTED = 1e-9


@dataclass(frozen=True)
class Curve:
    """One way to difference: `errors` are relative, one for each of STEPS."""

    name: str
    formula: str
    errors: tuple[float, ...]

    @property
    def best(self) -> tuple[float, float]:
        """(step, error) where the error is least and not 0."""
        found = min(((error, h) for h, error in zip(STEPS, self.errors, strict=True) if error > 0), default=(0.0, STEPS[-1]))
        return found[1], found[0]


class Differences:
    """The gradient of one weight, the first of the last layer, by differences and as it is compared."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.case = bench, bench.case
        linears = [at for at, layer in enumerate(self.case.network.layers) if isinstance(layer, Linear)]
        self.position = linears[-1] if linears else -1

    @property
    def possible(self) -> bool:
        """Whether there is a weight, in float64, under a loss that is one number."""
        of_loss = self.bench.reference.loss
        return self.position >= 0 and self.case.dtype == np.float64 and of_loss is not None and np.ndim(of_loss) == 0

    @property
    def symbol(self) -> str:
        return f"dC/d{parameter_symbol(self.case.network, self.position, 'weight')}"

    @cached_property
    def _quantity(self) -> Quantity:
        return next(quantity for quantity in self.bench.reference.quantities() if quantity.symbol == self.symbol)

    @property
    def name(self) -> str:
        """The notes' sign for this one number: dC/dw47 in their network."""
        W, nodes = self.case.params[self.position]["weight"], number_nodes(self._widths)
        l = self.case.network.numbers[self.position]
        known = W.shape == (len(nodes[l]), len(nodes[l - 1]))
        return f"dC/d{edge_name((nodes[l - 1][0], nodes[l][0]))}" if known else self.symbol

    @property
    def _widths(self) -> list[int]:
        linears = [layer for layer in self.case.network.layers if isinstance(layer, Linear)]
        return [linears[0].in_features, *(layer.out_features for layer in linears)]

    def _moved(self, h: Any) -> Any:
        own = self.case.params[self.position]
        weight = own["weight"].astype(np.result_type(own["weight"], type(h)))
        weight[0, 0] += h
        return weight

    def _loss(self, h: float) -> float:
        """C with the weight moved by h, by hand."""
        params = list(self.case.params)
        params[self.position] = {**params[self.position], "weight": self._moved(h)}
        return float(manual_run(replace(self.case, params=tuple(params))).loss)

    @cached_property
    def truth(self) -> float:
        """The derivative: proved by the referee, or autograd's where it does not know. Rounded to float64."""
        first = np.zeros(np.shape(self.bench.reference[self.symbol]), bool)
        first[0, 0] = True
        proved = judge.end_to_end(self.case)(self._quantity, first)
        return float(proved[0][0, 0] + proved[1][0, 0]) if proved is not None else self.autograd

    @property
    def autograd(self) -> float:
        return float(self.bench.reference[self.symbol][0, 0])

    @property
    def by_hand(self) -> float:
        return float(self.bench.honest[self.symbol][0, 0])

    def error(self, found: float) -> float:
        """Relative error; infinite where it is no number."""
        if not np.isfinite(found):
            return float("inf")
        return abs(found - self.truth) / abs(self.truth) if self.truth else abs(found)

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """Forward and central differences; and the complex step where the notes' forms can compute the cost."""
        middle = self._loss(0.0)
        ways: list[tuple[str, str, Callable[[float], float]]] = [
            ("forward", "(C(w + h) - C(w)) / h", lambda h: (self._loss(h) - middle) / h),
            ("central", "(C(w + h) - C(w - h)) / (2 h)", lambda h: (self._loss(h) - self._loss(-h)) / (2 * h)),
        ]
        form = Form.of(self.case)
        if form is not None and not any(str(layer) == "ReLU" for layer in self.case.network.layers):
            l = self.case.network.numbers[self.position]
            ways.append(
                ("complex step", "Im C(w + i h) / h", lambda h: float(form.C({**form.W, l: self._moved(1j * h)}).imag) / h)
            )
        with np.errstate(all="ignore"):
            return tuple(Curve(name, rule, tuple(self.error(derivative(h)) for h in STEPS)) for name, rule, derivative in ways)

    def against(self, factor: float) -> Discrepancy:
        """The comparison of the whole array by hand, with this element multiplied by a factor."""
        found = self.bench.honest[self.symbol].copy()
        found[0, 0] *= factor
        return measure(found, self.bench.reference[self.symbol], self.bench.scale.through[self._quantity])

    @property
    def allowed(self) -> float:
        """What the oracle allows this element, relative to it."""
        scale = np.broadcast_to(self.bench.scale.through[self._quantity], self.bench.reference[self.symbol].shape)
        return TOLERANCE * float(scale[0, 0]) / abs(self.truth) if self.truth else 0.0

    @property
    def seen(self) -> tuple[bool, bool]:
        """Whether the oracle fails a relative error of PLANTED in this element; and whether it does without it."""
        return (Verdict(self.against(1 + PLANTED).verdict).fails, Verdict(self.against(1.0).verdict).fails)
