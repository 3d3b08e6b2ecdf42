"""One element of one quantity of a whole network, enclosed: who is right when two computations of it differ?"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flint import arb
from numpy.typing import NDArray

from manualbp import Activation, Linear, Quantity, Trace
from manualbp.layer import Layer
from oracle.case import Case
from oracle.referee.balls import Ball, Series, Undecided, Undefined, doubles, pack, settle
from oracle.referee.evaluate import slope_only
from oracle.referee.losses import Reduced, checked, column_of, constants, moved
from oracle.referee.registry import Named, NoDefinition, definition

Array = NDArray[Any]
Index = tuple[int, ...]


class Element(NamedTuple):
    """A ball that holds the true number, or at a kink every number that a choice of slopes allows."""

    ball: Ball
    at_kink: bool

    def doubles(self) -> tuple[float, float]:
        """(hi, lo) as `ulp_error` takes it: the nearest double and the rest; NaN at a kink, where there is no one number."""
        return doubles(arb("nan") if self.at_kink else self.ball)


class Place(NamedTuple):
    """Where a quantity stands: "value" and "gradient" of a node, "loss", or "parameter", the gradient of a layer's."""

    what: str
    at: int = 0
    name: str = ""


def network(case: Case, quantity: Quantity, index: Index = ()) -> Element:
    """Enclose one element of a quantity of the case's trace, from the forward definitions alone.

    A gradient is the derivative of <grad_loss, C> with t added to that element of the node or parameter. grad_loss counts as
    the case's dtype holds it, since every run rounds it so. A call costs one forward pass, of the sample or for a parameter
    of the batch, in arithmetic of a few hundred bits.
    Raises KeyError for a quantity and IndexError for an element that the network does not have, NoDefinition for a layer or
    loss the referee does not know, Undecided when no precision suffices or the case holds infinities or NaN.
    """
    places = every_place(case)
    if quantity not in places:
        raise KeyError(f"this network has the quantities {', '.join(q.symbol for q in places)}; got {quantity.symbol!r}.")
    arrays = [case.x, *(value for own in case.params for value in own.values())]
    if not all(np.isfinite(array.astype(np.float64)).all() for array in arrays):
        raise Undecided("the referee of a network takes finite inputs and parameters; got infinity or NaN.")
    place, run = places[quantity], _Run(case)
    try:
        found = settle(lambda: run.evaluate(place, tuple(index)))
    except Undefined:
        return Element(arb("nan"), False)
    return Element(found.value if place.what in ("value", "loss") else found.slope, found.at_kink)


def every_place(case: Case) -> dict[Quantity, Place]:
    """The place behind every quantity: a trace names whatever it holds, here the places themselves."""
    count = len(case.network.layers)
    trace = Trace(
        network=case.network,
        loss=Place("loss"),
        values=tuple(Place("value", i) for i in range(count + 1)),
        gradients=tuple(Place("gradient", i) for i in range(count + 1)),
        parameter_gradients=tuple({name: Place("parameter", i, name) for name in own} for i, own in enumerate(case.params)),
    )
    return trace.quantities()


class _Run:
    """The forward pass of a case in power series, with t at one element."""

    def __init__(self, case: Case) -> None:
        self.case, self.layers = case, case.network.layers
        self.upstream = np.asarray(np.asarray(case.grad_loss).astype(case.dtype)).astype(np.float64)
        self._loss: Reduced | None = None

    def loss(self, shape: tuple[int, ...]) -> Reduced:
        """The loss for an output of this shape, the whole batch's."""
        if self._loss is None:
            own = self.case.params[len(self.layers) :]
            self._loss = Reduced(self.case.network.loss, self.case.target, shape, own[0] if own else None)
        return self._loss

    def evaluate(self, place: Place, index: Index) -> Series:
        """The quantity's element: as the constant term of a value, as the coefficient of t of a gradient."""
        x, batch = self.case.x, self.case.x.shape[-1]
        # a node, or the loss of a sample, depends on one sample only
        alone = place.what in ("value", "gradient") or (place.what == "loss" and index != ())
        samples = range(batch)[index[-1] :][:1] if alone else range(batch)
        inside = (*index[:-1], 0) if alone else index
        node = constants(x[..., samples.start : samples.stop])
        for at, (layer, own) in enumerate(zip(self.layers, self.case.params, strict=False)):
            if place[:2] == ("value", at):
                break
            if place[:2] == ("gradient", at):
                node = moved(node, inside)
            params = {name: constants(value) for name, value in own.items()}
            if place[:2] == ("parameter", at):
                params[place.name] = moved(params[place.name], inside)
            drawn = layer.noise((*node.shape[:-1], batch), self.case.dtype) if isinstance(layer, Activation) else None
            if drawn is not None:
                params["slope"] = constants(drawn[..., samples.start : samples.stop])
            node = forward(layer, params, node)
        if place.what == "value":
            value: Series = node[checked(node, inside)]
            return value
        if place[:2] == ("gradient", len(self.layers)):
            node = moved(node, inside)
        return self._end(place, index, node, samples)

    def _end(self, place: Place, index: Index, node: Array, samples: range) -> Series:
        """The loss of these samples, or the slope of <grad_loss, C>."""
        reduced = self.loss((*node.shape[:-1], self.case.x.shape[-1]))
        params = dict(reduced.params)
        if place[:2] == ("parameter", len(self.layers)):
            name = reduced.definition.parameter(place.name)
            params[name] = moved(params[name], index)
        terms = {
            column: reduced.terms(column_of(node, (*column[:-1], column[-1] - samples.start)), column, params)
            for column in reduced.columns
            if column[-1] in samples
        }
        if place.what != "loss":
            return slope_only(reduced.reduce(terms, np.broadcast_to(self.upstream, reduced.value_shape)))
        if reduced.reduction == "none":
            split = len(index) - len(reduced.trailing)
            own = terms[index[split:]]
            value: Series = own[checked(own, index[:split])].value
            return value
        return reduced.reduce(terms, np.array(1.0))


def forward(layer: Layer, params: Mapping[str, Array], node: Array) -> Array:
    """A layer on an array (features, *extra, m) of series. Raises NoDefinition for a layer the referee does not know."""
    if isinstance(layer, Linear):
        z = params["weight"] @ node.reshape(node.shape[0], -1)
        if "bias" in params:
            z = z + params["bias"][:, None]
        return z.reshape(-1, *node.shape[1:])
    found = definition(layer)
    if found.kind == "loss":
        raise NoDefinition(f"the layers of a network are linear maps and activations; got {found.name}.")
    if found.kind == "features":
        columns = [found.bind(layer.options())(list(column)) for column in node.reshape(node.shape[0], -1).T]
        rows = [value for row in zip(*columns, strict=True) for value in row]
        return pack(rows, (-1, *node.shape[1:]))
    return _elementwise(layer, params, node)


def _elementwise(layer: Named, params: Mapping[str, Array], node: Array) -> Array:
    found = definition(layer)
    call = found.bind(layer.options())
    names = [found.parameter(name) for name in params]
    spread = []
    for value in params.values():
        shape = (-1, *[1] * (node.ndim - 1)) if value.ndim == 1 else value.shape
        spread.append(np.broadcast_to(value.reshape(shape), node.shape).ravel())
    values = (call(z, **dict(zip(names, own, strict=True))) for z, *own in zip(node.ravel(), *spread, strict=True))
    return pack(values, node.shape)
