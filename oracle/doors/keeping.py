"""What a candidate keeps from one call to the next, and what a module should keep; and parts of a gradient alone."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from oracle.discrepancy import Row
from oracle.doors.candidates import Candidate, Given, TorchCandidate, give, put_back
from oracle.doors.contract import duty, of_rows, own_scale
from oracle.doors.duties import FEWER, duties, times, worst
from oracle.doors.errors import DoorError
from oracle.doors.examine import compared
from oracle.doors.guard import guarded
from oracle.doors.question import Named, Question, array_of
from oracle.rounding.callables import Of, buffers_after, random_from
from oracle.verdict import Verdict

#: Of so many gradients each is asked for alone.
ALONE = 6


def obligations(candidate: Candidate, question: Question, given: Given, *, part: bool = False) -> Iterator[Row]:
    """Every row of the contract; those that need other calls are left out where the first one failed.

    Of a part of a large question other numbers are not compared, which would cost as much again.
    """
    yield from duties(candidate, question, given)
    if given.failure:
        return
    if not question.keep:
        yield from _other_numbers(candidate, question, given, part=part)
    if isinstance(candidate, TorchCandidate):
        yield from _accumulation(candidate, question, given)
        yield from _alone(candidate, question, given)
        yield from _buffers(candidate, question)


def _other_numbers(candidate: Candidate, question: Question, given: Given, *, part: bool) -> Iterator[Row]:
    """A way back after another call in between; and whether other numbers of the same shapes get a gradient of their own.

    Of a candidate that is right, so far.
    """
    if any(Verdict(row.verdict).fails for row in compared(question, given)):
        return
    others = {name: _turned(value) for name, value in question.inputs.items()}
    if all(torch.equal(value, question.inputs[name]) for name, value in others.items()):
        return
    there = replace(question, inputs=others, upstreams=question.upstreams[:1], replicas=FEWER)
    both = {**question.inputs, **{f"other {name}": value for name, value in others.items()}}
    with put_back(both, there.upstreams), random_from(question.seed):
        outcome = guarded(
            candidate.between, question.inputs, others, question.params, question.upstreams[0], timeout=candidate.timeout
        )
    first = {of: value for of, value in given.values.items() if of.kind == "gradient" and of.upstream == 0}
    if outcome.value is not None:
        text = "after a call with other numbers the way back of the first gives something else: is something kept outside of it?"
        yield worst(question, "another call in between", Given(outcome.value, outcome), first, text)
    if part:
        return
    try:
        rows = compared(there, give(candidate, others, question.params, there.upstreams, question.seed))
    except (DoorError, RuntimeError, ValueError, IndexError):  # they are not for the reference
        return
    text = "the same numbers in reverse order do not get the gradient that is theirs: is something kept from the first call?"
    yield of_rows(rows, "other numbers", text, module=question.module)


def _turned(value: torch.Tensor) -> torch.Tensor:
    """The numbers in reverse order along every axis."""
    return value.detach().flip(tuple(range(value.ndim))).requires_grad_(value.requires_grad)


def _accumulation(candidate: TorchCandidate, question: Question, given: Given) -> Iterator[Row]:
    """Two ways back into one .grad: it holds the sum of both."""
    upstream = question.upstreams[0]
    found: dict[Of, Any] = {}
    wanted = {of: times(value, 2) for of, value in given.values.items() if of.kind == "gradient" and of.upstream == 0}

    def twice() -> None:
        with random_from(question.seed):
            found.update(candidate.twice(question.inputs, question.params, upstream))

    with put_back(question.inputs, [upstream]):
        outcome = guarded(twice, timeout=candidate.timeout)
    text = ".grad does not hold the sum of two ways back: does backward write into .grad, or return a buffer that it keeps?"
    yield worst(question, "gradients add up", Given(found, outcome), wanted, text, scale=2.0)


def _alone(candidate: TorchCandidate, question: Question, given: Given) -> Iterator[Row]:
    """Where several gradients are asked for: each of them alone."""
    held = {**question.inputs, **question.params}
    names = [name for name, value in held.items() if value.requires_grad]
    found: dict[Of, Any] = {}
    failures = []
    for name in names[:ALONE] if len(names) > 1 else ():
        of = Of("gradient", name)
        if given.values.get(of) is None:
            continue
        alone = give(candidate, _only(question.inputs, name), _only(question.params, name), question.upstreams[:1], question.seed)
        found[of] = alone.values.get(of)
        failures += [alone.failure] * bool(alone.failure)
    wanted = {of: given.values[of] for of in found}
    if wanted:
        text = "asked for alone it is something else: does backward look at needs_input_grad of another input?"
        outcome = given.outcome._replace(error=next(iter(failures), ""), printed="")
        yield worst(question, "one gradient at a time", Given(found, outcome), wanted, text)


def _only(held: Named, name: str) -> dict[str, torch.Tensor]:
    """The same, of which only one requires a gradient."""
    return {each: value.detach().requires_grad_(each == name) for each, value in held.items()}


def _buffers(candidate: TorchCandidate, question: Question) -> Iterator[Row]:
    """Buffers of the reference's that a call changes, as running statistics: the candidate's of the same name afterwards."""
    module, reference = candidate.function, question.reference
    if not (isinstance(module, torch.nn.Module) and isinstance(reference, torch.nn.Module)):
        return
    ours, wide = (
        buffers_after(reference, question.inputs, question.params, wide=wide, seed=question.seed) for wide in (False, True)
    )
    before, names = dict(reference.named_buffers()), dict(module.named_buffers())
    known = {name: theirs for name in ours if (theirs := candidate.mapping.get(name, name)) in names}
    found: dict[str, torch.Tensor] = {}

    def call() -> None:
        own = {candidate.mapping.get(name, name): value for name, value in question.params.items()}
        found.update(buffers_after(module, question.inputs, own, seed=question.seed))

    rows = []
    outcome = guarded(call, timeout=candidate.timeout)
    for name, theirs in known.items():
        if outcome.error or torch.equal(ours[name], before[name]):
            continue
        wanted, given = array_of(ours[name]), array_of(found[theirs])
        sigma = own_scale(wanted, np.abs(array_of(wide[name]) - wanted))
        text = f"the buffer {theirs} is something else after a call than the reference's: is it updated, and in the same way?"
        rows.append(duty(question.case, "buffers after a call", given, wanted, text, scale=sigma, module=question.module))
    if rows:
        yield max(rows, key=lambda row: (Verdict(row.verdict).fails, row.margin))
