"""The hand-written side of a comparison: end to end, and each layer alone on torch's own numbers."""

from typing import Any

import numpy as np

from manualbp import Trace, backpropagate
from oracle.case import Case


def manual_run(case: Case) -> Trace:
    """The candidate end to end: errors travel from layer to layer."""
    return backpropagate(case.network, case.params, case.x, case.target, grad_loss=case.grad_loss)


def layerwise_run(case: Case, reference: Trace) -> Trace:
    """Each layer forward on the reference's own input and back on its own upstream gradient.

    Whatever differs here is that layer's own doing; nobody inherits it. What the reference could not compute is None.
    """
    network, count = case.network, len(case.network.layers)
    values, gradients = list(reference.values), list(reference.gradients)
    parameter_gradients: list[dict[str, Any]] = [{} for _ in network.layers]
    loss = None
    with np.errstate(all="ignore"):
        for i, (layer, params) in enumerate(zip(network.layers, case.params, strict=True)):
            values[i + 1], residuals = layer.forward(params, reference.values[i])
            upstream = reference.gradients[i + 1]
            if upstream is not None:
                gradients[i], parameter_gradients[i] = layer.backward(params, residuals, upstream)
        if reference.loss is not None:
            loss, residuals = network.loss.forward(reference.values[count], case.target)
            gradients[count] = network.loss.backward(residuals, case.grad_loss)
    return Trace(network, loss, tuple(values), tuple(gradients), tuple(parameter_gradients), reference.failure)
