"""A wrong array beside the right one, and a likeness of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.diagnosis.evidence import furthest, share_of, unit_of
from oracle.verdict import TOLERANCE


class Look(NamedTuple):
    """A likeness: what it is, to how many rounding scales it holds, and what usually makes it."""

    name: str
    sigmas: float
    explanation: str


#: What may be in an array's place: what it is, its numbers, and how that comes about.
Other = tuple[str, NDArray[Any], str]
#: A constant that people leave out or put in: its name, value, and where it comes from.
Factor = tuple[str, float, str]


@dataclass(frozen=True)
class Beside:
    """A wrong array beside the right one; of what these may be, nothing else is known.

    sigma    the rounding scale of the right one, element by element
    axes     what each of its axes is called: rows, columns, samples
    factors  constants that may be one too many or too few
    others   arrays that may be here in its place
    given    arrays that it is computed from, by name
    what     what it is: a gradient, an output
    """

    found: NDArray[Any]
    wanted: NDArray[Any]
    sigma: NDArray[np.float64]
    dtype: np.dtype[Any]
    axes: tuple[str, ...]
    factors: tuple[Factor, ...] = ()
    others: tuple[Other, ...] = ()
    given: tuple[tuple[str, NDArray[Any]], ...] = ()
    what: str = "gradient"

    def unit(self, predicted: Any) -> NDArray[np.float64]:
        """The rounding scale of anything as large as this."""
        return unit_of(predicted, self.sigma, self.wanted, self._share)

    @cached_property
    def _share(self) -> float:
        return share_of(self.sigma, self.wanted, self.dtype)

    def sigmas(self, predicted: Any) -> float:
        """How far what was found is from this."""
        return furthest(self.found, predicted, self.unit(predicted))

    @property
    def allowed(self) -> float:
        return TOLERANCE
