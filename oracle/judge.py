"""Puts the numbers in which the candidate and torch differ before the referee.

End to end the question is the whole network's. Layer by layer it is one record's: what is its true output, and the true
gradient, on torch's own numbers? The record alone is a network too.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

import numpy as np

from manualbp import Activation, Network, Quantity, Trace
from oracle.alone import UPSTREAM
from oracle.case import Case

#: Elements of the largest node that the referee is asked about, in a network and in one layer: more would take too long.
MOST, MOST_OF_A_LAYER = 1024, 20_000
#: Features that a loss of a whole network may look at in all: for each element of its input or parameters every feature, or
#: that element's alone where it has a term for each.
MOST_LOOKS = 20_000

#: Takes a quantity, and which of its elements the question is about.
Ask = Callable[[Quantity, Any], Any]
Truths = dict[Any, Any]


def end_to_end(case: Case) -> Ask:
    """The referee for a whole network: the true values of a quantity as (hi, lo), or None where it cannot say."""
    rows, *samples = case.network.output_shape(case.x.shape)
    moved = rows + sum(own.size for given in case.params[len(case.network.layers) :] for own in given.values())
    loss, shape = case.network.loss, (rows, *samples)
    looks = 1 if loss.terms_shape(shape) == loss.block_shape(shape) else rows
    known = cache(lambda: truths(case, MOST) if moved * looks * prod(samples) <= MOST_LOOKS else {})

    def ask(quantity: Quantity, _where: Any) -> Any:
        from oracle import referee

        return known().get(referee.every_place(case)[quantity])

    return ask


def layerwise(case: Case, reference: Trace) -> Ask:
    """The referee for one layer or loss on the reference's own input and upstream gradient."""
    known = cache(lambda at: truths(_alone(case, reference, at), MOST_OF_A_LAYER))

    def ask(quantity: Quantity, where: Any) -> Any:
        from oracle import referee

        at, place = quantity.position, referee.every_place(case)[quantity]
        if at < len(case.network.layers):
            return known(at).get(place._replace(at=place.at - at))
        place = place if place.what == "loss" else place._replace(at=0)
        return truths(_alone(case, reference, at), MOST_OF_A_LAYER, {place: where}).get(place)

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


def truths(case: Case | None, most: int, asked: Truths | None = None) -> Truths:
    """What the referee can say of a case with nodes up to this size: by place, as `every_place` names them.

    Of the gradients of a loss only the elements that are True in `asked`, where that is given: each is a calculation.
    """
    from oracle import referee

    if case is None or _largest_node(case) > most:
        return {}
    with np.errstate(all="ignore"):
        try:
            named = referee.every_place(case)
            return {named[quantity]: truth for quantity, truth in referee.trace(case, asked).items()}
        except referee.NoDefinition:
            return {}
        except referee.Undecided:
            return _at_special_numbers(case, asked)


def _largest_node(case: Case) -> int:
    """Elements of the largest node of a case."""
    rows = [case.x.shape[0]]
    for layer in case.network.layers:
        rows.append(layer.rows_out(rows[-1]))
    return max(rows) * int(np.prod(case.x.shape[1:]))


def _at_special_numbers(case: Case, asked: Truths | None) -> Truths:
    """What can be said of a record alone where there are infinities, NaN or kinks among its inputs."""
    from oracle import referee

    params = case.params[0] if case.params else {}
    try:
        if not case.network.layers:
            return _of_loss(case, params, None if asked is None else asked.get(referee.Place("gradient"), np.False_))
        (layer, *others) = case.network.layers
        if others or not isinstance(layer, Activation):
            return {}
        if referee.definition(layer).kind == "elementwise":
            return _of_elementwise(layer, params, case.x, case.target)
        gate = layer.rows_in(1) > 1  # then a pair of numbers depends on no other pair
        x, upstream = (case.x.reshape(layer.rows_in(1), -1), case.target.reshape(1, -1)) if gate else (case.x, case.target)
        value, gradient = referee.features(layer, x, upstream)
        shapes = {"value": case.target.shape, "gradient": case.x.shape}
    except (referee.NoDefinition, referee.Undecided):
        return {}
    return {
        referee.Place("value", 1): _reshaped(value, shapes["value"]),
        referee.Place("gradient"): _reshaped(gradient, shapes["gradient"]),
    }


def _reshaped(truth: Any, shape: tuple[int, ...]) -> Any:
    return type(truth)(*(part.reshape(shape) for part in truth))


def _of_elementwise(layer: Activation, params: dict[str, Any], x: Any, upstream: Any) -> Truths:
    """An activation that acts on each element alone; what its parameters share is added up."""
    from oracle import referee

    noise = layer.noise(x.shape, x.dtype)
    given = params if noise is None else {"slope": noise}
    value, gradient = referee.elementwise(layer, x, given, grad_output=upstream)
    found: Truths = {referee.Place("value", 1): value, referee.Place("gradient"): gradient}
    for name, own in params.items():
        shares = referee.elementwise(layer, x, params, wrt=name, grad_output=upstream).derivative
        sums = [part.reshape(own.size if own.size > 1 else 1, -1).sum(axis=1) for part in shares[:2]]
        found[referee.Place("parameter", 0, name)] = tuple(sums)
    return found


def _of_loss(case: Case, params: dict[str, Any], where: Any) -> Truths:
    """A loss alone. Where there is a term for each element, one row after the other: what is NaN in one is not in another."""
    from oracle import referee

    loss = case.network.loss
    if loss.terms_shape(case.x.shape) != loss.block_shape(case.x.shape) or params:
        value, gradient = referee.loss(loss, params, case.x, case.target, case.grad_loss, where=where)
        return {referee.Place("loss"): value, referee.Place("gradient"): gradient}
    rows = loss.block_shape(case.x.shape)[0]
    terms = loss.terms_shape(case.x.shape)
    count = float(loss.count(np.empty(terms), None))
    upstream = np.broadcast_to(np.asarray(case.grad_loss), terms)
    values, gradients = np.full((2, *terms), np.nan), np.full((2, *case.x.shape), np.nan)
    where = np.broadcast_to(True if where is None else where, case.x.shape)
    for row in range(rows):
        if where.any() and not where[row::rows].any():
            continue  # it is the others' gradients that are asked for
        weights = {name: (given[row],) for name, given in loss.options().items() if isinstance(given, tuple)}
        single: Any = replace(loss, **weights, **({"reduction": "none"} if "reduction" in loss.options() else {}))  # type: ignore[type-var]
        whole = upstream[row : row + 1] if single.reduction == "none" else case.grad_loss
        value, gradient = referee.loss(single, {}, case.x[row::rows], case.target[row : row + 1], whole, where=where[row::rows])
        values[:, row : row + 1] = value[:2] if single.reduction == "none" else np.nan
        gradients[:, row::rows] = np.array(gradient[:2]) / count
    reduced = values if loss.reduction == "none" else values.reshape(2, -1).sum(axis=1) / count
    return {referee.Place("loss"): tuple(reduced), referee.Place("gradient"): tuple(gradients)}
