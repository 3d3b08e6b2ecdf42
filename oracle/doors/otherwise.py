"""Whether a candidate is right for a neighbouring network: with another activation, option or loss than was said."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from manualbp import Activation, Layer, Loss, Network, Trace, catalogue
from oracle.case import Case
from oracle.diagnosis import Diagnosis, Location, Match, Part
from oracle.diagnosis.evidence import Evidence
from oracle.manual_run import manual_run
from oracle.roundoff import Scales

WHY = "All that is given is right for this other network: one of the two is not the one that is meant."
#: So many that fit equally are told.
TOLD = 3


class _Neighbour(NamedTuple):
    network: Network
    position: int
    has: Any
    said: Any


def diagnosed(case: Case, reference: Trace, candidate: Trace, scale: Scales) -> Diagnosis | None:
    """The diagnosis of a candidate that is right for a neighbour; None for another."""
    evidence = Evidence(case, reference, candidate, None, scale)
    found: list[tuple[float, _Neighbour]] = []
    for neighbour in _neighbours(case):
        trace = manual_run(replace(case, network=neighbour.network))
        far = max((evidence.reproduced(slot, slot.of(candidate), slot.of(trace)) for slot in evidence.distances), default=np.inf)
        if far <= evidence.allowed and not trace.failure:
            found.append((far, neighbour))
    if not found:
        return None
    best = sorted(found, key=lambda pair: pair[0])[:TOLD]
    symbols = evidence.symbols(evidence.wrong(evidence.distances))
    position = best[0][1].position
    location = Location((position,), symbols, inferred=True, reason="Inferred: the numbers are those of another network.")
    return Diagnosis(case, location, tuple(Match((_part(neighbour),), far) for far, neighbour in best))


def _part(neighbour: _Neighbour) -> Part:
    name = f"{neighbour.has} in place of {neighbour.said}"
    return Part(name, neighbour.position, WHY, f"{neighbour.has} for {neighbour.said}", neighbour.said.formula)


def _neighbours(case: Case) -> Iterator[_Neighbour]:
    """One kind of activation in place of another wherever it stands, or another loss."""
    network, shape = case.network, case.x.shape
    for said in dict.fromkeys(layer for layer in network.layers if isinstance(layer, Activation)):
        for has in _examples(Activation, said, _rows_before(network, shape[0], said)):
            layers = tuple(has if layer == said else layer for layer in network.layers)
            yield from _fitting(case, layers, network.loss, network.layers.index(said), has, said)
    for loss in _examples(Loss, network.loss, network.output_shape(shape)[0]):
        yield from _fitting(case, network.layers, loss, len(network.layers), loss, network.loss)


def _rows_before(network: Network, rows: int, layer: Layer) -> int:
    """How many rows the first layer like this one gets."""
    for each in network.layers[: network.layers.index(layer)]:
        rows = each.rows_out(rows)
    return rows


def _examples(kind: type[Any], said: Any, rows: int) -> Iterator[Any]:
    for cls in catalogue(kind).values():
        for record in cls.examples(rows):
            if record != said and record.parameter_shapes() == said.parameter_shapes():
                yield record


def _fitting(case: Case, layers: tuple[Layer, ...], loss: Loss, position: int, has: Any, said: Any) -> Iterator[_Neighbour]:
    try:
        network = Network(layers, loss)
        network.check(case.params, case.x, case.target)
    except (TypeError, ValueError):
        return
    if loss.reduction != "none":
        yield _Neighbour(network, position, has, said)
