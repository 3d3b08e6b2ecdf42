"""What a function owes besides its numbers: it leaves alone what it is given, keeps nothing, is linear on its way back, takes
arrays however they lie in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oracle.diagnosis.evidence import furthest
from oracle.discrepancy import Row
from oracle.doors.candidates import Candidate, Given, TorchCandidate, give, put_back
from oracle.doors.contract import duty, own_scale, printed
from oracle.doors.errors import DoorError
from oracle.doors.guard import SETTINGS, guarded
from oracle.doors.question import Named, Question, array_of, ask
from oracle.rounding.callables import Of, Upstream, random_from, run
from oracle.twins import parameter
from oracle.verdict import TOLERANCE, Verdict

#: Orders of an array in memory, by what they are called.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "non-contiguous": lambda x: torch.stack([x, torch.full_like(x, 3)], -1)[..., 0],
    "transposed": lambda x: x.mT.contiguous().mT if x.ndim > 1 else x,
}
#: Of arrays beyond this length that are the same bit by bit no differences are computed.
LONG = 4096
#: Copies with noise where a candidate is compared with itself.
FEWER = 8
ALLOCATE = "index with its strides, or call contiguous() (np.ascontiguousarray) first"


def duties(candidate: Candidate, question: Question, given: Given) -> Iterator[Row]:
    """Every duty as a row; those that need a second call are left out where the first one failed."""
    case, module = question.case, question.module
    for name, (after, before) in given.passed.items():
        fix, shape = f"{name} is changed in place; work on a copy", "x".join(map(str, before.shape)) or "scalar"
        same = before.size > LONG and np.array_equal(after.view(np.uint8), before.view(np.uint8))
        found, wanted = (array.reshape(-1)[:1] if same else array for array in (after, before))
        yield duty(case, f"{name} unchanged", found, wanted, fix, module=module)._replace(shape=shape)
    changed = np.array([float(name in given.outcome.changed) for name in SETTINGS])
    yield duty(case, "settings unchanged", changed, np.zeros_like(changed), given.outcome.notes, module=module)
    yield from printed(case, given.outcome, module=module)
    if not given.failure:
        yield from _second_calls(candidate, question, given)


def _second_calls(candidate: Candidate, question: Question, given: Given) -> Iterator[Row]:
    inputs, params, upstreams = question.inputs, question.params, question.upstreams

    def call(inputs: Named = inputs, params: Named = params, upstreams: Sequence[Upstream] = upstreams) -> Given:
        return give(candidate, inputs, params, upstreams, question.seed)

    again = "a second call with the same numbers gives something else: is something kept from the first, or random?"
    yield _all(question, "called twice", call(), given.values, again)
    doubled = {of: value if of.kind == "output" else _times(value, 2) for of, value in given.values.items()}
    linear = "twice the upstream gradient does not give twice the gradient: is it used, and once?"
    found = call(upstreams=[_scaled(upstream, 2.0) for upstream in upstreams])
    yield _all(question, "twice the upstream gradient", found, doubled, linear, scale=2.0)
    nothing = Question(
        question.case, question.module, question.reference, inputs, params, (_scaled(upstreams[0], 0.0),), question.seed
    )
    none = "an upstream gradient of 0 does not give exactly 0"
    found = call(upstreams=nothing.upstreams)
    gradients = {of: array for of, array in nothing.wanted.items() if of.kind == "gradient"}
    zero = {of: array if given.values.get(of) is None else np.zeros_like(given.values[of]) for of, array in gradients.items()}
    yield _all(nothing, "no upstream gradient", found, zero, none, scale=0.0)
    for layout, lay in LAYOUTS.items():
        laid = {name: _laid(value, lay) for name, value in inputs.items()}
        if any(value.stride() != inputs[name].stride() for name, value in laid.items()):
            found, text = call(laid), f"a {layout} input gives something else: {ALLOCATE}"
            yield from _as_it_lies(question, f"{layout} input", found, given.values, laid, text)
    others = [tuple(None if each is None else LAYOUTS["non-contiguous"](each) for each in upstream) for upstream in upstreams]
    text = f"a non-contiguous upstream gradient gives something else: {ALLOCATE}"
    yield _all(question, "non-contiguous upstream gradient", call(upstreams=others), given.values, text)
    if len(upstreams) > 1:  # the last is the same number everywhere, as behind sum()
        spread = tuple(None if each is None else _spread(each, each.ndim) for each in upstreams[-1])
        text = f"an upstream gradient that is expanded (stride 0, as behind sum()) gives something else: {ALLOCATE}"
        found = call(upstreams=[*upstreams[:-1], spread])
        yield _all(question, "expanded upstream gradient", found, given.values, text)
    yield from _expanded(question, call)


def _as_it_lies(question: Question, what: str, found: Given, wanted: Mapping[Of, Any], laid: Named, text: str) -> Iterator[Row]:
    """A row for inputs that lie otherwise, against the reference where it moves too; none where it does not take them so."""
    row = _all(question, what, found, wanted, text)
    if Verdict(row.verdict).fails:
        try:
            there = _moved(question, laid)
        except (RuntimeError, ValueError):
            return
        row = _all(question, what, found, there, text) if there else row
    yield row


def _moved(question: Question, laid: Named) -> dict[Of, Any]:
    """What the reference gives for inputs that lie otherwise, where that is not what it gave; it may draw random numbers."""
    if question.keep:
        return {}
    answers = run(question.reference, laid, question.params, question.upstreams, seed=question.seed)
    there = {of: array_of(answer) for of, answer in answers.items()}
    same = all(furthest(there[of], wanted, question.scales.sigma[of]) <= TOLERANCE for of, wanted in question.wanted.items())
    return {} if same else there


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
        wanted = call(written, upstreams=plain.upstreams)
        if not wanted.failure:
            laid = {**written, name: spread}
            found = call(laid, upstreams=plain.upstreams)
            text = f"where {name} is expanded (stride 0) it gives something else: {ALLOCATE}"
            yield from _as_it_lies(plain, f"expanded {name}", found, wanted.values, laid, text)


def _spread(value: Tensor, axes: int) -> Tensor:
    """What is first along so many axes, for all of them; memory behind it holds other numbers, for who reads on."""
    first = value.detach()[(slice(1),) * axes]
    memory = torch.full_like(value, 3.0).flatten()
    memory[: first.numel()] = first.flatten()
    return memory[: first.numel()].view(first.shape).expand(value.shape)


def _all(question: Question, what: str, found: Given, wanted: Mapping[Of, Any], fix: str, scale: float = 1.0) -> Row:
    """The worst of many comparisons as one row, which says of which array."""
    rows = []
    for of, array in wanted.items():
        if array is None or of not in question.answers:
            continue
        given: Any = found.values.get(of)
        given = np.zeros_like(array) if given is None and not array.any() and not found.failure else given
        if question.keep and np.shape(given) == array.shape:
            given, array = (array_of(question.keep(of, parameter(each))) for each in (given, array))
        known = question.scales.sigma[of] * scale if array.shape == question.wanted[of].shape else 0.0
        sigma = own_scale(array, known) if scale else 0.0
        symbol = question.quantity(of).symbol
        rows.append(
            duty(question.case, what, given, array, f"{symbol}: {found.failure or fix}", scale=sigma, module=question.module)
        )
    return max(rows, key=_badness, default=duty(question.case, what, np.zeros(0), np.zeros(0), "", module=question.module))


def _badness(row: Row) -> tuple[bool, bool, float]:
    fails = Verdict(row.verdict).fails
    return fails, fails and not np.isfinite(row.margin), row.margin if np.isfinite(row.margin) else 0.0


def _times(value: Any, factor: float) -> Any:
    with np.errstate(all="ignore"):
        return None if value is None else (value * value.dtype.type(factor)).astype(value.dtype)


def _scaled(upstream: Upstream, factor: float) -> Upstream:
    return tuple(None if each is None else each * factor for each in upstream)


def _laid(value: Tensor, lay: Callable[[Tensor], Tensor]) -> Tensor:
    return lay(value.detach()).requires_grad_() if value.requires_grad else value


def accumulation(candidate: TorchCandidate, question: Question, given: Given) -> Iterator[Row]:
    """Two ways back into one .grad: it holds the sum of both."""
    upstream = question.upstreams[0]
    found: dict[Of, Any] = {}
    wanted = {of: _times(value, 2) for of, value in given.values.items() if of.kind == "gradient" and of.upstream == 0}

    def twice() -> None:
        with random_from(question.seed):
            found.update(candidate.twice(question.inputs, question.params, upstream))

    with put_back(question.inputs, [upstream]):
        outcome = guarded(twice, timeout=candidate.timeout)
    text = ".grad does not hold the sum of two ways back: does backward write into .grad, or return a buffer that it keeps?"
    yield _all(question, "gradients add up", Given(found, outcome), wanted, text, scale=2.0)
