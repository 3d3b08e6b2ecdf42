"""Every quantity of a network in one pass there and back: the power series of each layer, joined by the chain rule.

`network` proves one number from the whole network's forward definition and needs nothing else; this is many times faster, and
tests hold the two against each other. Each layer is differentiated by its own series, as always.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from manualbp import Activation, Linear, Quantity, Trace
from manualbp.layer import Layer
from oracle.case import Case
from oracle.referee.balls import START, Ball, Straddles, Undecided, Undefined, accurate, doubles, pack, precision, series
from oracle.referee.evaluate import slope_only
from oracle.referee.losses import Reduced, column_of, constants, moved
from oracle.referee.network import Place, forward
from oracle.referee.registry import definition

Array = NDArray[Any]
Params = Mapping[str, Array]
Asked = Mapping[Place, Any] | None

#: Enough bits for what cancels in a network of doubles; beyond it `network` asks for more, one number at a time.
MOST_BITS = 1024


def trace(case: Case, asked: Asked = None) -> dict[Quantity, tuple[Any, Any]]:
    """The true number of every element of every quantity, as (hi, lo) arrays; NaN where this precision does not settle it.

    For a loss alone `asked` may say, by place, which elements of its gradients are the question; all others are NaN then.
    Raises NoDefinition for a layer or loss the referee does not know, Undecided where an input lies on a kink, or the case holds
    infinities or NaN.
    """
    arrays = [case.x, *(value for own in case.params for value in own.values())]
    if not all(np.isfinite(array.astype(np.float64)).all() for array in arrays):
        raise Undecided("the referee of a network takes finite inputs and parameters; got infinity or NaN.")
    bits = START
    while True:
        try:
            with precision(bits):
                found = {quantity: _settled(array) for quantity, array in _pass(case, asked).quantities().items()}
        except (Straddles, Undefined) as error:
            if bits >= MOST_BITS:
                raise Undecided("a number of the network lies on a kink, or where a function is not defined.") from error
        else:
            if bits >= MOST_BITS or all(settled for _, settled in found.values()):
                return {quantity: numbers for quantity, (numbers, _) in found.items()}
        bits *= 2


def _settled(balls: Any) -> tuple[tuple[Any, Any], bool]:
    """Balls as (hi, lo), NaN for one that is absent or not narrow enough; and whether there is none that is not."""
    array = balls if isinstance(balls, np.ndarray) else pack([balls], ())
    narrow = [ball is not None and accurate(ball) for ball in array.ravel()]
    pairs = [doubles(ball) if good else (np.nan, np.nan) for ball, good in zip(array.ravel(), narrow, strict=True)]
    hi, lo = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    settled = all(good or ball is None for ball, good in zip(array.ravel(), narrow, strict=True))
    return (hi.reshape(array.shape), lo.reshape(array.shape)), settled


def _pass(case: Case, asked: Asked) -> Trace:
    """A trace whose arrays hold balls; None where nobody asks."""
    layers, batch = case.network.layers, case.x.shape[-1]
    params = [{name: constants(value) for name, value in own.items()} for own in case.params]
    node, nodes, extended = constants(case.x), [], []
    for layer, own in zip(layers, params, strict=False):
        drawn = layer.noise((*node.shape[:-1], batch), case.dtype) if isinstance(layer, Activation) else None
        nodes.append(node)
        extended.append(own if drawn is None else {"slope": constants(drawn)})
        node = _plain(forward(layer, extended[-1], node))
    nodes.append(node)

    loss, grad, of_loss = _loss(case, node, asked)
    gradients, grads = [grad], [of_loss] if len(params) > len(layers) else []
    for layer, own, value, names in zip(
        reversed(layers), reversed(extended), reversed(nodes[:-1]), reversed(case.params[: len(layers)]), strict=True
    ):
        grad, of_layer = _backward(layer, own, value, grad)
        gradients.append(grad)
        grads.append({name: of_layer[name] for name in names})
    return Trace(
        case.network,
        loss,
        tuple(_values(value) for value in nodes),
        tuple(gradients[::-1]),
        tuple(grads[::-1]),
    )


def _plain(node: Array) -> Array:
    """Series without their slopes."""
    return pack((series(value[0]) for value in node.ravel()), node.shape)


def _values(node: Array) -> Array:
    return pack((value[0] for value in node.ravel()), node.shape)


def _slopes(found: Array) -> Array:
    return pack((value[1] for value in found.ravel()), found.shape)


def _with_t(node: Array) -> Array:
    """Every element with a t of its own."""
    return pack((value + series(0, 1) for value in node.ravel()), node.shape)


def _backward(layer: Layer, params: Params, node: Array, grad: Array) -> tuple[Array, dict[str, Array]]:
    """The gradients of a layer's input and parameters."""
    if isinstance(layer, Linear):
        a, delta = _values(node).reshape(node.shape[0], -1), grad.reshape(grad.shape[0], -1)
        of_params = {"weight": delta @ a.T, "bias": delta.sum(axis=1)}
        return (_values(params["weight"]).T @ delta).reshape(node.shape), of_params
    if definition(layer).kind == "features":
        found = np.empty(node.shape, object)
        gate = isinstance(layer, Activation) and layer.rows_in(1) > 1  # whose outputs each depend on one row of either half
        for rows in np.arange(len(node)).reshape(-1, len(grad) if gate else 1):
            step = node.copy()
            step[rows] = _with_t(node[rows])
            shares = _slopes(forward(layer, params, step)) * grad
            found[rows] = shares if gate else shares.sum(axis=0)
        return found, {}
    of_params = {}
    for name, value in params.items():
        shares = _slopes(forward(layer, {**params, name: _with_t(value)}, node)) * grad
        of_params[name] = _unspread(shares, value.shape)
    return _slopes(forward(layer, params, _with_t(node))) * grad, of_params


