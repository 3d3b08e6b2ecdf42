"""A network is a chain of layers and a loss; its parameters are kept beside it, one dictionary per layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manualbp.blocks import Array, is_floating
from manualbp.domains import REALS
from manualbp.layer import Activation, Layer, Params
from manualbp.linear import Linear
from manualbp.loss import Loss


@dataclass(frozen=True)
class Network:
    """A chain of layers that ends in a loss.

    The notes' layer l is a Linear and the activations behind it. `depth` counts them; the layers of the chain are
    numbered from 0 and the loss stands behind the last.

    Raises
        TypeError when a member is no layer or the last is no loss; ValueError when two Linear layers do not fit, or when
        the last activation can leave the domain of the loss.
    """

    layers: tuple[Layer, ...]
    loss: Loss

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        for layer in self.layers:
            if isinstance(layer, type) or not hasattr(layer, "rows_out"):
                raise TypeError(
                    f"Network takes layers such as Linear(3, 2) or Tanh(); got {layer!r}. Is it a class, not yet called?"
                )
        if isinstance(self.loss, type) or not hasattr(self.loss, "target_domain"):
            raise TypeError(f"Network takes a loss such as MSELoss(); got {self.loss!r}. Is it a class, not yet called?")
        first = next((layer for layer in self.layers if isinstance(layer, Linear)), None)
        if first is not None:
            self._rows(first.in_features)
        if not self.layers:  # a loss alone: its input is whatever it is given
            return
        output = self.layers[-1]
        reach = output.range if isinstance(output, Activation) else REALS
        if not self.loss.domain.covers(reach):
            raise ValueError(
                f"{self.loss} takes inputs in {self.loss.domain}; {output} gives {reach}. "
                f"End the network with {self.loss.link}(), or use a loss on real numbers."
            )

    @classmethod
    def dense(cls, widths: Sequence[int], hidden: Activation, output: Activation, loss: Loss, *, bias: bool = True) -> Self:
        """The notes' network: widths n_0, n_1, .., n_L joined by Linear layers, `hidden` behind all but the last of them.

        The widths are those behind the activations: before a gate, which halves its rows, the Linear has twice as many.

        >>> from manualbp import HalfSquaredError, Sigmoid
        >>> Network.dense((3, 3, 3), Sigmoid(), Sigmoid(), HalfSquaredError()).depth
        2
        """
        if len(widths) < 2:
            raise ValueError(f"a network takes at least two widths, input and output; got {tuple(widths)}.")
        layers: list[Layer] = []
        activations = [hidden] * (len(widths) - 2) + [output]
        for (rows_in, rows_out), activation in zip(pairwise(widths), activations, strict=True):
            rows = activation.rows_in(rows_out)
            layers += [Linear(rows_in, rows, bias), activation.fitted(rows)]
        return cls(tuple(layers), loss)

    def _rows(self, rows: int) -> int:
        """Rows of the output for an input of so many rows; raises where two layers do not fit."""
        for layer in self.layers:
            rows = layer.rows_out(rows)
        return rows

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for an input of this shape (features, *extra, m). Raises ValueError where the rows do not fit."""
        return (self._rows(shape[0]), *shape[1:])

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """For each layer of the chain, the notes' number l of the layer it belongs to."""
        count, numbers = 0, []
        for layer in self.layers:
            count += isinstance(layer, Linear)
            numbers.append(count)
        return tuple(numbers)

    @cached_property
    def holders(self) -> tuple[Layer | Loss, ...]:
        """What the dictionaries of parameters belong to: every layer, and the loss if it has parameters."""
        return (*self.layers, self.loss) if self.loss.parameter_shapes() else self.layers

    @cached_property
    def shapes(self) -> tuple[dict[str, tuple[int, ...]], ...]:
        """For each holder, the shapes of its parameters."""
        return tuple(holder.parameter_shapes() for holder in self.holders)

    @property
    def depth(self) -> int:
        """The notes' L: how many Linear layers the chain has."""
        return self.numbers[-1] if self.layers else 0

    def check(self, params: Sequence[Params], x: Array, target: NDArray[Any]) -> None:
        """Raise unless parameters, input and target fit this network.

        Raises TypeError for the wrong kind of number, ValueError for a wrong count, shape or value.
        """
        if not is_floating(x.dtype):
            raise TypeError(f"the input takes floating-point numbers; got dtype {x.dtype}. Convert it: x.astype(np.float64).")
        if x.ndim < 2:
            raise ValueError(
                f"the input takes the shape (features, m), one column per sample; got {x.shape}. One sample: x[:, None]."
            )
        if x.shape[-1] == 0:
            raise ValueError(f"the batch takes at least one sample; got an input of shape {x.shape}.")
        output = self.output_shape(x.shape)
        if len(params) != len(self.holders):
            raise ValueError(
                "params takes one dictionary per layer, empty for an activation, and one for a loss that has parameters: "
                f"{len(self.holders)} here; got {len(params)}."
            )
        for position, (layer, shapes, given) in enumerate(zip(self.holders, self.shapes, params, strict=True)):
            if layer.extra_axes is not None:
                layer.check_axes(x.shape)
            if shapes or given:
                _check_params(position, layer, shapes, given, x.dtype)
        self.loss.check_axes(x.shape)
        self.loss.target_domain.check(target, self.loss.target_shape(output), x.dtype, self.loss)


def _check_params(
    position: int, layer: Layer | Loss, shapes: Mapping[str, tuple[int, ...]], given: Params, dtype: np.dtype[Any]
) -> None:
    if given.keys() != shapes.keys():
        raise ValueError(f"layer {position}, {layer}, takes the parameters {sorted(shapes)}; got {sorted(given)}.")
    for name, shape in shapes.items():
        if given[name].shape != shape:
            raise ValueError(f"layer {position}, {layer}, takes a {name} of shape {shape}; got {given[name].shape}.")
        if given[name].dtype != dtype:
            raise TypeError(
                f"layer {position}, {layer}, takes a {name} of the input's dtype, {dtype}; got {given[name].dtype}. "
                "Convert one of the two: mixed precisions would be rounded twice."
            )


def init(
    network: Network, seed: int | np.random.Generator = 0, *, dtype: DTypeLike = np.float64, gain: float = 1.0
) -> tuple[dict[str, Array], ...]:
    """Draw parameters: weights from N(0, gain^2 / in_features), biases and slopes from N(their centre, 0.1^2).

    With gain 1 a layer keeps the variance of its input (LeCun et al. 1998, Efficient BackProp, section 4.6). No two numbers
    are equal and none is 0, so nothing hides behind a symmetry. Returns one dictionary per
    layer, by torch's names, and one more for a loss that has parameters.
    """
    rng = np.random.default_rng(seed)
    params = []
    for layer in network.holders:
        drawn = {}
        for name, shape in layer.parameter_shapes().items():
            spread = gain / np.sqrt(shape[1]) if len(shape) > 1 else 0.1
            drawn[name] = (layer.centres.get(name, 0.0) + spread * rng.standard_normal(shape)).astype(dtype)
        params.append(drawn)
    return tuple(params)
