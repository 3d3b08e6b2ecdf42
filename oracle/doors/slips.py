"""A mistake at one operation of a reference: where the way back of one alone, gone wrong, gives just a candidate's gradients.

A reference such as relu(x @ W1 + b1) @ W2 + b2 is a sequence of operations, and a backward pass by hand goes through them from
behind. So the reference runs again and again, in float64, with every operation right but one: that one goes back in one of the
ways of `SLIPS`. Nothing has to be known of the reference; its operations are seen as it runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from manualbp import Network
from manualbp.layer import Elementwise
from oracle.alone import UPSTREAM
from oracle.case import Case
from oracle.diagnosis import Part
from oracle.diagnosis.evidence import furthest, share_of, unit_of
from oracle.doors.following import Following, Label, Operation
from oracle.doors.question import Array, Question, array_of
from oracle.doors.recognise import tried
from oracle.manual_run import manual_run
from oracle.mistakes import StepMistake, catalogue
from oracle.mistakes.step import step_of
from oracle.rounding.callables import Of, Upstream, run
from oracle.verdict import TOLERANCE

#: So many runs of the reference; and so many slips are told of those that fit within so many times the best.
MOST, TOLD, LIKE_THE_BEST = 2000, 3, 4.0


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
        "what flows back from {operation} to {operand} is made with the gradient from further behind, that of {later}",
        "The gradient has to come all the way back to this operation first, through the derivatives in between.",
        _from_later,
    ),
)


_SCALED = Slip("", "", lambda operation, at, upstream: operation.back(upstream)[at] * 1.7)


def _factors(operation: Operation, at: int) -> Iterator[Slip]:
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


def _of_catalogue(operation: Operation) -> Iterator[Slip]:
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


class _UnsuitedError(Exception):
    """A slip that makes no sense at an operation."""


#: A slip at an operation, to an operand.
Tried = tuple[Operation, int, Slip]


def _spoilt(at: int, slip: Slip, operation: Operation, upstream: Tensor) -> list[Tensor]:
    """What the operands get: all what is right, but one."""
    wrong = slip.back(operation, at, upstream)
    if wrong is None:
        raise _UnsuitedError
    found = operation.back(upstream)
    found[at] = wrong
    return found


def _gradients(question: Question, upstream: int, slips: Sequence[Tried]) -> tuple[dict[Of, Array], list[Operation]]:
    """All gradients for one upstream gradient, in float64, with these slips; and the operations."""
    spoilt = {operation.number: partial(_spoilt, at, slip) for operation, at, slip in slips}
    mode = Following({**question.inputs, **question.params}, spoilt)
    return _run(question, upstream, question.upstreams[upstream], mode), mode.operations


def _run(question: Question, upstream: int, given: Upstream, mode: Any = None) -> dict[Of, Array]:
    """All gradients in float64 for these upstream gradients of the outputs, under the number of the one they stand for."""
    found = run(question.reference, question.inputs, question.params, [given], mode=mode, wide=True, seed=question.seed)
    return {of._replace(upstream=upstream): array_of(value) for of, value in found.items() if of.kind == "gradient"}


def slipped(question: Question, values: Mapping[Of, Any], upstream: int) -> list[tuple[float, Part]]:
    """The slips that give all of a candidate's gradients for one upstream gradient, best first, each with its sigmas.

    One slip, or else two through which nothing flows back. Empty where none does, or the reference cannot be followed.
    """
    try:
        right, operations = _gradients(question, upstream, ())
    except (TypeError, ValueError, RuntimeError, IndexError):  # as where it has numbers of its own in another dtype
        return []
    wanted = {of: array for of, array in question.wanted.items() if of in right}
    shares = {of: share_of(question.scales.sigma[of], array, question.dtype) for of, array in wanted.items()}
    left = MOST

    def given_by(slips: Sequence[Tried]) -> dict[Of, Array]:
        """The gradients with these slips; none where one of them makes no sense."""
        try:
            return _gradients(question, upstream, slips)[0]
        except (_UnsuitedError, TypeError, ValueError, RuntimeError, IndexError):
            return {}

    def far(slips: Sequence[Tried]) -> float:
        """How far the candidate is from what these slips give."""
        nonlocal left
        left -= 1
        return far_from(given_by(slips) if left >= 0 else {})

    def far_from(found: Mapping[Of, Array]) -> float:
        most = 0.0
        for of, array in wanted.items():
            if of not in found or most > TOLERANCE:
                return np.inf
            unit = unit_of(found[of], question.scales.sigma[of], array, shares[of])
            most = max(most, furthest(values.get(of), found[of], unit))
        return most

    def reached(operation: Operation, at: int) -> set[Of]:
        """The gradients that depend on what flows back to this operand."""
        found = given_by([(operation, at, _SCALED)])
        return {of for of, array in found.items() if not np.array_equal(array, right[of], equal_nan=True)}

    def fitting(these: Sequence[Sequence[Tried]]) -> list[tuple[float, Sequence[Tried]]]:
        return [(sigmas, slips) for slips in these if (sigmas := far(slips)) <= TOLERANCE]

    with np.errstate(all="ignore"):
        sigma = question.scales.sigma
        alone = _output_left_out(question, far_from, upstream)
        if alone:
            return alone
        wrong = {of for of, array in wanted.items() if furthest(values.get(of), array, sigma[of]) > TOLERANCE}
        places = [(op, at, reached(op, at)) for op in operations for at in range(len(op.operands))]
        fits = fitting(
            [((op, at, slip),) for op, at, of in places if wrong <= of for slip in (*SLIPS, *_factors(op, at))],
        )
        if not fits:
            fits = fitting([((op, at, slip),) for op, at, of in places if wrong <= of for slip in _of_catalogue(op)])
        if not fits:
            pairs = combinations([place for place in places if wrong & place[2]], 2)
            fits = fitting([((*a[:2], NOTHING), (*b[:2], NOTHING)) for a, b in pairs if wrong <= a[2] | b[2]])
    best = min((sigmas for sigmas, _ in fits), default=0.0)
    like = [fit for fit in fits if fit[0] <= LIKE_THE_BEST * max(best, 1.0)]
    ranks = {id(slip): rank for rank, slip in enumerate(SLIPS)}
    like.sort(key=lambda fit: (ranks.get(id(fit[1][0][2]), len(SLIPS)), fit[1][0][0].number))  # the whole before its parts
    return [(sigmas, _part(slips)) for sigmas, slips in like[:TOLD]]


def _output_left_out(
    question: Question, far_from: Callable[[Mapping[Of, Array]], float], upstream: int
) -> list[tuple[float, Part]]:
    """Where there are several outputs: those whose upstream gradient, left out, gives the candidate's gradients."""
    given, found = question.upstreams[upstream], []
    for at in range(len(given)) if len(given) > 1 else ():
        less = tuple(
            None if each is None else torch.zeros_like(each) if number == at else each for number, each in enumerate(given)
        )
        if (far := far_from(_run(question, upstream, less))) <= TOLERANCE:
            name = f"the upstream gradient of output {at + 1} is left out"
            found.append(
                (far, Part(name, 0, "Every output has one, and what depends on several outputs gets a share of each.", "", ""))
            )
    return found


def _part(slips: Sequence[Tried]) -> Part:
    return Part(" and ".join(_told(*each) for each in slips), 0, slips[0][2].why, "", "")


def _told(operation: Operation, at: int, slip: Slip) -> str:
    other, nameless = operation.other(at), Label("...")
    own = operation.upstreams.get(operation.number)
    later = operation.later(own[1]) if own else None
    return slip.name.format(
        operation=operation.label.text,
        operand=operation.operands[at].label.text,
        other=other.label.text if other else nameless.text,
        front=other.front.label.text if other and other.front else nameless.text,
        later=later[0].text if later else nameless.text,
    )
