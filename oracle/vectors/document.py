"""The two kinds of document: a frozen case, and a port's answer to one. In memory, as plain data, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Activation, Loss, Network, Quantity, Trace
from manualbp.backpropagation import parameter_symbol
from manualbp.layer import Layer, Record
from oracle.case import DTYPES, Case, R, SpecError, parse_record
from oracle.diagnosis.evidence import Slot, named_slots
from oracle.roundoff import Scales
from oracle.vectors.arrays import read, rounded_up, written
from oracle.vectors.reading import At, VectorsError
from oracle.verdict import TOLERANCE

CASE, ANSWER, VERSION = "oracle-vectors case", "oracle-vectors answer", 1
#: Characters of a case's name, and of a message from within.
LONGEST = 1000
#: Frozen in the dtypes that are compared; class indices are whole numbers.
FLOATS, NUMBERS = tuple(DTYPES), (*DTYPES, "int64")


@dataclass(frozen=True)
class Frozen:
    """A case with torch's numbers and the error that rounding allows each of them.

    exposes  the mistakes of the catalogue that fail on this case, and at which positions of the chain
    proved   the signs whose numbers are by hand: the referee proves torch inaccurate there
    """

    case: Case
    reference: Trace
    allowed: Mapping[Quantity, NDArray[np.float64]]
    exposes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    proved: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def by_symbol(self) -> dict[str, Quantity]:
        """Every quantity by the notes' sign."""
        return {quantity.symbol: quantity for quantity in self.allowed}

    @cached_property
    def scales(self) -> Scales:
        """The rounding scales behind the allowances."""
        scale = {quantity: allowed / TOLERANCE for quantity, allowed in self.allowed.items()}
        return Scales(scale, scale, {}, {})

    @property
    def required(self) -> set[str]:
        """What an answer has to give: the gradient of every parameter; of the input, where there is none."""
        slots = named_slots(self.case.network)
        own = {quantity.symbol for slot, quantity in slots.items() if slot.what == "parameter"}
        return own or {slots[Slot("gradients", 0)].symbol}


@dataclass(frozen=True)
class Answer:
    """What a port computed on the case of this name: arrays by the notes' sign. `source` is the file that says so."""

    case: str
    arrays: Mapping[str, NDArray[Any]]
    source: str = ""

    def trace(self, frozen: Frozen) -> Trace:
        """The same as a trace, in which what is not given is None. Raises VectorsError for a sign the case does not have."""
        network = frozen.case.network
        unknown = [symbol for symbol in self.arrays if symbol not in frozen.by_symbol]
        if unknown:
            known = ", ".join(frozen.by_symbol)
            raise VectorsError(f"{self.source}: quantities takes the signs of this network, {known}; got {unknown[0][:60]!r}.")
        return trace_of(network, None, {quantity.symbol: self.arrays.get(quantity.symbol) for quantity in frozen.allowed})


def trace_of(network: Network, x: Any, arrays: Mapping[str, Any]) -> Trace:
    """A trace from its arrays by sign."""
    found = {slot: arrays.get(quantity.symbol) for slot, quantity in named_slots(network).items()}
    nodes = range(len(network.layers) + 1)
    return Trace(
        network,
        found[Slot("loss", len(network.layers))],
        (x, *(found[Slot("values", at)] for at in nodes[1:])),
        tuple(found[Slot("gradients", at)] for at in nodes),
        tuple({name: found[Slot("parameter", at, name)] for name in own} for at, own in enumerate(network.shapes)),
    )


def _recorded(record: Record) -> dict[str, Any]:
    return {"type": type(record).__name__, "options": record.options()}


def case_document(frozen: Frozen) -> dict[str, Any]:
    """A frozen case as plain data; the arrays stay arrays, `(array, allowed or None)`, for whoever writes them."""
    case, network = frozen.case, frozen.case.network
    given = {"x": case.x, "y": case.target, "dC'/dC": np.asarray(case.grad_loss, case.dtype)}
    for at, own in enumerate(case.params):
        given |= {parameter_symbol(network, at, name): array for name, array in own.items()}
    for at, layer in enumerate(network.layers):
        drawn = layer.noise(frozen.reference.values[at].shape, case.dtype) if isinstance(layer, Activation) else None
        given |= {} if drawn is None else {f"drawn[{at}]": drawn}
    quantities = frozen.reference.quantities()
    return {
        "format": CASE,
        "version": VERSION,
        "case": case.name,
        "dtype": str(case.dtype),
        "network": {"layers": [_recorded(layer) for layer in network.layers], "loss": _recorded(network.loss)},
        "exposes": {name: list(positions) for name, positions in frozen.exposes.items()},
        "proved": list(frozen.proved),
        "made with": dict(frozen.versions),
        "given": {sign: (np.asarray(array), None) for sign, array in given.items()},
        "quantities": {
            quantity.symbol: (np.asarray(quantities[quantity]), allowed) for quantity, allowed in frozen.allowed.items()
        },
    }


def in_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its arrays as JSON objects."""

    def form(array: NDArray[Any], allowed: Any) -> dict[str, Any]:
        return written(array) | ({} if allowed is None else {"allowed": rounded_up(allowed)})

    arrays = {part: {sign: form(*pair) for sign, pair in document[part].items()} for part in ("given", "quantities")}
    return {**document, **arrays}


def kind(at: At) -> str:
    """Whether this is a case or an answer. Raises VectorsError for anything else."""
    if not isinstance(at.value, dict) or "format" not in at.value:
        at.refuse(f'an object whose key format is "{CASE}" or "{ANSWER}"')
    found = at.at("format").text(among=(CASE, ANSWER))
    at.keys(("format", "version"), at.value)
    if at.value["version"] != VERSION or isinstance(at.value["version"], bool):
        at.at("version").refuse(str(VERSION))
    return found


def read_answer(at: At, dtype_of: Mapping[str, str]) -> Answer:
    """An answer. `dtype_of` has the dtype of every case that may be answered, by name. Raises VectorsError."""
    at.keys(("format", "version", "case", "quantities"), ("port",))
    name = at.at("case").text()
    if name not in dtype_of:
        raise VectorsError(f"{at.where}: case takes the name of a frozen case; there is none of the name {name[:160]!r}.")
    if "port" in at.value:
        at.at("port").text("the name of the port")
    arrays = {
        sign: read(array, FLOATS, dtype_of[name])[0]
        for sign, array in at.at("quantities").entries("an object with an array for each sign, such as dC/dW[1]")
    }
    return Answer(name, arrays, at.file)


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
