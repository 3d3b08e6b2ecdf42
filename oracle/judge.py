"""Puts the numbers in which the candidate and torch differ before the referee.

End to end the question is the whole network's. Layer by layer it is one record's: what is its true output, and the true
gradient, on torch's own numbers? The record alone is a network too.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Activation, Network, Quantity, Trace
from oracle.alone import UPSTREAM
from oracle.case import Case

#: The referee differentiates element by element; nodes larger than this would keep the reader waiting.
MOST = 1024

Ask = Callable[[Quantity, NDArray[np.bool_]], Any]
Truths = dict[Any, Any]


def end_to_end(case: Case) -> Ask:
    """The referee for a whole network: the true values of a quantity as (hi, lo), or None where it cannot say."""
    truths = cache(lambda: _truths(case))

    def ask(quantity: Quantity, elements: NDArray[np.bool_]) -> Any:
        from oracle import referee

        return truths().get(referee.every_place(case)[quantity])

    return ask


def layerwise(case: Case, reference: Trace) -> Ask:
    """The referee for one layer or loss on the reference's own input and upstream gradient."""
    truths = cache(lambda at: _truths(_alone(case, reference, at)))

    def ask(quantity: Quantity, elements: NDArray[np.bool_]) -> Any:
        from oracle import referee

        at, place = quantity.position, referee.every_place(case)[quantity]
        return truths(at).get(place._replace(at=place.at - at))

    return ask


def _alone(case: Case, reference: Trace, at: int) -> Case | None:
    """The layer at a position, or the loss, as a case of its own; None where the reference lacks what it starts from."""
    count = len(case.network.layers)
    params = case.params[at : at + 1]
    if at == count:
        return Case("", Network((), case.network.loss), params, reference.values[at], case.target, case.grad_loss)
    upstream = reference.gradients[at + 1]
    return (
        None
        if upstream is None
        else Case("", Network(case.network.layers[at : at + 1], UPSTREAM), params, reference.values[at], upstream)
    )


def _truths(case: Case | None) -> Truths:
    """What the referee can say of a case: by place, as `every_place` names them."""
    from oracle import referee

    if case is None or _largest_node(case) > MOST:
        return {}
    with np.errstate(all="ignore"):
        try:
            named = referee.every_place(case)
            return {named[quantity]: truth for quantity, truth in referee.trace(case).items()}
        except referee.NoDefinition:
            return {}
        except referee.Undecided:
            return _at_special_numbers(case)


def _largest_node(case: Case) -> int:
    """Elements of the largest node of a case."""
    rows = [case.x.shape[0]]
    for layer in case.network.layers:
        rows.append(layer.rows_out(rows[-1]))
    return max(rows) * int(np.prod(case.x.shape[1:]))


def _at_special_numbers(case: Case) -> Truths:
    """Value and gradient of a record alone where there are infinities, NaN or kinks among its inputs."""
    from oracle import referee

    params = case.params[0] if case.params else {}
    try:
        if not case.network.layers:
            value, gradient = referee.loss(case.network.loss, params, case.x, case.target, case.grad_loss)
            return {referee.Place("loss"): value, referee.Place("gradient"): gradient}
        (layer, *others) = case.network.layers
        if others or not isinstance(layer, Activation):
            return {}
        if referee.definition(layer).kind == "elementwise":
            noise = layer.noise(case.x.shape, case.x.dtype)
            given = params if noise is None else {"slope": noise}
            value, gradient = referee.elementwise(layer, case.x, given, grad_output=case.target)
        else:
            value, gradient = referee.features(layer, case.x, case.target)
    except (referee.NoDefinition, referee.Undecided):
        return {}
    return {referee.Place("value", 1): value, referee.Place("gradient"): gradient}
