"""Backpropagation over a chain of layers, the trace it leaves, and the step down the gradient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp.blocks import Array
from manualbp.layer import Params
from manualbp.linear import Linear
from manualbp.networks import Network


@dataclass(frozen=True, order=True)
class Quantity:
    """The name of one number or array of a trace.

    `symbol` is the notes' sign for it (dC/dW[2]) and unique within a network; `name` is the sign without its layer
    (dC/dW); `layer` is the notes' l of the layer that computes it; `position` is that layer's place in the chain, and the
    length of the chain for the loss.
    """

    position: int
    layer: int
    name: str
    symbol: str

    @property
    def is_gradient(self) -> bool:
        """True for what flows back, False for a value or the loss."""
        return self.name.startswith(("dC/", "delta"))


@dataclass(frozen=True)
class Trace:
    """All that one pass forward and back computed.

    Node i of a chain of n layers is the input of layer i, and node n the input of the loss.

    values[i], gradients[i]      a node and dC/d(node), both (features, *extra, m)
    parameter_gradients[i][name] dC/d(parameter) of layer i, of the parameter's shape; of the loss behind the last layer
    loss                         C, a scalar, or the terms where the loss does not reduce them

    An entry the run could not compute is None, and `failure` says why. `trace["dC/dW[2]"]` looks a quantity up by the
    notes' symbol.
    """

    network: Network
    loss: Any
    values: tuple[Any, ...]
    gradients: tuple[Any, ...]
    parameter_gradients: tuple[dict[str, Any], ...]
    failure: str = ""

    def quantities(self) -> dict[Quantity, Any]:
        """Every quantity in the order of the computation: values forward, the loss, then the gradients backward."""
        return dict(_named(self))

    def __getitem__(self, symbol: str) -> Any:
        by_symbol = {quantity.symbol: array for quantity, array in self.quantities().items()}
        if symbol not in by_symbol:
            raise KeyError(f"this network has the quantities {', '.join(by_symbol)}; got {symbol!r}.")
        return by_symbol[symbol]


def node_symbols(network: Network) -> list[str]:
    """The notes' sign for each node: x, z[l] behind a Linear, a[l] behind an activation (a'[l] behind a second one)."""
    symbols = ["x"]
    for layer, number in zip(network.layers, network.numbers, strict=True):
        symbol = f"z[{number}]" if isinstance(layer, Linear) else f"a[{number}]"
        while symbol in symbols:
            symbol = symbol.replace("[", "'[")
        symbols.append(symbol)
    return symbols


def gradient_symbol(node: str) -> str:
    """The sign for dC/d(node): delta[l] where the node is z[l]."""
    return node.replace("z", "delta") if node.startswith("z") else f"dC/d{node}"


def parameter_symbol(network: Network, position: int, name: str) -> str:
    """The notes' sign for a parameter of the layer at this position, or of the loss: W[l], b[l]."""
    holder = network.holders[position]
    return f"{holder.symbols.get(name, name)}[{(*network.numbers, network.depth)[position]}]"


def _named(trace: Trace) -> Iterator[tuple[Quantity, Any]]:
    network = trace.network
    count = len(network.layers)
    numbers = (*network.numbers, network.depth)  # the loss belongs to the last layer
    nodes = node_symbols(network)

    def quantity(position: int, symbol: str) -> Quantity:
        return Quantity(position, numbers[position], symbol.split("[")[0], symbol)

    for position in range(count):
        yield quantity(position, nodes[position + 1]), trace.values[position + 1]
    yield Quantity(count, network.depth, "loss", "C"), trace.loss
    used: set[str] = set()
    for position in reversed(range(count + 1)):
        own = trace.parameter_gradients[position] if position < len(trace.parameter_gradients) else {}
        for name, array in own.items():
            symbol = parameter_symbol(network, position, name)
            while symbol in used:
                symbol = symbol.replace("[", "'[")
            used.add(symbol)
            yield quantity(position, f"dC/d{symbol}"), array
        yield quantity(position, gradient_symbol(nodes[position])), trace.gradients[position]


def backpropagate(network: Network, params: Sequence[Params], x: Array, target: NDArray[Any], *, grad_loss: Any = 1.0) -> Trace:
    """Run the network forward and its gradients back, and return everything on the way.

    Shapes
        x (n_0, *extra, m), one column per sample; target as the loss takes it; params as `init` draws them. All of one
        dtype, which is also that of every result. `grad_loss` is the upstream gradient of C itself, of C's shape.
    Forward
        node[i+1], residuals[i] = layer i on node[i]
    Backward
        from dC/d node[n] down: dC/d node[i], dC/d params[i] = layer i on residuals[i] and dC/d node[i+1]
    Raises
        TypeError or ValueError, before any work, when the arguments do not fit the network (`Network.check`).
    """
    x, target = np.asarray(x), np.asarray(target)
    network.check(params, x, target)
    with np.errstate(all="ignore"):  # what is not finite shows itself in the trace
        values, residuals = [x], []
        for layer, own in zip(network.layers, params, strict=False):
            output, saved = layer.forward(own, values[-1])
            values.append(output)
            residuals.append(saved)
        count = len(network.layers)
        of_loss = params[count] if len(params) > count else {}
        loss, saved = network.loss.forward(of_loss, values[-1], target)

        grad, grad_params = network.loss.backward(of_loss, saved, grad_loss)
        gradients, parameter_gradients = [grad], [grad_params] if of_loss else []
        for layer, own, saved in zip(reversed(network.layers), reversed(params[:count]), reversed(residuals), strict=True):
            grad, grad_params = layer.backward(own, saved, grad)
            gradients.append(grad)
            parameter_gradients.append(grad_params)
    return Trace(network, loss, tuple(values), tuple(gradients[::-1]), tuple(parameter_gradients[::-1]))


def _forms(arrays: Sequence[Params]) -> list[dict[str, tuple[Any, ...]]]:
    return [{name: (*array.shape, array.dtype.name) for name, array in own.items()} for own in arrays]


def descend(params: Sequence[Params], gradients: Sequence[Params], alpha: float) -> tuple[dict[str, Array], ...]:
    """One step of gradient descent: w <- w - alpha dC/dw for every parameter, as new arrays.

    `gradients` is a trace's `parameter_gradients`; alpha is the learning rate. Raises ValueError unless there is one gradient
    for each parameter, of its shape and dtype.
    """
    wanted, got = _forms(params), _forms(gradients)
    if wanted != got:
        raise ValueError(f"descend takes one gradient for each parameter, of its shape and dtype: {wanted}; got {got}.")
    alpha = float(alpha)  # a NumPy float64 would widen float32 parameters
    return tuple(
        {name: value - alpha * grads[name] for name, value in own.items()} for own, grads in zip(params, gradients, strict=True)
    )
