"""Reads arrays out of somebody else's structure: a dictionary by symbol, a list with a dictionary or a pair for each layer,
lists of weights and of biases, or one after the other. Which of them it is, is read off the names and shapes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from manualbp import Network
from oracle.diagnosis.evidence import Slot, named_slots
from oracle.doors.errors import DoorError
from oracle.doors.forms import Form, Place, as_array, is_array

#: How the name of an entry begins that holds all gradients.
INSIDE = ("grad", "nabla", "dparam")


@dataclass(frozen=True)
class Reader:
    """Reads arrays out of somebody else's structures."""

    form: Form

    @property
    def network(self) -> Network:
        return self.form.network

    @cached_property
    def places(self) -> dict[Place, tuple[int, ...]]:
        """Every parameter, in the order of the computation, and its shape."""
        held = enumerate(self.network.shapes)
        return {Place(at, name): shape for at, shapes in held for name, shape in shapes.items()}

    @cached_property
    def names(self) -> dict[str, Slot]:
        """By every name that an entry of a dictionary may have, plain; see `bare` for what names the parameter itself."""
        found: dict[str, Slot] = {}
        for slot, quantity in named_slots(self.network).items():
            symbol = quantity.symbol
            names = [symbol]
            if slot.what == "loss":
                names = ["loss", "cost", "C", "J"]
            elif slot.what == "parameter":
                own = symbol.removeprefix("dC/d")
                names += [f"d{own}", f"grad {own}", f"nabla {own}"]
            elif slot.what == "gradients":
                names += [symbol.removeprefix("dC/"), symbol.replace("delta", "dz"), symbol.replace("delta", "dC/dz")]
            for name in names:
                found.setdefault(_plain(name), slot)
        return found

    @cached_property
    def bare(self) -> dict[str, Slot]:
        """The names of the parameters, which also stand for their gradients where nothing else does."""
        names = named_slots(self.network)
        slots = [slot for slot in names if slot.what == "parameter"]
        symbols = {_plain(names[slot].symbol.removeprefix("dC/d")): slot for slot in slots}
        return symbols | {_plain(f"{slot.at}.{slot.name}"): slot for slot in slots}

    def parameters(self, params: Any) -> tuple[dict[str, Any], ...]:
        """Parameters as manualbp keeps them. Raises DoorError unless there is exactly one array of its shape for each."""
        found = {Place(slot.at, slot.name): array for slot, array in self.read(params).items() if slot.what == "parameter"}
        for place, shape in self.places.items():
            got = found.get(place)
            if got is None or got.shape != shape:
                raise DoorError(
                    f"params takes {self._symbol(place)} of shape {self.form.parameter_out(place, np.empty(shape)).shape}; got "
                    f"{'nothing there' if got is None else self.form.parameter_out(place, got).shape}. "
                    "Are weights (in, out)? Then say transposed=True; biases with two axes are bias='column' or 'row'."
                )
        return tuple(
            {name: np.ascontiguousarray(found[Place(at, name)]) for name in own} for at, own in enumerate(self.network.shapes)
        )

    def _symbol(self, place: Place) -> str:
        slot = Slot("parameter", *place)
        return named_slots(self.network)[slot].symbol.removeprefix("dC/d")

    def symbols(self, params: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        """Drawn parameters as a dictionary by plain symbol: W1, b1, W2, ..., in their layout."""
        return {
            self._symbol(place).replace("[", "").replace("]", ""): self.form.parameter_out(place, params[place.at][place.name])
            for place in self.places
        }

    def read(self, returned: Any, dtype: Any = None) -> dict[Slot, Any]:
        """Every array that is given, as manualbp keeps it; Python's own numbers, which have none, get this dtype.

        Raises DoorError for more arrays than there are parameters.
        """
        found: dict[Slot, Any] = {}
        for slot, value in self._given(returned):
            array = as_array(value)
            if array is not None:
                array = array if dtype is None or hasattr(value, "dtype") else array.astype(dtype)
                array = array if array.dtype.itemsize <= 8 else array.astype(np.float64)
                found.setdefault(slot, self._in(slot, array))
        return found

    def _in(self, slot: Slot, array: Any) -> Any:
        return self.form.parameter_in(Place(slot.at, slot.name), array) if slot.what == "parameter" else self.form.data_in(array)

    def _given(self, returned: Any) -> Iterator[tuple[Slot, Any]]:
        if isinstance(returned, Mapping):
            yield from self._of_mapping(returned)
        elif isinstance(returned, Sequence) and not isinstance(returned, str):
            numbers = [item for item in returned if _is_number(item)]
            others = [item for item in returned if not _is_number(item)]
            if len(numbers) == 1:  # the loss, and what is beside it
                yield Slot("loss", len(self.network.layers)), numbers[0]
                yield from self._given(others[0] if len(others) == 1 and not is_array(others[0]) else others)
            else:
                yield from self._in_order(returned)

    def _of_mapping(self, returned: Mapping[Any, Any]) -> Iterator[tuple[Slot, Any]]:
        """By name, the surest first; what has a name that is not known, such as a cache, is none of it."""
        keys = {key: _plain(str(key)) for key in returned}
        for known in (self.names, self.bare):
            yield from ((known[plain], returned[key]) for key, plain in keys.items() if plain in known)
        others = {key: value for key, value in returned.items() if keys[key] not in (self.names | self.bare)}
        if others and all(isinstance(value, Mapping) and not self._names_any(value) for value in others.values()):
            yield from self._in_order(list(others.values()))
            return
        for key, value in others.items():
            if keys[key].startswith(INSIDE):
                yield from self._given(value)
            elif (local := self._local(key)) and not is_array(value):
                held = [place for place in self.places if place.name == local]
                values = list(value.values()) if isinstance(value, Mapping) else value
                yield from ((Slot("parameter", *place), each) for place, each in zip(held, values, strict=False))

    def unread(self, returned: Any) -> list[str]:
        """The keys of a dictionary, beside those that are read, that hold arrays under no name that is known."""
        if not isinstance(returned, Mapping):
            return []
        keys = [key for key in returned if _plain(str(key)) not in (self.names | self.bare) and is_array(returned[key])]
        return [str(key) for key in keys if np.ndim(as_array(returned[key]))]

    def _names_any(self, returned: Mapping[Any, Any]) -> bool:
        return any(_plain(str(key)) in (self.names | self.bare) for key in returned)

    def _local(self, key: Any) -> str:
        """The parameter that a key such as dW means wherever it stands."""
        plain = _plain(str(key))
        for holder in self.network.holders:
            for name in holder.parameter_shapes():
                symbol = _plain(holder.symbols.get(name, name))
                if plain.removeprefix("grad").removeprefix("d") in (symbol, f"{symbol}s", name, f"{name}s", f"{name}es"):
                    return name
        return ""

    def _in_order(self, items: Sequence[Any]) -> Iterator[tuple[Slot, Any]]:
        """Arrays without names of their own, in the order that fits the shapes best; a dictionary stands for a layer."""
        if items and all(isinstance(item, Mapping) for item in items):
            used = sorted({place.at for place in self.places})
            holders = range(len(self.network.holders)) if len(items) == len(self.network.holders) else used
            for at, own in zip(holders, items, strict=False):
                for key, value in own.items():
                    place = Place(at, self._local(key))
                    if place in self.places:
                        yield Slot("parameter", *place), value
            return
        leaves = list(_leaves(items))
        if len(leaves) > len(self.places):
            raise DoorError(
                f"the candidate returns gradients of {len(self.places)} parameters, "
                f"{', '.join(map(self._symbol, self.places))}; got {len(leaves)} arrays. "
                "Return a dictionary to name what there is."
            )
        best = max(self._orders(), key=lambda order: self._fit(order, leaves))
        yield from ((Slot("parameter", *place), leaf) for place, leaf in zip(best, leaves, strict=False))

    def _orders(self) -> Iterator[list[Place]]:
        """Layer by layer, or name by name; the weight or the bias first."""
        places = list(self.places)
        names = list(dict.fromkeys(place.name for place in places))
        for these in (names, names[::-1]):
            yield sorted(places, key=lambda place: (place.at, these.index(place.name)))
            yield sorted(places, key=lambda place: (these.index(place.name), place.at))

    def _fit(self, order: list[Place], leaves: list[Any]) -> int:
        """How many of the arrays have the shape of the parameter that they would be the gradient of."""
        arrays = [(place, as_array(leaf)) for place, leaf in zip(order, leaves, strict=False)]
        return sum(a is not None and self.form.parameter_in(place, a).shape == self.places[place] for place, a in arrays)


def _plain(name: str) -> str:
    return name.casefold().translate(str.maketrans("", "", "[]_ "))


def _is_number(value: Any) -> bool:
    array = as_array(value) if is_array(value) else None
    return array is not None and array.ndim == 0


def _leaves(items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        if is_array(item):
            yield item
        else:
            yield from _leaves(item)
