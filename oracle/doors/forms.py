"""How somebody else lays a network's arrays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from manualbp import Linear, Network
from oracle.doors.errors import DoorError

LAYOUTS = ("columns", "rows")
#: The shapes of a bias of n numbers.
BIASES: dict[str, tuple[int, ...]] = {"flat": (-1,), "column": (-1, 1), "row": (1, -1)}


class Place(NamedTuple):
    """Where a parameter is: its holder's position, and torch's name for it."""

    at: int
    name: str


def as_array(value: Any) -> Any:
    """Numbers as an array of NumPy's, whichever library holds them; None for anything else."""
    if value is None or isinstance(value, str | bytes | Mapping):
        return None
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        from oracle.twins import to_numpy

        return to_numpy(value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "fiub" or array.dtype.name == "bfloat16" else None


def is_array(value: Any) -> bool:
    """Whether a value is one array: it has a shape, is a number, or is a list of nothing but numbers."""
    if hasattr(value, "shape") or not isinstance(value, Sequence | Mapping) or isinstance(value, str):
        return True
    return not isinstance(value, Mapping) and not any(map(_holds_arrays, value)) and as_array(value) is not None


def _holds_arrays(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_arrays, value))
    return hasattr(value, "shape") or isinstance(value, Mapping) or value is None


@dataclass(frozen=True)
class Form:
    """The layout: samples as rows or columns, weights (in, out) where they are transposed, and the shape of a bias."""

    network: Network
    layout: str = "columns"
    transposed: bool = False
    bias: str = "flat"

    def __post_init__(self) -> None:
        for name, given, known in (("layout", self.layout, LAYOUTS), ("bias", self.bias, tuple(BIASES))):
            if given not in known:
                raise DoorError(f"{name} takes {' or '.join(map(repr, known))}; got {given!r}.")

    def others(self) -> list["Form"]:
        """Every other form of the same network, those first that differ in least."""
        known = product(LAYOUTS, (False, True), BIASES)
        forms = [replace(self, layout=layout, transposed=transposed, bias=bias) for layout, transposed, bias in known]
        return sorted((form for form in forms if form != self), key=lambda form: len(form.beside(self)))

    def beside(self, other: "Form") -> dict[str, Any]:
        """The options in which it differs from another."""
        mine = {name: getattr(self, name) for name in ("layout", "transposed", "bias")}
        return {name: value for name, value in mine.items() if value != getattr(other, name)}

    def data_out(self, array: Any) -> Any:
        """An array (features, *extra, m) as theirs."""
        return np.moveaxis(array, -1, 0).copy() if self.layout == "rows" else array.copy()

    def data_in(self, array: Any) -> Any:
        """Theirs as (features, *extra, m); what has no axis stays."""
        return np.moveaxis(array, 0, -1) if self.layout == "rows" and array.ndim else array

    def parameter_out(self, place: Place, array: Any) -> Any:
        """A parameter as theirs."""
        if self._is_bias(place):
            return array.reshape(BIASES[self.bias]).copy()
        return array.T.copy() if self.transposed and array.ndim == 2 else array.copy()

    def parameter_in(self, place: Place, array: Any) -> Any:
        """Theirs as a parameter; an array of another shape than theirs stays what it is."""
        if self._is_bias(place) and array.shape == np.empty(array.size).reshape(BIASES[self.bias]).shape:
            return array.reshape(-1)
        return array.T if self.transposed and array.ndim == 2 else array

    def _is_bias(self, place: Place) -> bool:
        return place.name == "bias" and isinstance((*self.network.layers, None)[place.at], Linear)