def _unspread(shares: Array, shape: tuple[int, ...]) -> Array:
    """Add up what one parameter for all, or one for each feature, has a share in."""
    if shape == shares.shape:
        return shares
    return shares.reshape(shape[0], -1).sum(axis=1)


def _loss(case: Case, node: Array, asked: Asked) -> tuple[Any, Array, dict[str, Array]]:
    """The loss, and the gradients of its input and parameters; None for elements that nobody asks for."""

    def wanted(place: Place, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        where = np.broadcast_to(True if asked is None else asked.get(place, False), shape)
        yield from (index for index in np.ndindex(shape) if where[index])

    of_loss = case.params[len(case.network.layers) :]
    reduced = Reduced(case.network.loss, case.target, node.shape, of_loss[0] if of_loss else None)
    upstream = np.asarray(np.asarray(case.grad_loss).astype(case.dtype)).astype(np.float64)
    weights = np.broadcast_to(upstream, reduced.value_shape)

    def slope(column: tuple[int, ...], own: Array, params: Params | None = None) -> Ball:
        try:
            found: Ball = slope_only(reduced.reduce({column: reduced.terms(own, column, params)}, weights))[1]
        except (Straddles, Undefined):  # on a kink; other samples are not
            return arb("nan")
        return found

    def slope_of_term(column: tuple[int, ...], own: Array, feature: int) -> Ball:
        try:
            term = reduced.term(own, column, feature)
        except (Straddles, Undefined):
            return arb("nan")
        weight = weights[(feature, *column)] if reduced.reduction == "none" else weights
        found: Ball = slope_only(term.value * float(weight) / reduced.divisor())[1]
        return found

    terms = {column: reduced.terms(column_of(node, column), column) for column in reduced.columns}
    if reduced.reduction == "none":
        value: Any = np.empty(reduced.value_shape, object)
        for column, own in terms.items():
            value[(..., *column)] = pack((term.value[0] for term in own.ravel()), own.shape)
    else:
        value = reduced.reduce(terms, np.array(1.0))[0]
    gradient = np.empty(node.shape, object)
    own_axes = len(reduced.own_shape)
    for place in wanted(Place("gradient", len(case.network.layers)), node.shape):
        index, column = place[:own_axes], place[own_axes:]
        own = moved(column_of(node, column), index)
        if reduced.one_by_one:
            gradient[place] = slope_of_term(column, own, index[0] % (len(own) // reduced.definition.blocks))
        else:
            gradient[place] = slope(column, own)
    grads = {}
    for name in of_loss[0] if of_loss else {}:
        keyword = reduced.definition.parameter(name)
        array = reduced.params[keyword]
        grads[name] = np.empty(array.shape, object)
        for index in wanted(Place("parameter", len(case.network.layers), name), array.shape):
            params = {**reduced.params, keyword: moved(array, index)}
            shares = (slope(column, column_of(node, column), params) for column in reduced.columns)
            grads[name][index] = sum(shares, arb(0))
    return value, gradient, grads
