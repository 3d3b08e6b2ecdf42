"""The affine layer z = W a + b."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from manualbp.blocks import Array, widened
from manualbp.layer import Layer, Params


@dataclass(frozen=True)
class Linear(Layer):
    """An affine map of each sample, z = W a + b.

    Shapes
        input a (in_features, *extra, m), output z (out_features, *extra, m); weight W (out_features, in_features) and
        bias b (out_features), both as torch keeps them.
    Forward
        z = W a + b, with b added to every column.
    Backward
        Let delta = dC/dz. From dz = dW a + W da + db follows
        <delta, dz> = <delta a^T, dW> + <W^T delta, da> + <delta 1, db>, and so

            dC/da = W^T delta,    dC/dW = delta a^T,    dC/db = delta summed over the batch.
    Raises
        ValueError when a width is below 1, or the input has not in_features rows.
    References
        The notes, Version 1; Nielsen, Neural Networks and Deep Learning, chapter 2, BP2 to BP4.
    """

    symbols: ClassVar[Mapping[str, str]] = {"weight": "W", "bias": "b"}

    in_features: int
    out_features: int
    bias: bool = True

    def __post_init__(self) -> None:
        if self.in_features < 1 or self.out_features < 1:
            raise ValueError(f"Linear takes widths from 1; got Linear({self.in_features}, {self.out_features}).")

    def __str__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features}{'' if self.bias else ', bias=False'})"

    @classmethod
    def examples(cls, rows: int = 3) -> tuple[Self, ...]:
        return cls(5, 3), cls(3, 4, bias=False)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"weight": (self.out_features, self.in_features)}
        return shapes | {"bias": (self.out_features,)} if self.bias else shapes

    def rows_out(self, rows_in: int) -> int:
        if rows_in != self.in_features:
            raise ValueError(
                f"{self} takes ({self.in_features}, m) inputs, one column per sample; got {rows_in} rows. "
                "Transpose the input if its rows are samples, or change the width."
            )
        return self.out_features

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        rows = self.rows_out(x.shape[0])
        z = _wide(params["weight"]) @ _wide(_columns(x))
        if self.bias:
            z += params["bias"][:, None]
        return z.reshape(rows, *x.shape[1:]).astype(x.dtype, copy=False), x

    def backward(self, params: Params, residuals: Any, grad_output: Array) -> tuple[Array, dict[str, Array]]:
        a, delta = _wide(_columns(residuals)), _wide(_columns(grad_output))
        grads = {"weight": delta @ a.T}
        if self.bias:
            grads["bias"] = delta.sum(axis=1)
        grad = (_wide(params["weight"]).T @ delta).reshape(residuals.shape)
        dtype = residuals.dtype
        return grad.astype(dtype, copy=False), {name: own.astype(dtype, copy=False) for name, own in grads.items()}


def _columns(x: Array) -> Array:
    """(features, *extra, m) as a matrix with one column for each position and sample; a view where NumPy can."""
    return x if x.ndim == 2 else x.reshape(x.shape[0], -1)


def _wide(x: Array) -> Array:
    """The array itself, or as float32 where it has a half precision: products are added up in more bits than they have."""
    return x if x.itemsize > 2 else x.astype(widened(x.dtype, wide=False))
