"""Rectifiers with a slope below 0 that is learnt, or drawn at random."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from manualbp.activations.rectifiers import bent
from manualbp.blocks import Array, choose, negative_part, unknown_at_nan, widened
from manualbp.domains import REALS, Interval
from manualbp.layer import Activation, Kink, Params


@dataclass(frozen=True)
class PReLU(Activation):
    """A leaky ReLU whose slope below 0 is learnt: one slope alpha, or one for each row of features.

    Shapes
        input z and output a (features, *extra, m); weight alpha (num_parameters), with num_parameters 1 or features.
    Forward
        a = max(z, 0) + alpha min(z, 0)
    Backward
        With g = dC/da:  dC/dz = g for z > 0, alpha g otherwise;  dC/dalpha = sum of g min(z, 0), over all elements that
        share the slope.
    Conventions
        At the kink z = 0 torch takes alpha; at NaN too (2.13), ours is NaN. torch starts alpha at `init`.
    Raises
        ValueError when num_parameters is below 1, or neither 1 nor the number of rows.
    References
        He et al. 2015, Delving deep into rectifiers, arXiv 1502.01852.
    """

    symbols: ClassVar[Mapping[str, str]] = {"weight": "alpha"}
    formula: ClassVar[str] = "max(z, 0) + alpha min(z, 0)"
    derivative_formula: ClassVar[str] = "1 if z > 0 else alpha"

    num_parameters: int = 1
    init: float = 0.25

    def __post_init__(self) -> None:
        if self.num_parameters < 1:
            raise ValueError(f"PReLU takes num_parameters from 1, one slope for all rows; got {self.num_parameters}.")

    @property
    def centres(self) -> Mapping[str, float]:  # type: ignore[override]  # the option chooses
        return {"weight": self.init}

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return (Kink(0.0, self.init),)  # while alpha is what it started as

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(num_parameters=rows, init=0.6)

    def fitted(self, rows: int) -> Self:
        return self if self.num_parameters == 1 else replace(self, num_parameters=rows)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.num_parameters,)}

    def rows_out(self, rows_in: int) -> int:
        if self.num_parameters not in (1, rows_in):
            raise ValueError(
                f"{self} takes {self.num_parameters} rows, one for each slope; got {rows_in}. "
                "num_parameters is 1 or the width of the layer before."
            )
        return rows_in

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        self.rows_out(x.shape[0])
        z, alpha = _wide(x), _column(params["weight"], x.ndim)
        return bent(z, alpha).astype(x.dtype, copy=False), x

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        z, g, alpha = _wide(residuals), _wide(grad_output), _column(params["weight"], residuals.ndim)
        grad = unknown_at_nan(g * choose(z > 0, 1, alpha, z.dtype), z)
        shared = tuple(range(z.ndim)) if self.num_parameters == 1 else tuple(range(1, z.ndim))
        products = negative_part(z).astype(np.float64, copy=False) * g
        grad_alpha = products.sum(axis=shared).reshape(self.num_parameters)
        dtype = residuals.dtype
        return grad.astype(dtype, copy=False), {"weight": grad_alpha.astype(dtype, copy=False)}


@dataclass(frozen=True)
class RReLU(Activation):
    """A leaky ReLU whose slopes below 0 are drawn at random while training; afterwards, their mean.

    Shapes
        input z, output a and slopes s (features, *extra, m).
    Forward
        a = max(z, 0) + s min(z, 0), with s uniform in [lower, upper), or s = (lower + upper) / 2 unless `training`.
    Backward
        dC/dz = dC/da for z > 0, s dC/da otherwise. The slopes are numbers like any other: they do not depend on z.
    Conventions
        At the kink z = 0 torch takes s. At NaN it takes s, but 1 in training (2.13); ours is NaN. `training` and `seed` are
        ours: the slopes are those of np.random.default_rng(seed), so that a pass repeats.
    Raises
        ValueError when lower is above upper.
    References
        Xu et al. 2015, Empirical evaluation of rectified activations, arXiv 1505.00853.
    """

    formula: ClassVar[str] = "max(z, 0) + s min(z, 0), s in [lower, upper]"
    derivative_formula: ClassVar[str] = "1 if z > 0 else s"

    lower: float = 1 / 8
    upper: float = 1 / 3
    training: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.lower <= self.upper:
            raise ValueError(f"RReLU takes a lower up to its upper; got {self.lower} and {self.upper}. Exchange the two?")

    def twin_options(self) -> dict[str, Any]:
        return {"lower": self.lower, "upper": self.upper}

    @property
    def range(self) -> Interval:  # type: ignore[override]  # the options choose
        return REALS if self.upper > 0 else Interval(low=0.0)

    @property
    def kinks(self) -> tuple[Kink, ...]:
        return () if self.training else (Kink(0.0, (self.lower + self.upper) / 2),)

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(lower=0.05, upper=0.6), cls(training=True, seed=1)

    def noise(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        if not self.training:
            return None
        return np.random.default_rng(self.seed).uniform(self.lower, self.upper, shape).astype(dtype)

    def _slopes(self, x: Array) -> Any:
        drawn = self.noise(x.shape, x.dtype)
        return (self.lower + self.upper) / 2 if drawn is None else _wide(drawn)

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        slopes = self._slopes(x)
        return bent(_wide(x), slopes).astype(x.dtype, copy=False), (x, slopes)

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        x, slopes = residuals
        z = _wide(x)
        factors = choose(z <= 0, slopes, 1, z.dtype) if self.training else choose(z > 0, 1, slopes, z.dtype)
        return unknown_at_nan(_wide(grad_output) * factors, z).astype(x.dtype, copy=False), {}


def _wide(x: Array) -> Array:
    return x.astype(widened(x.dtype, wide=False), copy=False)


def _column(weight: Array, ndim: int) -> Array:
    return _wide(weight).reshape(-1, *[1] * (ndim - 1))
