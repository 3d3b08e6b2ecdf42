"""Which record of manualbp computes what a reference computes: then the catalogue can name a mistake in a foreign gradient.

A record is recognised by its numbers alone, in either layout: features first or last.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp import Activation, Layer, Linear, Loss, Network, Trace, catalogue
from manualbp.layer import Record
from manualbp.targets import NoTarget
from oracle.alone import UPSTREAM
from oracle.case import Case
from oracle.diagnosis import Diagnosis, diagnose
from oracle.diagnosis.evidence import Slot, furthest
from oracle.doors.errors import DoorError
from oracle.doors.question import Array, Question, array_of
from oracle.rounding import scales
from oracle.rounding.callables import Of
from oracle.torch_run import torch_run
from oracle.verdict import TOLERANCE

#: Numbers up to this size are looked at as they are.
MODERATE = 4.0
#: From an array of theirs to one of manualbp's, of the same elements.
Arrange = Callable[[Array], Array]


def _same(array: Array) -> Array:
    return array


def _turned(array: Array) -> Array:
    return array.T


def _last(array: Array) -> Array:
    """The features are the last axis: (.., n) as (n, m)."""
    return array.reshape(-1, array.shape[-1] if array.ndim else 1).T


def _second(array: Array) -> Array:
    """The features are torch's second axis: (m, n, ..) as (n, .., m)."""
    return np.moveaxis(array, 0, -1)


#: How many axes a layout needs at least, and how it is arranged.
LAYOUTS: tuple[tuple[int, Arrange], ...] = ((0, _last), (2, _same), (3, _second))


@dataclass(frozen=True)
class Recognised:
    """A case of the record alone, and where each array of a foreign gradient belongs in it."""

    case: Case
    slots: Mapping[str, tuple[Slot, Arrange]]
    output: Arrange

    @property
    def name(self) -> str:
        """The records, as a reader would write them."""
        network = self.case.network
        return " and ".join(map(str, network.layers or (network.loss,)))

    def diagnosed(self, values: Mapping[Of, Any], upstream: int) -> Diagnosis | None:
        """The diagnosis of the gradients for one upstream gradient; None where their shapes do not fit."""
        layers = len(self.case.network.layers)
        gradients: list[Any] = [None] * (layers + 1)
        parameters: list[dict[str, Any]] = [dict.fromkeys(own) for own in self.case.params]
        try:
            for name, (slot, arrange) in self.slots.items():
                found = values.get(Of("gradient", name, upstream))
                array = None if found is None else arrange(found)
                if slot.what == "parameter":
                    parameters[slot.at][slot.name] = array
                else:
                    gradients[slot.at] = array
            output = self.output(np.asarray(values[Of("output", "0")]))
        except (ValueError, IndexError, KeyError):
            return None
        nodes = (None,) * layers + ((output,) if layers else (None,))
        trace = Trace(self.case.network, None if layers else output, nodes, tuple(gradients), tuple(parameters))
        reference = torch_run(self.case)
        with np.errstate(all="ignore"):  # what a mistake would have given need not be finite
            found_out = diagnose(self.case, reference, trace, scale=scales(self.case, reference))
        # behind a layer there is no loss here, only the upstream gradient
        off = max((distance for _, distance in found_out.distances), default=np.inf)
        own = (
            match
            for match in found_out.matches
            if all(part.position < max(layers, 1) for part in match.parts) and 2 * match.sigmas < off
        )
        return replace(found_out, matches=tuple(own)) if found_out.wrong else None


@dataclass(frozen=True)
class _Seen:
    """The numbers of a question: inputs and parameters by name, and one output with its scale."""

    question: Question
    arrays: dict[str, Array]
    differentiated: tuple[str, ...]
    output: Array
    sigma: Array
    upstream: Array

    def gives(self, found: Any, arrange: Arrange) -> bool:
        """Whether these numbers are the output."""
        wanted = arrange(self.output)
        return np.shape(found) == wanted.shape and furthest(found, wanted, arrange(self.sigma)) <= TOLERANCE


