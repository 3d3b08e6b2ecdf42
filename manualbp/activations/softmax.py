"""Activations that mix the features of a sample: their Jacobian is a full matrix, applied without building it.

How the numbers stay right where exp overflows, where one feature is far above the others, and where many of them are added up
is written in manualbp.columns.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from manualbp.blocks import Array, widened
from manualbp.columns import columnwise, log_softmax, log_softmax_vjp, softmax, softmax_vjp
from manualbp.domains import NEGATIVE, UNIT, Interval
from manualbp.layer import Activation, Params


class _OverFeatures(Activation):
    """A normalisation over the features, which are axis 0 here and axis 1 in torch.

    The residuals are the probabilities, in float64 also where the output has fewer bits.
    """

    @abstractmethod
    def values(self, z: Array) -> tuple[Array, Array]:
        """The output and the probabilities of some columns, both in float64."""

    @abstractmethod
    def vjp(self, p: Array, grad_output: Array) -> tuple[Array]:
        """(dC/dz,) of some columns in float64, from the probabilities and dC/d output."""

    def twin_options(self) -> dict[str, Any]:
        return {"dim": 1}

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        a, p = columnwise(self.values, x, dtypes=(x.dtype, widened(x.dtype)))
        return a, p

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        (grad,) = columnwise(self.vjp, residuals, grad_output, dtypes=(grad_output.dtype,))
        return grad, {}


class _Shares:
    """The softmax itself, for every class that is one."""

    formula: ClassVar[str] = "exp(z_i) / sum_k exp(z_k)"
    derivative_formula: ClassVar[str] = "da_i/dz_j = a_i ([i = j] - a_j)"
    range: ClassVar[Interval] = UNIT

    def values(self, z: Array) -> tuple[Array, Array]:
        (p,) = softmax(z)
        return p, p

    def vjp(self, p: Array, grad_output: Array) -> tuple[Array]:
        return softmax_vjp(p, grad_output)


@dataclass(frozen=True)
class Softmax(_Shares, _OverFeatures):
    """Positive numbers that add up to 1 over the features of each sample.

    Shapes
        input z and output a (features, *extra, m); each position of a sample has a sum of its own.
    Forward
        a_i = exp(z_i) / sum_k exp(z_k)
    Backward
        da_i/dz_j = a_i ([i = j] - a_j). Writing g = dC/da,  dC/dz_j = sum_i g_i a_i ([i = j] - a_j)
        = a_j (g_j - sum_i g_i a_i): each upstream gradient counts against their mean, weighted with a.
    Conventions
        Where z has +inf or NaN, or nothing but -inf, the whole column is NaN, as in torch; one -inf gives 0.
        torch 2.13 computes g_j - sum_i g_i a_i as it stands, and where one a is nearly 1, that cancels: with logits 40 and 0
        the first gradient is 0 instead of 4.2e-18. Here it is right.
    """


@dataclass(frozen=True)
class Softmin(_OverFeatures):
    """The softmax of -z: the smallest feature gets the largest share.

    Forward
        a_i = exp(-z_i) / sum_k exp(-z_k)
    Backward
        dC/dz = -dC/d(-z), and so, with g = dC/da,  dC/dz_j = -a_j (g_j - sum_i g_i a_i).
    """

    formula: ClassVar[str] = "exp(-z_i) / sum_k exp(-z_k)"
    derivative_formula: ClassVar[str] = "da_i/dz_j = a_i (a_j - [i = j])"
    range: ClassVar[Interval] = UNIT

    def values(self, z: Array) -> tuple[Array, Array]:
        (p,) = softmax(-z)
        return p, p

    def vjp(self, p: Array, grad_output: Array) -> tuple[Array]:
        return softmax_vjp(p, -grad_output)


@dataclass(frozen=True)
class Softmax2d(_Shares, _OverFeatures):
    """The softmax over the channels of an image, pixel by pixel: input and output (channels, height, width, m)."""

    extra_axes: ClassVar[int | None] = 2

    def twin_options(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class LogSoftmax(_OverFeatures):
    """The logarithm of the softmax, computed without taking the logarithm of a rounded probability.

    Shapes
        input z and output a (features, *extra, m); each position of a sample has a sum of its own.
    Forward
        a_i = z_i - log(sum_k exp(z_k))
    Backward
        da_i/dz_j = [i = j] - exp(a_j). Writing g = dC/da,  dC/dz_j = g_j - exp(a_j) sum_i g_i.
    Conventions
        NaN and the infinities as in Softmax; one -inf gives -inf. Where torch 2.13 subtracts exp(a) sum g from g and one
        exp(a) is nearly 1, its result has lost its digits; ours has not.
    """

    formula: ClassVar[str] = "z_i - log(sum_k exp(z_k))"
    derivative_formula: ClassVar[str] = "da_i/dz_j = [i = j] - exp(a_j)"
    range: ClassVar[Interval] = NEGATIVE

    def values(self, z: Array) -> tuple[Array, Array]:
        return log_softmax(z)

    def vjp(self, p: Array, grad_output: Array) -> tuple[Array]:
        return log_softmax_vjp(p, grad_output)
