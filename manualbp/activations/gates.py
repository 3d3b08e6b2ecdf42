"""Gates: one half of the features, through an activation, decides how much of the other half passes."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from manualbp.activations.gelu import GELU
from manualbp.activations.rectifiers import ReLU
from manualbp.activations.sigmoids import Sigmoid, Tailed
from manualbp.activations.swish import SiLU
from manualbp.blocks import Array, blockwise, blockwise_pair, cleared
from manualbp.layer import Activation, Elementwise, Params


class _Gate(Activation):
    """g(u) * v for the two halves u, v of the features, in this order unless `_gate_last`.

    Shapes
        input z (2 features, *extra, m), output a (features, *extra, m).
    Forward
        a = g(u) * v, elementwise
    Backward
        With d = dC/da:  dC/du = d * v * g'(u),  dC/dv = d * g(u), one above the other.
    Raises
        ValueError when the number of rows is odd.
    """

    _gate_last: ClassVar[bool] = False

    @property
    @abstractmethod
    def _activation(self) -> Elementwise:
        """The activation g of the gate's half."""

    def rows_out(self, rows_in: int) -> int:
        if rows_in % 2:
            raise ValueError(f"{self} takes an even number of rows, the gate's half and the other; got {rows_in}.")
        return rows_in // 2

    def rows_in(self, rows_out: int) -> int:
        return 2 * rows_out

    def _halves(self, z: Array) -> tuple[Array, Array]:
        rows = self.rows_out(z.shape[0])
        return (z[rows:], z[:rows]) if self._gate_last else (z[:rows], z[rows:])

    def _passed(self, u: Array, v: Array) -> Array:
        """g(u) v."""
        return self._activation.value(u) * v

    def _gradients(self, u: Array, v: Array, d: Array) -> tuple[Array, Array]:
        """g'(u) d v and g(u) d."""
        value, grad_u = self._activation.value_and_vjp(u, d)
        grad_u *= v  # last: d * v may overflow where the whole does not
        value *= d
        return grad_u, value

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        return blockwise(self._passed, *self._halves(x), wide=self._activation.wide), x

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        u, v = self._halves(residuals)
        grad_u, grad_v = blockwise_pair(self._gradients, u, v, grad_output, wide=self._activation.wide)
        return np.concatenate((grad_v, grad_u) if self._gate_last else (grad_u, grad_v)), {}


class _TailedGate(_Gate):
    """A gate whose g underflows: v may make a normal number of g(u) v all the same."""

    @property
    @abstractmethod
    def _activation(self) -> Tailed: ...

    def _passed(self, u: Array, v: Array) -> Array:
        return self._activation.scaled(u, by_value=(v,))[0]

    def _gradients(self, u: Array, v: Array, d: Array) -> tuple[Array, Array]:
        value, grad_u = self._activation.scaled(u, by_value=(d,), by_slope=(d, v))
        return grad_u, value


@dataclass(frozen=True)
class GLU(_TailedGate):
    """The gated linear unit: the first half of the features times the sigmoid of the second.

    With (v, u) the halves and s the sigmoid:  a = v * s(u),  da/dv = s(u),  da/du = v * s'(u). torch's dim is 1, our axis 0.
    Source: Dauphin et al. 2016, arXiv 1612.08083.
    """

    formula: ClassVar[str] = "v / (1 + exp(-u)) for the halves (v, u)"
    derivative_formula: ClassVar[str] = "s, v s (1 - s), s = 1 / (1 + exp(-u))"
    _gate_last: ClassVar[bool] = True

    def twin_options(self) -> dict[str, Any]:
        return {"dim": 1}

    @property
    def _activation(self) -> Tailed:
        return Sigmoid()


@dataclass(frozen=True)
class SwiGLU(_TailedGate):
    """The SiLU of the first half of the features times the second half.

    With (u, v) the halves:  a = SiLU(u) * v,  da/du = SiLU'(u) * v,  da/dv = SiLU(u). torch.nn has no such class; the order is
    that of fused gate and up projections. Source: Shazeer 2020, arXiv 2002.05202.
    """

    formula: ClassVar[str] = "SiLU(u) v for the halves (u, v)"
    derivative_formula: ClassVar[str] = "SiLU'(u) v, SiLU(u)"

    @property
    def _activation(self) -> Tailed:
        return SiLU()


@dataclass(frozen=True)
class GEGLU(_TailedGate):
    """The GELU of the first half of the features times the second half.

    With (u, v) the halves:  a = GELU(u) * v,  da/du = GELU'(u) * v,  da/dv = GELU(u). torch.nn has no such class.
    Source: Shazeer 2020, arXiv 2002.05202.
    """

    formula: ClassVar[str] = "GELU(u) v for the halves (u, v)"
    derivative_formula: ClassVar[str] = "GELU'(u) v, GELU(u)"

    approximate: str = "none"

    def __post_init__(self) -> None:
        GELU(self.approximate)  # refuses what it does not know

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(), cls(approximate="tanh")

    @property
    def _activation(self) -> Tailed:
        return GELU(self.approximate)


@dataclass(frozen=True)
class ReGLU(_Gate):
    """The ReLU of the first half of the features times the second half.

    With (u, v) the halves:  a = ReLU(u) * v,  da/du = v where u > 0, else 0, also for an infinite v,  da/dv = ReLU(u).
    torch.nn has no such class.
    Source: Shazeer 2020, arXiv 2002.05202.
    """

    formula: ClassVar[str] = "ReLU(u) v for the halves (u, v)"
    derivative_formula: ClassVar[str] = "ReLU'(u) v, ReLU(u)"

    @property
    def _activation(self) -> Elementwise:
        return ReLU()

    def _gradients(self, u: Array, v: Array, d: Array) -> tuple[Array, Array]:
        grad_u, grad_v = super()._gradients(u, v, d)
        return cleared(grad_u, u <= 0), grad_v