def recognise(question: Question, upstream: int = 0) -> Recognised | None:
    """The record, or the Linear with an activation behind it, that gives the reference's output on these inputs.

    Far out many functions are alike: it has to give the output at moderate numbers as well.
    """
    found = _recognised(question, upstream)
    tamed = {name: _tamed(value) for name, value in question.inputs.items()}
    if all(torch.equal(value, question.inputs[name]) for name, value in tamed.items()):
        return next(found, None)
    moderate = replace(question, inputs=tamed)
    try:
        known = [(each.case.network, each.output) for each in _recognised(moderate, upstream)]
    except (RuntimeError, ValueError, IndexError, DoorError):  # they are not for the reference
        return next(found, None)
    return next((each for each in found if (each.case.network, each.output) in known), None)


def _tamed(value: Tensor) -> Tensor:
    """The numbers of the same signs, those that are large drawn in; in place of NaN, which is like NaN, a number."""
    plain = value.detach()
    if not plain.is_floating_point():
        return value
    drawn_in = plain.nan_to_num(0.5)  # infinity becomes the largest number
    drawn_in = drawn_in.sign() * drawn_in.abs().log1p().log1p()
    return torch.where(plain.abs() <= MODERATE, plain, drawn_in).requires_grad_(value.requires_grad)


def _recognised(question: Question, upstream: int) -> Iterator[Recognised]:
    """Every record that gives the output, the simplest first."""
    of = Of("output", "0")
    given = question.upstreams[upstream][0]
    if sum(each.kind == "output" for each in question.answers) != 1 or given is None or not question.wanted[of].any():
        return  # many functions are 0 somewhere
    held = {**question.inputs, **question.params}
    seen = _Seen(
        question,
        {name: array_of(value) if value.is_floating_point() else value.numpy() for name, value in held.items()},
        tuple(name for name, value in held.items() if value.requires_grad),
        question.wanted[of],
        question.scales.sigma[of],
        array_of(given),
    )
    with np.errstate(all="ignore"):
        for kind in (_activations, _linear, _losses):
            yield from kind(seen)


def kinks_of(question: Question) -> tuple[float, ...]:
    """Where the derivative of what the reference computes jumps, if it is an activation that is recognised."""
    found = recognise(question)
    last = found.case.network.layers[-1:] if found else ()
    return tuple(kink.at for layer in last if isinstance(layer, Activation) for kink in layer.kinks)


def tried(kind: type[Any], rows: int) -> Iterator[Any]:
    """Every record of a kind for so many rows, those with the fewest options first."""
    records = [record for cls in catalogue(kind).values() for record in cls.examples(rows)]
    return iter(sorted(records, key=lambda record: len(str(record))))


def _forward(record: Record, *arrays: Any) -> Any:
    """What a record without parameters makes of arrays; None where they are not for it."""
    try:
        return record.forward({}, *arrays)[0]  # type: ignore[attr-defined]
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError):
        return None


def _activations(seen: _Seen) -> Iterator[Recognised]:
    if len(seen.arrays) != 1 or not seen.differentiated:
        return
    ((name, x),) = seen.arrays.items()
    for least, arrange in LAYOUTS:
        if min(x.ndim, seen.output.ndim) >= least:
            yield from _behind(seen, (), (), arrange(x), arrange, {name: (Slot("gradients", 0), arrange)})


def _behind(
    seen: _Seen,
    layers: tuple[Layer, ...],
    params: tuple[dict[str, Array], ...],
    x: Array,
    arrange: Arrange,
    slots: Mapping[str, Any],
) -> Iterator[Recognised]:
    """The activations that give the output behind these layers."""
    z = x
    for layer, own in zip(layers, params, strict=True):
        z = layer.forward(own, z)[0]
    for record in tried(Activation, z.shape[0]):
        if (
            record.parameter_shapes()
            or record.noise(z.shape, z.dtype) is not None
            or not seen.gives(_forward(record, z), arrange)
        ):
            continue
        case = Case(
            seen.question.case,
            Network((*layers, record), UPSTREAM),
            (*params, {}),
            x,
            np.ascontiguousarray(arrange(seen.upstream)),
        )
        yield Recognised(case, slots, arrange)


