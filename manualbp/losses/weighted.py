"""Weights in front of a loss's terms: one number for each feature, and what 0 times infinity means."""

from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manualbp.blocks import Array
from manualbp.loss import ReducedLoss


def times(weight: Any, x: Array) -> Array:
    """The product weight * x, where a weight of 0 silences an infinite x: what does not count costs nothing. NaN stays NaN."""
    return np.where((weight == 0) & np.isinf(x), 0.0, weight * x)


@dataclass(frozen=True)
class Weighted(ReducedLoss, ABC):
    """A loss whose terms are multiplied by a weight of their feature, or class.

    torch's BCELoss and BCEWithLogitsLoss take any array that broadcasts; here a weight belongs to one row of the input.
    """

    #: The options that are weights.
    weights: ClassVar[tuple[str, ...]] = ("weight",)

    weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.weights:
            given = getattr(self, name)
            if given is None:
                continue
            numbers = tuple(float(number) for number in given)
            if not numbers or not np.isfinite(numbers).all():
                raise ValueError(f"{type(self).__name__} takes a {name} of finite numbers, one for each feature; got {given!r}.")
            object.__setattr__(self, name, numbers)

    def twin_options(self) -> dict[str, Any]:
        return {name: np.array(value) if name in self.weights and value else value for name, value in self.options().items()}

    def per_row(self, name: str, input: Array) -> Any:
        """The weight of this name with as many axes as the input, (features, 1, .., 1); 1 where there is none."""
        given = getattr(self, name)
        if given is None:
            return 1.0
        if len(given) != len(input):
            raise ValueError(
                f"{type(self).__name__} takes one {name} for each row of its input; got {len(given)} for {len(input)} rows."
            )
        return np.reshape(given, (-1, *(1,) * (input.ndim - 1)))
