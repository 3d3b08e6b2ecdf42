"""The two kinds of document: a frozen case, and a port's answer to one. In memory, as plain data, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Activation, Network, Quantity, Trace
from manualbp.backpropagation import parameter_symbol
from manualbp.layer import Record
from oracle.case import DTYPES, Case
from oracle.diagnosis.evidence import Slot, named_slots
from oracle.roundoff import Scales
from oracle.vectors.arrays import read, rounded_up, written
from oracle.vectors.reading import At, VectorsError
from oracle.verdict import TOLERANCE

CASE, ANSWER, VERSION = "oracle-vectors case", "oracle-vectors answer", 1
#: Characters of a case's name, and of a message from within.
LONGEST = 1000
#: Frozen in the dtypes that are compared.
FLOATS = tuple(DTYPES)


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
    at.keys(("format", "version"), [key for key in at.value if key not in ("format", "version")])
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
