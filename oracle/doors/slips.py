"""A mistake at one operation of a reference: where the way back of one alone, gone wrong, gives just a candidate's gradients.

A reference such as relu(x @ W1 + b1) @ W2 + b2 is a sequence of operations, and a backward pass by hand goes through them from
behind. So the reference runs again and again, in float64, with every operation right but one: that one goes back in one of the
ways of `oracle.doors.ways`. Nothing has to be known of the reference; its operations are seen as it runs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oracle.diagnosis import Part
from oracle.diagnosis.evidence import furthest, share_of, unit_of
from oracle.doors.following import Following, Label, Made, Operation
from oracle.doors.question import Array, Question, array_of
from oracle.doors.ways import NOTHING, SCALED, SLIPS, Slip, factors, instead, of_catalogue
from oracle.rounding.callables import Of, Upstream, run
from oracle.verdict import TOLERANCE

#: So many runs of the reference; and so many slips are told of those that fit within so many times the best.
MOST, TOLD, LIKE_THE_BEST = 2000, 3, 4.0


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
        found = given_by([(operation, at, SCALED)])
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
            [((op, at, slip),) for op, at, of in places if wrong <= of for slip in (*SLIPS, *factors(op, at))],
        )
        if not fits:
            fits = fitting([((op, at, slip),) for op, at, of in places if wrong <= of for slip in of_catalogue(op)])
        if not fits:
            held = [Made(value.detach().double(), Label(name)) for name, value in {**question.inputs, **question.params}.items()]
            known = [*held, *(Made(op.result, op.label) for op in operations)]
            fits = fitting([((op, at, slip),) for op, at, of in places if wrong <= of for slip in instead(op, at, known)])
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
