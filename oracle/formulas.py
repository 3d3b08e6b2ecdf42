"""The right formula of every quantity, in the notes' symbols."""

from manualbp import Activation, Linear, Network, Quantity
from manualbp.backpropagation import gradient_symbol, node_symbols
from manualbp.layer import Elementwise


def formula(network: Network, quantity: Quantity) -> str:
    """How the layer that computes this quantity computes it, in the notes' symbols."""
    symbols, position, l = node_symbols(network), quantity.position, quantity.layer
    if position == len(network.layers):
        rule = network.loss.derivative_formula if quantity.is_gradient else network.loss.formula
        letter = "z" if "z" in rule else "a"
        return rule if symbols[position] == letter else f"{rule},   {letter} = {symbols[position]}"
    layer, before, after = network.layers[position], symbols[position], symbols[position + 1]
    upstream = gradient_symbol(after)
    if isinstance(layer, Linear):
        return {
            after: f"W[{l}] {before}" + (f" + b[{l}]" if layer.bias else ""),
            f"dC/dW[{l}]": f"{upstream} {before}^T",
            f"dC/db[{l}]": f"{upstream}, summed over the batch",
            gradient_symbol(before): f"W[{l}]^T {upstream}",
        }.get(quantity.symbol, "no such quantity in the reference")
    assert isinstance(layer, Activation)
    if not quantity.is_gradient:
        return f"g({before}),   g(z) = {layer.formula}"
    if isinstance(layer, Elementwise):
        return f"{upstream} * g'({before}),   g'(z) = {layer.derivative_formula}"
    return f"{upstream} through the Jacobian of g,   {layer.derivative_formula}"
