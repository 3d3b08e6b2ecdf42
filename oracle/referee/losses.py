"""Losses: the terms of each sample, reduced as the option says; and the same on arrays of doubles."""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
from flint import arb, ctx
from numpy.typing import NDArray

from oracle.referee.balls import START, Ball, Series, Undefined, pack, precision, series, total
from oracle.referee.evaluate import by_column, enclose, slope_only
from oracle.referee.registry import Named, definition
from oracle.referee.terms import Term
from oracle.referee.truth import NOTHING, Truth, numbers, slope_row, value_row

Array = NDArray[Any]
Index = tuple[int, ...]


def column_of(array: Array, column: Index) -> Array:
    """What an array holds for a column: its part with these indices on the last axes."""
    place: Any = (..., *column)
    return array[place]


def constants(values: Any) -> Array:
    """Doubles as exact constant series, in an array of objects."""
    doubles = np.asarray(values).astype(np.float64)
    return pack((series(arb(x)) for x in doubles.ravel().tolist()), doubles.shape)


def moved(node: Array, index: Index) -> Array:
    """A copy of an array of series with t added to one element. Raises IndexError for one that is not there."""
    copy = node.copy()
    copy[checked(node, index)] = node[index] + series(0, 1)
    return copy


def checked(node: Array, index: Index) -> Index:
    """The index, if it names one element. Raises IndexError otherwise."""
    if len(index) != node.ndim:
        raise IndexError(f"an element of an array of {node.ndim} axes takes as many indices; got {index}.")
    return index


