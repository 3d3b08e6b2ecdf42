"""What a wrong array of a network looks like, when no mistake of the catalogue explains it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from manualbp import Linear
from oracle.diagnosis.beside import Factor, Look, Other
from oracle.diagnosis.evidence import Evidence, Slot
from oracle.diagnosis.likenesses import likenesses, usual_factors
from oracle.mistakes.parts import columns


def looks(evidence: Evidence, slot: Slot, found: Any, wanted: Any, *, own: bool = False) -> list[Look]:
    """Everything that an array of a network looks like, see `likenesses`."""
    held = evidence.slots.items()
    elsewhere = ((f"the right {quantity.symbol}", other.of(evidence.reference)) for other, quantity in held if other != slot)
    others = [(name, np.asarray(array), "Another result is returned here.") for name, array in elsewhere if array is not None]
    return likenesses(
        found,
        wanted,
        evidence.sigma(slot, own=own),
        evidence.case.dtype,
        _axes(np.ndim(wanted), slot),
        tuple(factors(evidence, slot)),
        [*others, *_shortened(evidence, slot)],
    )


def _shortened(evidence: Evidence, slot: Slot) -> Iterator[Other]:
    """The gradients of an affine layer's parameters without the first or the last sample."""
    layers, reference = evidence.case.network.layers, evidence.reference
    if slot.what != "parameter" or slot.at >= evidence.count or not isinstance(layers[slot.at], Linear):
        return
    delta, a = (columns(np.float64(array)) for array in (reference.gradients[slot.at + 1], reference.values[slot.at]))
    for which, kept in (("first", slice(1, None)), ("last", slice(None, -1))):
        of_weight = delta[:, kept] @ a[:, kept].T
        array = of_weight if slot.name == "weight" else delta[:, kept].sum(axis=1)
        yield f"the right one without the {which} sample", array, "The loop over the samples starts too late, or ends too early."


def factors(evidence: Evidence, slot: Slot) -> Iterator[Factor]:
    """Constants that people leave out or put in here; equal ones are all given."""
    case = evidence.case
    network, m = case.network, case.x.shape[-1]
    output = network.output_shape(case.x.shape)
    upstream = np.asarray(case.grad_loss, np.float64)
    if upstream.ndim == 0 and upstream not in (0.0, 1.0):
        given = float(upstream)
        yield f"1/{given:.4g}, the upstream gradient", 1 / given, "The upstream gradient of the loss is taken as 1."
        yield f"{given:.4g}, the upstream gradient", given, "The upstream gradient of the loss is counted twice."
    counts = {
        "the batch size m": m,
        "the number of outputs": output[0],
        "the number of elements of the output": int(np.prod(output)),
        "the number of positions of all samples": int(np.prod(output[1:])),
    }
    if slot.at < evidence.count:
        layer = network.layers[slot.at]
        for name, what in (("in_features", "the layer's input features"), ("out_features", "the layer's output features")):
            counts[what] = getattr(layer, name, 0)
    yield from usual_factors(counts)


def _axes(count: int, slot: Slot) -> tuple[str, ...]:
    """What the axes of an array of so many are."""
    if slot.what == "parameter":
        return ("elements",) if count == 1 else ("rows", "columns", *("entries",) * (count - 2))
    return ("rows", *("positions",) * (count - 2), "columns (samples)")[:count] if count > 1 else ("samples",)[:count]