def _linear(seen: _Seen) -> Iterator[Recognised]:
    """W x + b, in any layout of each; or an activation of it."""
    matrices = [name for name, array in seen.arrays.items() if array.ndim == 2 and min(array.shape) > 0]
    for x, weight in ((a, b) for a in matrices for b in matrices if a != b):
        others = [name for name in seen.arrays if name not in (x, weight)]
        if len(others) > 1 or seen.output.ndim != 2:
            continue
        for turn_x, turn_w, turn_out in product((_same, _turned), repeat=3):
            yield from _linear_as(seen, (x, weight, *others), turn_x, turn_w, turn_out)


def _linear_as(seen: _Seen, names: tuple[str, ...], turn_x: Arrange, turn_w: Arrange, turn_out: Arrange) -> Iterator[Recognised]:
    x, W = turn_x(seen.arrays[names[0]]), turn_w(seen.arrays[names[1]])
    out = turn_out(seen.output)
    if W.shape[1] != x.shape[0] or out.shape != (W.shape[0], x.shape[1]):
        return
    own = {"weight": np.ascontiguousarray(W)}
    slots = {names[0]: (Slot("gradients", 0), turn_x), names[1]: (Slot("parameter", 0, "weight"), turn_w)}
    if len(names) > 2:
        bias = seen.arrays[names[2]]
        if bias.size != W.shape[0]:
            return
        own["bias"] = bias.reshape(-1)
        slots[names[2]] = (Slot("parameter", 0, "bias"), np.ravel if bias.ndim > 1 else _same)
    layer = Linear(W.shape[1], W.shape[0], bias=len(names) > 2)
    x = np.ascontiguousarray(x)
    if not seen.gives(layer.forward(own, x)[0], turn_out):
        yield from _behind(seen, (layer,), (own,), x, turn_out, slots)
        return
    case = Case(seen.question.case, Network((layer,), UPSTREAM), (own,), x, np.ascontiguousarray(turn_out(seen.upstream)))
    yield Recognised(case, slots, turn_out)


def _losses(seen: _Seen) -> Iterator[Recognised]:
    names = list(seen.arrays)
    for least, arrange in LAYOUTS:
        first = seen.arrays[names[0]]
        if first.ndim < max(least, 1):
            continue
        for loss in tried(Loss, arrange(first).shape[0]):
            found = None if loss.parameter_shapes() else _loss_as(seen, loss, names, arrange)
            if found:
                yield found


def _loss_as(seen: _Seen, loss: Loss, names: list[str], arrange: Arrange) -> Recognised | None:
    """A loss whose inputs come first and whose target comes last."""
    blocks, bare = len(loss.inputs), isinstance(loss.target_domain, NoTarget)
    if len(names) != blocks + (not bare) or not set(names[:blocks]) <= set(seen.differentiated):
        return None
    given = [seen.arrays[name] for name in names]
    inputs = [arrange(array) for array in given[:blocks]]
    if len({array.shape for array in inputs}) > 1:
        return None
    x = np.ascontiguousarray(np.concatenate(inputs))
    target = np.empty(0, x.dtype) if bare else _target(given[-1], given[0], arrange)
    scalar = seen.output.ndim == 0
    turn = _same if scalar or seen.output.ndim != given[0].ndim else arrange
    network = Network((), loss)
    try:
        network.check((), x, target)
    except (ValueError, TypeError):
        return None
    if not seen.gives(_forward(loss, x, target), turn):
        return None
    upstream = float(seen.upstream) if scalar else turn(seen.upstream)
    rows = inputs[0].shape[0]
    slots = {name: (Slot("gradients", 0), arrange) for name in names[:1]} if blocks == 1 else {}
    if not slots or rows == 0:
        return None
    return Recognised(Case(seen.question.case, network, (), x, target, upstream), slots, turn)


def _target(target: Array, like: Array, arrange: Arrange) -> Array:
    """A target beside an input: of its shape, or one number for each sample."""
    if target.ndim == like.ndim:
        return np.ascontiguousarray(arrange(target))
    return target.reshape(-1) if arrange is _last else np.moveaxis(target, 0, -1) if arrange is _second else target
