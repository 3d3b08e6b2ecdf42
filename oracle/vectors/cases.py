"""Reads a frozen case from somebody else's file: every part has to be there, of its kind, and to fit the network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Loss, Network
from manualbp.backpropagation import parameter_symbol
from manualbp.layer import Layer
from oracle.case import DTYPES, Case, R, SpecError, parse_record
from oracle.diagnosis.evidence import Slot, named_slots
from oracle.vectors.arrays import read
from oracle.vectors.document import FLOATS, LONGEST, Frozen, trace_of
from oracle.vectors.reading import At, VectorsError

#: Class indices are whole numbers.
NUMBERS = (*FLOATS, "int64")


def read_case(at: At) -> Frozen:
    """A frozen case. Raises VectorsError."""
    at.keys(("format", "version", "case", "dtype", "network", "exposes", "proved", "made with", "given", "quantities"))
    dtype = at.at("dtype").text(among=FLOATS)
    network = _network(at.at("network"))
    given = {sign: read(array, NUMBERS)[0] for sign, array in at.at("given").entries("an object with an array for each sign")}
    case = _case(at, network, DTYPES[dtype], given)
    shapes = _shapes(case)
    held = {}
    for sign, array in at.at("quantities").entries("an object with an array for each sign"):
        if sign not in shapes:
            raise VectorsError(f"{array.where}: the network has the signs {', '.join(shapes)}.")
        held[sign] = read(array, (dtype,), allowances=True)
        if held[sign][0].shape != shapes[sign]:
            shape = list(held[sign][0].shape)
            raise VectorsError(f"{array.where} takes the shape {list(shapes[sign])} in this network; got {shape}.")
        if not (np.isfinite(held[sign][0].astype(np.float64)).all() and np.isfinite(held[sign][1]).all()):
            raise VectorsError(f"{array.where} takes finite numbers: what is not finite is not frozen.")
    missing = [sign for sign in shapes if sign not in held]
    if missing:
        raise VectorsError(f"{at.where}: quantities takes every sign of the network; {missing[0]} is missing.")
    reference = trace_of(network, case.x, {sign: array for sign, (array, _) in held.items()})
    allowed = {quantity: held[quantity.symbol][1] for quantity in reference.quantities()}
    proved = tuple(sign.text(among=tuple(shapes)) for sign in at.at("proved").items("a list of signs"))
    exposes, versions = _exposes(at.at("exposes"), len(network.layers)), _versions(at.at("made with"))
    return Frozen(case, reference, allowed, exposes, proved, versions)


def _network(at: At) -> Network:
    at.keys(("layers", "loss"))
    layers = [_record(each, Layer) for each in at.at("layers").items("a list of layers")]
    loss = _record(at.at("loss"), Loss)
    try:
        network = Network(tuple(layers), loss)
        _ = network.shapes
    except (TypeError, ValueError, ArithmeticError) as error:
        raise VectorsError(f"{at.where}: {str(error)[:LONGEST]}") from error
    return network


def _record(at: At, base: type[R]) -> R:
    """The record of this type and options. The options are literals, read and checked as on the command line."""
    at.keys(("type", "options"))
    name = at.at("type").text()
    options = []
    for key, value in at.at("options").entries("an object with an option for each name"):
        if not key.isidentifier():
            raise VectorsError(f"{value.where}: an option has a name such as reduction.")
        options.append(f"{key}={_literal(value)!r}")
    if not name.isidentifier():
        at.at("type").refuse("the name of a record, such as Tanh")
    try:
        return parse_record(f"{name}({', '.join(options)})", base)
    except SpecError as error:
        raise VectorsError(f"{at.where}: {str(error)[:LONGEST]}") from error


def _literal(at: At) -> Any:
    value = at.value
    if isinstance(value, list):
        return tuple(_literal(each) if not isinstance(each.value, list) else each.refuse("a number") for each in at.items(""))
    if value is not None and not isinstance(value, bool | int | float | str):
        at.refuse("null, true, false, a number, a text, or a list of numbers")
    return value


def _case(at: At, network: Network, dtype: np.dtype[Any], given: dict[str, NDArray[Any]]) -> Case:
    """The case with these numbers, each of which has to fit the network."""
    signs = [[(name, parameter_symbol(network, position, name)) for name in own] for position, own in enumerate(network.shapes)]
    drawn = [f"drawn[{position}]" for position in range(len(network.layers))]
    known = ["x", "y", "dC'/dC", *(sign for own in signs for _, sign in own)]
    where = at.at("given").where
    for sign in known:
        if sign not in given:
            raise VectorsError(f"{where} takes the arrays {', '.join(known)}; {sign} is missing.")
    other = [sign for sign in given if sign not in known and sign not in drawn]
    if other:
        raise VectorsError(f"{where} takes the arrays {', '.join(known)}; got {other[0][:60]!r}.")
    params = tuple({name: given[sign] for name, sign in own} for own in signs)
    upstream = given["dC'/dC"]
    x, y = given["x"], given["y"]
    try:
        if x.dtype != dtype or upstream.dtype != dtype:
            raise TypeError(f"x and dC'/dC have the case's dtype, {dtype}; got {x.dtype} and {upstream.dtype}")
        network.check(params, x, y)
        terms = _loss_shape(network, x.shape)
        if upstream.shape not in ((), terms):
            raise ValueError(f"dC'/dC has the shape of C, {terms}; got {upstream.shape}")
    except (TypeError, ValueError, ArithmeticError, IndexError) as error:
        raise VectorsError(f"{where}: {error}") from error
    grad_loss = upstream if upstream.shape else float(upstream)
    return Case(_name(at.at("case")), network, params, x, y, grad_loss)


def _name(at: At) -> str:
    name = at.text("the name of the case")
    if len(name) > LONGEST or not name.isprintable():
        at.refuse(f"a name of up to {LONGEST} printable characters")
    return name


def _loss_shape(network: Network, shape: tuple[int, ...]) -> tuple[int, ...]:
    return network.loss.terms_shape(network.output_shape(shape)) if network.loss.reduction == "none" else ()


def _shapes(case: Case) -> dict[str, tuple[int, ...]]:
    """The shape of every quantity, by sign."""
    network, nodes = case.network, [case.x.shape]
    for layer in network.layers:
        nodes.append((layer.rows_out(nodes[-1][0]), *nodes[-1][1:]))

    def of(slot: Slot) -> tuple[int, ...]:
        if slot.what == "loss":
            return _loss_shape(network, case.x.shape)
        return network.shapes[slot.at][slot.name] if slot.what == "parameter" else nodes[slot.at]

    return {quantity.symbol: of(slot) for slot, quantity in named_slots(network).items()}


def _exposes(at: At, count: int) -> dict[str, tuple[int, ...]]:
    found = {}
    for name, positions in at.entries("an object with a list of positions for each mistake"):
        expected = f"positions from 0 to {count}, that of the loss"
        found[name] = tuple(each.whole(expected) for each in positions.items(f"a list of {expected}"))
        if found[name] and max(found[name]) > count:
            positions.refuse(f"a list of {expected}")
    return found


def _versions(at: At) -> dict[str, str]:
    return {name: version.text("a version") for name, version in at.entries("an object with versions")}
