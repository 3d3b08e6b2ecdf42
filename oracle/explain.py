"""One network step by step: formula, by hand, autograd, discrepancy; then the step down the gradient."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manualbp import HalfSquaredError, Network, Quantity, Sigmoid, descend
from manualbp.layer import Array
from manualbp.textbook import notes333
from oracle.case import Case
from oracle.check import rows
from oracle.discrepancy import Row
from oracle.formulas import formula
from oracle.manual_run import manual_run
from oracle.tables import END_TO_END
from oracle.torch_run import torch_run


@dataclass(frozen=True)
class Step:
    """One line of the explanation: `formula` says how `symbol` comes about, `row` how far the two sides are apart."""

    part: str
    symbol: str
    formula: str
    by_hand: Any
    autograd: Any
    row: Row


@dataclass(frozen=True)
class Explanation:
    """All steps of one case, and what one step of gradient descent does to its loss."""

    case: Case
    steps: list[Step]
    alpha: float
    loss_before: Any
    loss_after: Any


def notes_case() -> Case:
    """The notes' 3-3-3 network with its numbers and its one sample."""
    network = Network.dense(notes333.WIDTHS, Sigmoid(), Sigmoid(), HalfSquaredError())
    W, b = notes333.matrices()
    params: tuple[dict[str, Array], ...] = ({"weight": W[1], "bias": b[1]}, {}, {"weight": W[2], "bias": b[2]}, {})
    return Case("notes 3-3-3", network, params, np.array(notes333.X)[:, None], np.array(notes333.Y)[:, None])


def explain(case: Case, alpha: float = 0.5) -> Explanation:
    """Run the case by hand and by torch, and put every step beside its formula."""
    case = replace(case, grad_loss=1.0)  # so that the loss's formula gives the numbers beside it
    hand, torch = manual_run(case), torch_run(case)
    network, found, wanted = case.network, hand.quantities(), torch.quantities()
    judged = (row for row in rows(case, candidate=hand, reference=torch) if row.comparison == END_TO_END)
    steps = [
        Step(_part(quantity), quantity.symbol, formula(network, quantity), found.get(quantity), wanted.get(quantity), row)
        for quantity, row in zip({**wanted, **found}, judged, strict=True)
    ]
    try:
        after = manual_run(replace(case, params=descend(case.params, hand.parameter_gradients, alpha))).loss
    except ValueError:  # a gradient is missing; the steps show which
        after = None
    return Explanation(case, steps, alpha, hand.loss, after)


def _part(quantity: Quantity) -> str:
    return "Backward" if quantity.is_gradient else "Forward"


def nodes() -> Iterator[tuple[str, str, float]]:
    """The notes' Version 2 on its own network: name, formula with the numbers put in, result; w47 and b7 in full."""
    found = notes333.backpropagate()
    a4, error7 = found.a[4][0], found.error[7][0]
    y7, a7 = notes333.Y[0], found.a[7][0]
    yield "error at 7", f"(a7 - y7) a7 (1 - a7) = ({a7:.4f} - {y7:.4f}) {a7:.4f} (1 - {a7:.4f})", error7
    yield "dC/dw47", f"error at 7 times a4 = {error7:.4f} * {a4:.4f}", found["w47"]
    yield "dC/db7", f"error at 7 = {error7:.4f}", found["b7"]
    children = (7, 8, 9)
    signs = " + ".join(f"w4{i} error{i}" for i in children)
    numbers = " + ".join(f"{notes333.PARAMETERS[f'w4{i}']:.1f} * {found.error[i][0]:.4f}" for i in children)
    reported_back = f"({signs}) a4 (1 - a4) = ({numbers}) {a4:.4f} (1 - {a4:.4f})"
    yield "error at 4", reported_back, found.error[4][0]
