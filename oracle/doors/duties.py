"""What a function owes besides its numbers: it leaves alone what it is given, keeps nothing, is linear on its way back, takes
arrays however they lie in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oracle.discrepancy import Row
from oracle.doors.candidates import Candidate, Given, Pair, give
from oracle.doors.contract import duty, own_scale, printed
from oracle.doors.errors import DoorError
from oracle.doors.examine import compared
from oracle.doors.guard import SETTINGS
from oracle.doors.question import Array, Named, Question, array_of, ask
from oracle.rounding.callables import Of, Upstream
from oracle.twins import parameter
from oracle.verdict import Verdict

#: Orders of an array in memory, by what they are called.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "non-contiguous": lambda x: torch.stack([x, torch.full_like(x, 3)], -1)[..., 0],
    "transposed": lambda x: x.mT.contiguous().mT if x.ndim > 1 else x,
}
#: Of arrays beyond this length that are the same bit by bit no differences are computed.
LONG = 4096
#: By so much the upstream gradient is multiplied, which is exact; who clips it shows.
FACTOR = 1024.0
#: Copies with noise where a candidate is compared with itself.
FEWER = 8
ALLOCATE = "index with its strides, or call contiguous() (np.ascontiguousarray) first"


def duties(candidate: Candidate, question: Question, given: Given) -> Iterator[Row]:
    """Every duty as a row; those that need a second call are left out where the first one failed."""
    case, module = question.case, question.module
    yield from unchanged(case, module, given.passed)
    changed = np.array([float(name in given.outcome.changed) for name in SETTINGS])
    yield duty(case, "settings unchanged", changed, np.zeros_like(changed), given.outcome.notes, module=module)
    yield from printed(case, given.outcome, module=module)
    if not given.failure:
        yield from _second_calls(candidate, question, given)


def unchanged(case: str, module: str, passed: Mapping[str, Pair]) -> Iterator[Row]:
    """For each array that was passed: whether it is what it was."""
    for name, (after, before) in passed.items():
        fix, shape = f"{name} is changed in place; work on a copy", "x".join(map(str, before.shape)) or "scalar"
        same = before.size > LONG and np.array_equal(after.view(np.uint8), before.view(np.uint8))
        found, wanted = (array.reshape(-1)[:1] if same else array for array in (after, before))
        yield duty(case, f"{name} unchanged", found, wanted, fix, module=module)._replace(shape=shape)


def _second_calls(candidate: Candidate, question: Question, given: Given) -> Iterator[Row]:
    inputs, params, upstreams = question.inputs, question.params, question.upstreams

    def call(inputs: Named = inputs, params: Named = params, upstreams: Sequence[Upstream] = upstreams) -> Given:
        return give(candidate, inputs, params, upstreams, question.seed)

    again = "a second call with the same numbers gives something else: is something kept from the first, or random?"
    yield worst(question, "called twice", call(), given.values, again)
    factor = 2.0 if question.dtype == np.float16 else FACTOR
    scaled = {of: value if of.kind == "output" else times(value, factor) for of, value in given.values.items()}
    linear = f"{factor:g} times the upstream gradient does not give {factor:g} times the gradient: is it used, once, and whole?"
    there = replace(question, upstreams=tuple(_scaled(upstream, factor) for upstream in upstreams))
    found = call(upstreams=there.upstreams)
    yield from _as_there(question, "scaled upstream gradient", found, scaled, there, linear, scale=factor)
    nothing = Question(
        question.case, question.module, question.reference, inputs, params, (_scaled(upstreams[0], 0.0),), question.seed
    )
    none = "an upstream gradient of 0 does not give exactly 0"
    found = call(upstreams=nothing.upstreams)
    zero = {of: _formed(array, given.values.get(of)) for of, array in nothing.wanted.items() if of.kind == "gradient"}
    yield worst(nothing, "no upstream gradient", found, zero, none, scale=0.0)
    for layout, lay in LAYOUTS.items():
        laid = {name: _laid(value, lay) for name, value in inputs.items()}
        if any(value.stride() != inputs[name].stride() for name, value in laid.items()):
            found, text = call(laid), f"a {layout} input gives something else: {ALLOCATE}"
            yield from _as_there(question, f"{layout} input", found, given.values, replace(question, inputs=laid), text)
    others = [tuple(None if each is None else LAYOUTS["non-contiguous"](each) for each in upstream) for upstream in upstreams]
    text = f"a non-contiguous upstream gradient gives something else: {ALLOCATE}"
    yield worst(question, "non-contiguous upstream gradient", call(upstreams=others), given.values, text)
    if len(upstreams) > 1:  # the last is the same number everywhere, as behind sum()
        spread = tuple(None if each is None else _spread(each, each.ndim) for each in upstreams[-1])
        text = f"an upstream gradient that is expanded (stride 0, as behind sum()) gives something else: {ALLOCATE}"
        found = call(upstreams=[*upstreams[:-1], spread])
        yield worst(question, "expanded upstream gradient", found, given.values, text)
    yield from _expanded(question, call)


def _formed(array: Array, like: Any) -> Array:
    """The array; where one has another form than is right, which is told elsewhere, zeros of that form."""
    same = like is None or (np.shape(like), like.dtype) == (array.shape, array.dtype)
    return array if same else np.zeros_like(like)


def _as_there(
    question: Question, what: str, found: Given, wanted: Mapping[Of, Any], there: Question, text: str, scale: float = 1.0
) -> Iterator[Row]:
    """A row for what is found `there`, for the same numbers as they lie otherwise, say. What fails is right all the same where
    it is for the reference, which may depend on that too, as where it draws random numbers, or numbers tie. No row where the
    reference does not take them so.
    """
    row = worst(question, what, found, wanted, text, scale)
    if Verdict(row.verdict).fails and not question.keep:
        try:
            rows = compared(there, found)
        except (DoorError, RuntimeError, ValueError, IndexError):
            return
        if not any(Verdict(each.verdict).fails for each in rows):
            row = worst(question, what, found, found.values, text)
    yield row


def _expanded(question: Question, call: Callable[..., Given]) -> Iterator[Row]:
    """An input whose rows are one row in memory, against the same numbers written out."""
    for name, value in question.inputs.items():
        if not value.requires_grad or value.ndim < 2 or value.shape[0] < 2:
            continue
        spread = _spread(value, 1).requires_grad_()
        written = {**question.inputs, name: spread.detach().contiguous().requires_grad_()}
        try:
            asked = ask(question.case, question.module, question.reference, written, question.params, 1, question.seed)
            plain = replace(asked, replicas=FEWER)
            _ = plain.scales
        except (DoorError, RuntimeError):  # the reference does not take such numbers, as a solver no singular matrix
            continue
        if not all(bool(answer.isfinite().all()) for answer in plain.answers.values()):
            continue  # as of the determinant of a matrix with equal rows
        wanted = call(written, upstreams=plain.upstreams)
        if not wanted.failure:
            laid = {**written, name: spread}
            found = call(laid, upstreams=plain.upstreams)
            text = f"where {name} is expanded (stride 0) it gives something else: {ALLOCATE}"
            yield from _as_there(plain, f"expanded {name}", found, wanted.values, replace(plain, inputs=laid), text)


def _spread(value: Tensor, axes: int) -> Tensor:
    """What is first along so many axes, for all of them; memory behind it holds other numbers, for who reads on."""
    first = value.detach()[(slice(1),) * axes]
    memory = torch.full_like(value, 3.0).flatten()
    memory[: first.numel()] = first.flatten()
    return memory[: first.numel()].view(first.shape).expand(value.shape)


def worst(question: Question, what: str, found: Given, wanted: Mapping[Of, Any], fix: str, scale: float = 1.0) -> Row:
    """The worst of many comparisons as one row, which says of which array."""
    rows = []
    for of, array in wanted.items():
        if array is None or of not in question.answers:
            continue
        given: Any = found.values.get(of)
        given = np.zeros_like(array) if given is None and not array.any() and not found.failure else given
        if question.keep and np.shape(given) == array.shape:
            given, array = (array_of(question.keep(of, parameter(each))) for each in (given, array))
        known = question.scales.sigma[of] * scale if scale and array.shape == question.wanted[of].shape else 0.0
        sigma = own_scale(array, known) if scale else 0.0
        symbol = question.quantity(of).symbol
        rows.append(
            duty(question.case, what, given, array, f"{symbol}: {found.failure or fix}", scale=sigma, module=question.module)
        )
    return max(rows, key=_badness, default=duty(question.case, what, np.zeros(0), np.zeros(0), "", module=question.module))


def _badness(row: Row) -> tuple[bool, bool, float]:
    fails = Verdict(row.verdict).fails
    return fails, fails and not np.isfinite(row.margin), row.margin if np.isfinite(row.margin) else 0.0


def times(value: Any, factor: float) -> Any:
    with np.errstate(all="ignore"):
        return None if value is None else (value * value.dtype.type(factor)).astype(value.dtype)


def _scaled(upstream: Upstream, factor: float) -> Upstream:
    return tuple(None if each is None else each * factor for each in upstream)


def _laid(value: Tensor, lay: Callable[[Tensor], Tensor]) -> Tensor:
    return lay(value.detach()).requires_grad_() if value.requires_grad else value
