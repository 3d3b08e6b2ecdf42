"""What is measured: the functions of the catalogue, each in each dtype."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manualbp import Activation, Loss
from oracle.case import DTYPES, parse_dtype
from oracle.suite import chosen


@dataclass(frozen=True)
class Subject:
    """A function in a dtype: an activation or loss, and what its derivative is taken with respect to, the input unless named."""

    record: Activation | Loss
    dtype: str
    wrt: str = ""

    @property
    def function(self) -> str:
        return f"{self.record}, d/d{self.wrt}" if self.wrt else str(self.record)

    @property
    def numpy(self) -> np.dtype[Any]:
        return DTYPES[self.dtype]

    def __str__(self) -> str:
        return f"{self.function} in {self.dtype}"


def subjects(activations: Sequence[str] = (), loss_names: Sequence[str] = (), dtypes: Sequence[str] = ()) -> list[Subject]:
    """What the names ask for, all of it when there are none; where one kind is named and the other is not, of that kind alone.

    Every example of every activation, once more for the gradient of its parameter where it has one slope for each row; of the
    losses those that are sums, since a mean only divides. Raises SpecError for a name that does not exist.
    """
    wanted = [parse_dtype(name) for name in dtypes] or list(DTYPES)
    found: list[tuple[Any, str]] = []
    if activations or not loss_names:
        for activation in chosen(activations, Activation):
            found.append((activation, ""))
            if activation.options().get("num_parameters") == 1:
                found += [(activation, name) for name in activation.parameter_shapes()]
    if loss_names or not activations:
        found += [(_sum(loss), "") for loss in chosen(loss_names, Loss)]
    return [Subject(record, dtype, wrt) for record, wrt in dict.fromkeys(found) for dtype in dict.fromkeys(wanted)]


def _sum(loss: Any) -> Any:
    return replace(loss, reduction="sum") if "sum" in getattr(loss, "reductions", ()) else loss
