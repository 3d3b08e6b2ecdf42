"""The hand-written side of a comparison: end to end, and each layer alone on torch's own numbers."""

from typing import Any

import numpy as np

from manualbp import Trace, backpropagate
from oracle.case import Case


def manual_run(case: Case) -> Trace:
    """The candidate end to end: errors travel from layer to layer.

    Where it raises, an empty trace says why, so that the case fails and a sweep goes on.
    """
    try:
        return backpropagate(case.network, case.params, case.x, case.target, grad_loss=case.grad_loss)
    except Exception as error:
        count = len(case.network.layers)
        nothing = (None,) * (count + 1)
        return Trace(case.network, None, nothing, nothing, ({},) * len(case.params), _reason(error))


def _reason(error: Exception) -> str:
    return f"candidate raised {type(error).__name__}: {str(error).partition(chr(10))[0]}"


def layerwise_run(case: Case, reference: Trace) -> Trace:
    """Each layer forward on the reference's own input and back on its own upstream gradient.

    Whatever differs here is that layer's own doing; nobody inherits it. The layers get the reference's arrays to read and
    not to write: one that works in place raises, and like any layer that raises it lacks its own quantities alone. What
    the reference could not compute is None.
    """
    network, count = case.network, len(case.network.layers)
    values: list[Any] = [reference.values[0], *[None] * count]
    gradients: list[Any] = [None] * (count + 1)
    parameter_gradients: list[dict[str, Any]] = [{} for _ in case.params]
    of_loss = case.params[count] if len(case.params) > count else {}
    loss, failure = None, reference.failure
    with np.errstate(all="ignore"):
        for i, (layer, params) in enumerate(zip(network.layers, case.params, strict=False)):
            try:
                values[i + 1], residuals = layer.forward(params, _to_read(reference.values[i]))
                upstream = reference.gradients[i + 1]
                if upstream is not None:
                    gradients[i], parameter_gradients[i] = layer.backward(params, residuals, _to_read(upstream))
            except Exception as error:
                failure = f"{layer}: {_reason(error)}"
        try:
            if reference.loss is not None:
                loss, residuals = network.loss.forward(of_loss, _to_read(reference.values[count]), case.target)
                gradients[count], grads = network.loss.backward(of_loss, residuals, case.grad_loss)
                if of_loss:
                    parameter_gradients[count] = grads
        except Exception as error:
            failure = f"{network.loss}: {_reason(error)}"
    return Trace(network, loss, tuple(values), tuple(gradients), tuple(parameter_gradients), failure)


def _to_read(array: Any) -> Any:
    """A view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
