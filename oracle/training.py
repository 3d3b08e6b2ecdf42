"""Gradient descent by hand against torch.optim.SGD on real data, compared at every step.

Each side walks its own way from the same start, so rounding errors add up from step to step. How far they may is
measured like everything else: the twin's descent is run again with noise (oracle.rounding), parameter updates included.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from manualbp import Network, Quantity, descend
from oracle.case import Case
from oracle.data import DataSet, load, step_name
from oracle.discrepancy import Row, compare
from oracle.manual_run import manual_run
from oracle.rounding import floor, noisy_descent, response
from oracle.tables import TRAINING, module_names
from oracle.torch_run import State, torch_descent

#: Noisy descents behind each scale. Too few to know each element's own, so an array is judged by its largest.
REPLICAS = 4


@dataclass(frozen=True)
class Curves:
    """The two descents of one data case, by hand and by torch."""

    case: str
    data: str
    dtype: str
    steps: int
    metric: str
    score: float
    max_loss_difference: float
    manual_loss: list[float]
    torch_loss: list[float]

    def summary(self) -> dict[str, Any]:
        """All but the curves themselves, which only the pictures need."""
        numbers = asdict(self)
        del numbers["manual_loss"], numbers["torch_loss"]
        return numbers | {"final_loss": self.manual_loss[-1]}


def manual_descent(case: Case, alpha: float, steps: int) -> Iterator[State]:
    """Gradient descent by `backpropagate` and `descend`: the same states as `torch_descent`.

    Behind a pass that raises, or a gradient that does not fit its parameter, the states are empty and say why.
    """
    params, failure = case.params, ""
    none: tuple[dict[str, Any], ...] = ({},) * len(case.params)
    for _ in range(steps + 1):
        if failure:
            yield State(None, none, none, failure)
            continue
        trace = manual_run(replace(case, params=params))
        failure = trace.failure
        yield State(trace.loss, params, trace.parameter_gradients, failure)
        try:
            params = descend(params, trace.parameter_gradients, alpha)
        except (ValueError, TypeError) as error:
            failure = failure or f"candidate's update: {error}"


def quantities(network: Network, state: State) -> dict[Quantity, Any]:
    """The loss, every parameter and every parameter gradient of one state."""
    named: dict[Quantity, Any] = {Quantity(len(network.layers), network.depth, "loss", "C"): state.loss}
    for prefix, arrays in (("", state.parameters), ("dC/d", state.gradients)):
        for position, (layer, own) in enumerate(zip(network.holders, arrays, strict=True)):
            for name, array in own.items():
                sign, number = prefix + layer.symbols.get(name, name), (*network.numbers, network.depth)[position]
                named[Quantity(position, number, sign, f"{sign}[{number}]")] = array
    return named


def train_and_compare(text: str, seed: int) -> tuple[list[Row], Curves]:
    """Both descents of one data case: a row for every quantity at every step, and the curves."""
    data, case = load(text, seed)
    by_hand = list(manual_descent(case, data.alpha, data.steps))
    by_torch = list(torch_descent(case, data.alpha, data.steps))
    rows = list(_compare(case, data, by_hand, by_torch))
    losses = np.array([[state.loss for state in states] for states in (by_hand, by_torch)], dtype=np.float64)
    output = manual_run(replace(case, params=by_hand[-1].parameters)).values[-1]
    return rows, Curves(
        case=text,
        data=data.name,
        dtype=str(case.dtype),
        steps=data.steps,
        metric=data.metric,
        score=np.nan if output is None else data.score(output, case.target),
        max_loss_difference=float(np.abs(losses[0] - losses[1]).max()),
        manual_loss=losses[0].tolist(),
        torch_loss=losses[1].tolist(),
    )


def _compare(case: Case, data: DataSet, by_hand: list[State], by_torch: list[State]) -> Iterator[Row]:
    network, modules = case.network, module_names(case.network)
    noisy = noisy_descent(case, data.alpha, data.steps, REPLICAS)
    for step, states in enumerate(zip(by_hand, by_torch, noisy, strict=True)):
        candidate, reference, moved = (quantities(network, state) for state in states)
        scale = {}
        for quantity, array in reference.items():
            exact, *others = moved[quantity]
            scale[quantity] = max(response(exact, np.array(others)).max(), floor(array, exact, case.dtype).max())
        yield from compare(
            step_name(case.name, step), TRAINING, modules, case.dtype, candidate, reference, scale, states[0].failure
        )
