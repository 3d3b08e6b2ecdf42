"""The ways in which an operation is gone back through wrongly: each makes what flows back of what is right there."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from manualbp import Network
from manualbp.layer import Elementwise
from oracle.alone import UPSTREAM
from oracle.case import Case
from oracle.doors.following import Made, Operation
from oracle.doors.question import array_of
from oracle.doors.recognise import tried
from oracle.manual_run import manual_run
from oracle.mistakes import StepMistake, catalogue
from oracle.mistakes.step import step_of


class Slip(NamedTuple):
    """A way to go back wrongly to one operand.

    The name is about {operation}, {operand}, the {other} one of two, and what that was in {front} of its last operation. `back`
    makes what flows back of the operation, the operand's place and the upstream gradient; None where it makes no sense.
    """

    name: str
    why: str
    back: Callable[[Operation, int, Tensor], Tensor | None]


def _passed_on(operation: Operation, at: int, upstream: Tensor) -> Tensor | None:
    return upstream if upstream.shape == operation.operands[at].tensor.shape else None


def _nothing(operation: Operation, at: int, _: Tensor) -> Tensor:
    return torch.zeros_like(operation.operands[at].tensor)


def _negated(operation: Operation, at: int, upstream: Tensor) -> Tensor:
    return -operation.back(upstream)[at]


def _unused(operation: Operation, at: int, upstream: Tensor) -> Tensor:
    return operation.back(torch.ones_like(upstream))[at]


def _twice(operation: Operation, _: int, upstream: Tensor) -> Tensor | None:
    return operation.back(operation.back(upstream)[0])[0] if operation.unary else None


def _by_input(operation: Operation, _: int, upstream: Tensor) -> Tensor | None:
    return upstream * operation.operands[0].tensor.detach() if operation.unary else None


def _by_output(operation: Operation, _: int, upstream: Tensor) -> Tensor | None:
    return upstream * operation.result if operation.unary else None


def _at_output(operation: Operation, _: int, upstream: Tensor) -> Tensor | None:
    return operation.back(upstream, {0: operation.result})[0] if operation.unary else None


def _as_tanh(operation: Operation, _: int, upstream: Tensor) -> Tensor | None:
    return upstream * (1 - operation.result**2) if operation.unary else None


def _as_sigmoid(operation: Operation, _: int, upstream: Tensor) -> Tensor | None:
    return upstream * operation.result * (1 - operation.result) if operation.unary else None


def _applied(operation: Operation, _: int, upstream: Tensor) -> Tensor | None:
    return operation.function(upstream).detach() if operation.unary else None


def _in_front(operation: Operation, at: int, upstream: Tensor) -> Tensor | None:
    other = operation.other(at)
    return operation.back(upstream, {1 - at: other.front.tensor})[at] if other and other.front else None


def _transposed(operation: Operation, at: int, upstream: Tensor) -> Tensor | None:
    other = operation.other(at)
    square = other is not None and other.tensor.ndim > 1 and other.tensor.shape == other.tensor.mT.shape
    return operation.back(upstream, {1 - at: other.tensor.mT})[at] if other and square else None


def _reversed(operation: Operation, at: int, upstream: Tensor) -> Tensor | None:
    other = operation.other(at)
    return operation.back(upstream, {1 - at: other.tensor.flip(-1)})[at] if other and other.tensor.shape[-1:] > (1,) else None


def _last_share(operation: Operation, at: int, upstream: Tensor) -> Tensor | None:
    """Where every number of the result is one of the operand: each of these gets the last upstream gradient, and no sum."""
    operand = operation.operands[at].tensor.detach()
    if len(operation.operands) > 1:
        return None
    sources = operation.function(torch.arange(operand.numel(), dtype=operand.dtype).view(operand.shape)).flatten().long()
    if sources.numel() == 0 or not 0 <= int(sources.min()) <= int(sources.max()) < operand.numel():
        return None
    if not torch.equal(operand.flatten()[sources].view(operation.result.shape), operation.result):
        return None
    found = torch.zeros_like(operand).flatten()
    for source, share in zip(sources.tolist(), upstream.flatten(), strict=True):
        found[source] = share
    return found.view(operand.shape)


def _from_later(operation: Operation, at: int, upstream: Tensor) -> Tensor | None:
    later = operation.later(upstream)
    return operation.back(later[1])[at] if later else None


NOTHING = Slip(
    "nothing flows back from {operation} to {operand}",
    "The output depends on it there too, and every way back adds its share.",
    _nothing,
)
SLIPS = (
    NOTHING,
    Slip(
        "the derivative of {operation} is left out",
        "What comes from behind is passed on as it is, where it should be multiplied with the derivative.",
        _passed_on,
    ),
    Slip(
        "what flows back from {operation} to {operand} has the wrong sign",
        "The derivative has the other sign there.",
        _negated,
    ),
    Slip(
        "the upstream gradient of {operation} is taken as 1",
        "What comes from behind has to be multiplied in.",
        _unused,
    ),
    Slip(
        "the derivative of {operation} is multiplied in twice",
        "The chain rule takes each derivative once.",
        _twice,
    ),
    Slip(
        "the input of {operation} stands in place of its derivative",
        "What comes from behind is multiplied with the number that went in, where it should be with the derivative there.",
        _by_input,
    ),
    Slip(
        "the output of {operation} stands in place of its derivative",
        "What comes from behind is multiplied with the number that came out, where it should be with the derivative.",
        _by_output,
    ),
    Slip(
        "the derivative of {operation} is taken at its output",
        "The derivative is that at the number that went in, unless its formula is written for the output.",
        _at_output,
    ),
    Slip(
        "1 - a^2 of the output a stands in place of the derivative of {operation}",
        "That is the derivative of tanh.",
        _as_tanh,
    ),
    Slip(
        "a (1 - a) of the output a stands in place of the derivative of {operation}",
        "That is the derivative of the sigmoid.",
        _as_sigmoid,
    ),
    Slip(
        "{operation} itself is applied to what comes from behind",
        "The way back multiplies with the derivative at the number that went in, whatever the gradient is.",
        _applied,
    ),
    Slip(
        "what flows back from {operation} to {operand} is made with {front} in place of {other}",
        "The derivative needs the number that went into this operation, not the one in front of the last step before it.",
        _in_front,
    ),
    Slip(
        "what flows back from {operation} to {operand} is made with {other} transposed, or not transposed where it should be",
        "Only the shapes tell the two apart, and those of a square matrix do not.",
        _transposed,
    ),
    Slip(
        "what flows back from {operation} to {operand} is made with {other} in reverse order",
        "A convolution goes back as a correlation does, and a correlation as a convolution: one of the two turns its kernel.",
        _reversed,
    ),
    Slip(
        "of what flows back from {operation} to {operand} each number gets only the last share, where shares are to be added",
        "What is used several times gets the sum of what flows back from each use: np.add.at, not an assignment by index.",
        _last_share,
    ),
    Slip(
        "what flows back from {operation} to {operand} is made with the gradient from further behind, that of {later}",
        "The gradient has to come all the way back to this operation first, through the derivatives in between.",
        _from_later,
    ),
)


#: For whoever asks what depends on it.
SCALED = Slip("", "", lambda operation, at, upstream: operation.back(upstream)[at] * 1.7)


def factors(operation: Operation, at: int) -> Iterator[Slip]:
    """Constants that are left out or put in: 2, and the sizes of what goes in and comes out."""
    sizes = {2: ""}
    for what, shape in (("operand", operation.operands[at].tensor.shape), ("result", operation.result.shape)):
        for axis, size in enumerate(shape):
            sizes.setdefault(size, f": the size of axis {axis} of the {what}")
        sizes.setdefault(shape.numel(), f": the number of elements of the {what}")
    for size, what in sizes.items():
        for factor, told in ((float(size), "large"), (1 / max(size, 1), "small")):
            if factor != 1:
                yield Slip(
                    f"what flows back from {{operation}} to {{operand}} is {size} times too {told}{what}",
                    "A sum for a mean, a mean for a sum, or a constant of the derivative that is forgotten or counted twice.",
                    lambda operation, at, upstream, factor=factor: operation.back(upstream)[at] * factor,  # type: ignore[misc]
                )


def instead(operation: Operation, at: int, known: Sequence[Made]) -> Iterator[Slip]:
    """Another number of the same shape in place of the one that the derivative needs."""
    place = 0 if operation.unary else 1 - at
    if not (operation.unary or operation.other(at)):
        return
    meant = operation.operands[place].tensor
    for other in known:
        if other.tensor.shape == meant.shape and not torch.equal(other.tensor, meant):
            told = other.label.text.replace("{", "{{").replace("}", "}}")
            yield Slip(
                f"the derivative of {{operation}} is taken at {told}"
                if operation.unary
                else f"what flows back from {{operation}} to {{operand}} is made with {told} in place of {{other}}",
                "The derivative needs the number that went into this operation, and no other of the same shape.",
                lambda operation, at, upstream, other=other: operation.back(upstream, {place: other.tensor})[at],  # type: ignore[misc]
            )


def of_catalogue(operation: Operation) -> Iterator[Slip]:
    """The catalogue's mistakes in it, where it is one of manualbp's activations, such as the output's formula for the input."""
    if not operation.unary:
        return
    x, wanted = (array_of(each).reshape(-1, 1) for each in (operation.operands[0].tensor, operation.result))
    known = (record for record in tried(Elementwise, 1) if not record.parameter_shapes())
    record = next((record for record in known if np.allclose(record.forward({}, x)[0], wanted, 1e-9, 0.0)), None)
    if record is None:
        return
    network = Network((record,), UPSTREAM)

    def back(mistake: StepMistake, upstream: Tensor) -> Tensor:
        case = Case("", network, ({},), x, array_of(upstream).reshape(-1, 1))
        found, _ = mistake.wrong(step_of(case, 0, manual_run(case)))
        return torch.from_numpy(np.asarray(found, np.float64).reshape(tuple(upstream.shape)))

    for mistake in catalogue():
        if isinstance(mistake, StepMistake) and mistake.applies(network, 0):
            yield Slip(
                f"{{operation}} goes back with '{mistake.name}'",
                f"{mistake.explanation} Computed: {mistake.effect}.",
                lambda _operation, _at, upstream, mistake=mistake: back(mistake, upstream),  # type: ignore[misc]
            )