class Reduced:
    """A loss with its target and parameters: knows its columns, the terms of each, and how they are reduced.

    A column is what belongs to one sample, or to one position of it: it is named by its index on the axes behind the
    definition's own. Raises ValueError for features that do not divide into the loss's blocks.
    """

    def __init__(self, record: Named, target: Any, shape: tuple[int, ...], params: Mapping[str, Any] | None = None) -> None:
        self.options = options = record.options()
        self.definition = definition(record, "loss")
        self.call = self.definition.bind(options)
        self.reduction: str = getattr(record, "reduction", options.get("reduction", "mean"))
        self.target = np.asarray([] if target is None else target)
        if self.target.dtype.kind not in "iub":
            self.target = self.target.astype(np.float64)
        self.shape, self.own_shape = shape, shape[: self.definition.axes]
        self.trailing = shape[self.definition.axes :]
        self.columns: list[Index] = list(np.ndindex(self.trailing))
        self.wholes: dict[int, Ball] = {}  # the sum of all shares, by precision
        self.params: dict[str, Array] = {}
        for name, value in (params or {}).items():
            self.params[self.definition.parameter(name)] = constants(value)
        if shape[0] % self.definition.blocks:
            raise ValueError(
                f"{self.definition.name} takes its inputs as {self.definition.blocks} equal blocks of features; got {shape[0]}."
            )

    def terms(self, own: Array, column: Index, params: Mapping[str, Array] | None = None) -> Array:
        """The terms of a column, of shape () or (features,), from its series, of shape `own_shape`.

        `params`, series by the definition's names, stand in for the loss's own.
        """
        rows = own.tolist()
        size = len(rows) // self.definition.blocks
        blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
        given = column_of(self.target, column).tolist() if self.target.size else None
        found = self.call(blocks, given, **(params or self.params))
        if isinstance(found, np.ndarray):
            return found
        return pack([found], ()) if isinstance(found, Term) else pack(found)

    @cached_property
    def one_by_one(self) -> bool:
        """Whether each term depends on one feature of each input alone."""
        return not self.params and self.shares[0].shape == (self.shape[0] // self.definition.blocks,)

    @cached_property
    def calls(self) -> list[Any]:
        """For each feature the loss of it alone: an option that has a number for every feature has that one."""

        def own(value: Any, feature: int) -> Any:
            return (value[feature],) if isinstance(value, tuple) else value

        several = any(isinstance(value, tuple) for value in self.options.values())
        count = self.shape[0] // self.definition.blocks
        if not several:
            return [self.call] * count
        return [
            self.definition.bind({name: own(value, feature) for name, value in self.options.items()}) for feature in range(count)
        ]

    def term(self, own: Array, column: Index, feature: int) -> Term:
        """One term of a column where they are `one_by_one`: from its own features alone."""
        blocks = [[number] for number in own[feature :: len(own) // self.definition.blocks]]
        given = [column_of(self.target, column)[feature]] if self.target.size else None
        (found,) = self.calls[feature](blocks, given)
        return found

    @cached_property
    def shares(self) -> list[Array]:
        """The shares of each column's terms; they depend on the target alone."""
        with precision(START):
            count = int(np.prod(self.own_shape))  # inputs that suit every loss, no two equal
            anywhere = pack((series(arb(0.25 + 0.5 * (i * 0.618 % 1))) for i in range(count)), self.own_shape)
            found = [self.terms(anywhere, column) for column in self.columns]
            return [pack((term.share for term in terms.ravel()), terms.shape) for terms in found]

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Of the loss, and of its upstream gradient."""
        return (*self.shares[0].shape, *self.trailing) if self.reduction == "none" else ()

    def divisor(self) -> Ball:
        """What the sum of the terms is divided by. Raises Undefined for a mean over nothing."""
        if self.reduction == "mean":
            if ctx.prec not in self.wholes:
                self.wholes[ctx.prec] = sum((arb(share) for own in self.shares for share in own.ravel()), arb(0))
            whole = self.wholes[ctx.prec]
            if whole == 0:
                raise Undefined("a mean takes terms whose weights do not add up to 0.")
            return whole
        return arb(self.shape[-1] if self.reduction == "batchmean" else 1)

    def reduce(self, terms: Mapping[Index, Array], upstream: Array) -> Series:
        """These columns' part of <upstream, loss>; of the loss itself when upstream is 1. `upstream` has the value's shape."""
        parts = []
        for column, own in terms.items():
            weights = np.broadcast_to(column_of(upstream, column) if self.reduction == "none" else upstream, own.shape)
            parts += [term.value * float(g) for term, g in zip(own.ravel(), weights.ravel(), strict=True)]
        return total(parts) / self.divisor()


def loss(
    record: Named,
    params: Mapping[str, Any] | None,
    input: Any,
    target: Any,
    grad_output: Any = 1.0,
    *,
    wrt: str | None = None,
    where: Any = None,
) -> Truth:
    """True value of a loss, and its gradient with respect to the input, or the parameter `wrt`; unpacks as value, gradient.

    input (features, *extra, m), in equal blocks of features where a loss takes several inputs; target as the record takes it,
    None for none. The value is () or, for the reduction "none", has the shape of the terms; grad_output has the value's shape;
    the gradient has the input's. `params` by the record's names.
    `where` says which elements of the input's gradient are asked for, NaN in all others; all unless it is given.
    For small arrays: each sample takes features^2 evaluations. Raises NoDefinition, Undecided.
    """
    points = np.asarray(input).astype(np.float64)
    reduced = Reduced(record, target, points.shape, params)
    upstream = np.broadcast_to(np.asarray(grad_output).astype(np.float64), reduced.value_shape)
    columns = reduced.columns
    values = [column_of(points, column).ravel() for column in columns]
    size = values[0].size

    def terms(column: Index, balls: list[Any], moving: int = -1, own: Mapping[str, Array] | None = None) -> Array:
        node = pack((series(b, int(i == moving)) for i, b in enumerate(balls)), reduced.own_shape)
        return reduced.terms(node, column, own)

    def whole(balls: list[Any], upstream: Array, own: Mapping[str, Array] | None = None) -> Series:
        parts = {c: terms(c, balls[i * size : (i + 1) * size], own=own) for i, c in enumerate(columns)}
        return reduced.reduce(parts, upstream)

    def single(column: Index, k: int, balls: list[Any]) -> Series:
        value: Series = terms(column, balls).ravel()[k].value
        return value

    rows = points.shape[0] // reduced.definition.blocks
    apart = reduced.shares[0].shape == (rows,) and not getattr(record, "per_sample", False)

    def by_input(column: Index, i: int, balls: list[Any]) -> Series:
        own = terms(column, balls, i)
        if apart:  # a term for each row: the others do not depend on this number, whatever they are
            own = pack(term if k == i % rows else Term(series(0)) for k, term in enumerate(own))
        return slope_only(reduced.reduce({column: own}, upstream))

    def by_parameter(name: str, index: Index, balls: list[Any]) -> Series:
        return slope_only(whole(balls, upstream, reduced.params | {name: moved(reduced.params[name], index)}))

    every = np.concatenate(values)
    if reduced.reduction == "none":
        found_rows = [
            [value_row(enclose(own, partial(single, c, k))) for k in range(reduced.shares[0].size)]
            for c, own in zip(columns, values, strict=True)
        ]
        value = by_column(found_rows, reduced.value_shape)
    else:
        value = numbers([value_row(enclose(every, lambda balls: whole(balls, np.array(1.0))))], ())
    if wrt is not None:
        name = reduced.definition.parameter(wrt)
        shape = reduced.params[name].shape
        found = (slope_row(enclose(every, partial(by_parameter, name, index))) for index in np.ndindex(shape))
        return Truth(value, numbers(found, shape))
    every_one = np.broadcast_to(True if where is None else where, points.shape)
    gradient = [
        [
            slope_row(enclose(own, partial(by_input, c, i))) if wanted else NOTHING
            for i, wanted in enumerate(column_of(every_one, c).ravel().tolist())
        ]
        for c, own in zip(columns, values, strict=True)
    ]
    return Truth(value, by_column(gradient, points.shape))
