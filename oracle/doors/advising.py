"""The advice for a function that fails: what is wrong, on a small input too, and which mistake it is."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from oracle.diagnosis import Line, Part
from oracle.diagnosis.advice import Advice
from oracle.diagnosis.beside import Factor, Look, Other
from oracle.diagnosis.diagnosis import fits
from oracle.diagnosis.evidence import apart
from oracle.diagnosis.likenesses import likenesses, usual_factors
from oracle.diagnosis.regions import about, told
from oracle.discrepancy import Row
from oracle.doors.candidates import Given, TorchCandidate, give
from oracle.doors.errors import DoorError
from oracle.doors.examine import compared
from oracle.doors.question import Array, Question, array_of
from oracle.doors.recognise import recognise
from oracle.doors.shrink import shrunk
from oracle.doors.slips import slipped
from oracle.rounding.callables import Of, Upstream, run
from oracle.tables import END_TO_END
from oracle.verdict import TOLERANCE, Verdict

if TYPE_CHECKING:
    from oracle.doors.session import Session

#: Elements of the largest input for which a record is looked for and small inputs are tried; beyond, a part is.
SMALL = 4096
#: What explains wrong numbers where it is not kept.
FIRST = ("called twice", "no upstream gradient")
#: Copies with noise for a small input.
FEWER = 4
#: Elements of an array that is shown.
SHOWN = 24


def advise(session: "Session", question: Question, given: Given, rows: Sequence[Row], *, example: bool = True) -> Advice:
    """Say what is wrong: of the numbers if any are, with an `example` at small numbers; otherwise of the duties."""
    if given.failure:
        title = f"{question.module}: {given.failure}"
        numpy = isinstance(session.candidate, TorchCandidate) and re.search(
            r"numpy\(\)|got ndarray|inside a tuple", given.failure
        )
        hint = Line(
            "known", "Is it written in NumPy? Then its backward is checked with it: oracle.check_backward, or --backward."
        )
        return Advice(question.case, title, False, (), (Line("title", title), *[hint] * bool(numpy)))
    failing = [row for row in rows if Verdict(row.verdict).fails]
    wrong = [row for row in failing if row.comparison == END_TO_END]
    lines, matches = _of_numbers(session, question, given, wrong, example=example) if wrong else ([], [])
    names = list(dict.fromkeys(row.quantity for row in wrong or failing))
    title = f"{question.module}: {', '.join(names)}"
    duties = [row for row in failing if row.comparison != END_TO_END]
    first = [row for row in duties if row.quantity.endswith("unchanged")]
    told = first or [row for row in duties if not wrong or row.quantity in FIRST]
    lines += [Line("what", f"Not so: {row.quantity}: {row.note}{'' if row.note[-1:] in ('?', '.') else '.'}") for row in told]
    others = list(dict.fromkeys(row.quantity for row in duties if row not in told)) if first else []
    lines += [Line("known", f"Nor, which may follow from that: {', '.join(others)}.")] if others else []
    return Advice(question.case, title, False, tuple(matches), (Line("title", title), *lines))


def _of_numbers(
    session: "Session", question: Question, given: Given, wrong: Sequence[Row], *, example: bool
) -> tuple[list[Line], list[dict[str, Any]]]:
    of_output = any(row.quantity.startswith("output") for row in wrong)
    where = "The output is wrong already: the fault is in the forward pass, or in what it is compared with."
    lines = [Line("where", where if of_output else "The output is right: the fault is in the way back.")]
    off: dict[str, float] = {}
    for row in wrong:
        if np.isfinite(row.sigmas):
            off[row.quantity] = max(row.sigmas, off.get(row.quantity, 0.0))
    lines += [Line("far", f"Off: {', '.join(f'{name} by {far:.3g} sigma' for name, far in off.items())}.")] if off else []
    said = list(dict.fromkeys(row.note for row in wrong if row.note and not np.isfinite(row.sigmas)))
    lines += [Line("known", f"{note[0].upper()}{note[1:]}.") for note in said]
    if drawn := _drawn(session, question, given):
        return [*lines, Line("what", f"{drawn.name[0].upper()}{drawn.name[1:]}. {drawn.explanation}")], [_match(drawn)]
    failing = _failing(session, question, wrong) if example and not session.whole else [question]
    named = next((each for each in failing if each.size <= SMALL), None)
    if named is None:
        return [*lines, Line("known", "No smaller input was found that shows it.")], []
    found, matches = _named(named, session.give(named), wrong)
    return [*lines, *found, *(_example(session, failing[-1], wrong) if example else ())], matches


def _drawn(session: "Session", question: Question, given: Given) -> Part | None:
    """That one of the two draws random numbers, and the other does not: with another seed it gives something else."""
    seed = question.seed + 1
    asked = (session.candidate, question.inputs, question.params, question.upstreams)
    again, other, last = (give(*asked, each) for each in (question.seed, seed, question.seed))
    if not (_equal(given, again) and _equal(given, last)):  # it keeps something
        return None
    answers = run(question.reference, question.inputs, question.params, question.upstreams, seed=seed)
    candidate = not _equal(given, other)
    reference = any(not torch.equal(found.nan_to_num(), answers[of].nan_to_num()) for of, found in question.answers.items())
    if candidate == reference:
        return None
    one, two = ("candidate", "reference")[:: 1 if candidate else -1]
    why = f"With another seed of torch's and NumPy's generators the {one} gives something else, and the {two} the same."
    return Part(f"the {one} draws random numbers, and the {two} does not", 0, why, "", "", "random numbers")


def _equal(one: Given, other: Given) -> bool:
    """Whether two calls give the same to the last bit."""
    pairs: list[tuple[Any, Any]] = [(found, other.values.get(of)) for of, found in one.values.items()]
    return all(a is b or (np.shape(a) == np.shape(b) and np.array_equal(a, b, equal_nan=True)) for a, b in pairs)


def _match(part: Part, sigmas: float = 0.0, number: int = 0) -> dict[str, Any]:
    """An entry of `Advice.matches`."""
    return {**part._asdict(), "sigmas": sigmas, "match": number}


def _failing(session: "Session", question: Question, wrong: Sequence[Row]) -> list[Question]:
    """The question, and then at smaller and smaller inputs, at which the first wrong quantity is wrong in the same way."""
    way, found = (wrong[0].quantity, wrong[0].verdict), [question]
    enough = replace(session, upstreams=1) if _first_fails(question, wrong) else session

    def fails(inputs: dict[str, torch.Tensor]) -> bool:
        try:
            tried = replace(enough.ask("small", inputs), replicas=FEWER)
        except (DoorError, StopIteration):
            return False
        if not all(bool(torch.isfinite(value).all()) for value in tried.answers.values()):
            return False
        if way not in {(row.quantity, row.verdict) for row in compared(tried, session.give(tried))}:
            return False
        found.append(tried)
        return True

    shrunk(question.inputs, fails)
    return found


def _first_fails(question: Question, wrong: Sequence[Row]) -> bool:
    """Whether the first upstream gradient is enough."""
    symbols = {row.symbol for row in wrong if row.quantity == wrong[0].quantity}
    return any(question.quantity(of).symbol in symbols and of.upstream == 0 for of in question.wanted)


def _example(session: "Session", question: Question, wrong: Sequence[Row]) -> Iterator[Line]:
    """The numbers of a small question, what the candidate gives and what is right."""
    if max(value.numel() for value in question.inputs.values()) > SHOWN:
        return
    given = session.give(question)
    off = [row.symbol for row in compared(question, given) if Verdict(row.verdict).fails and row.quantity == wrong[0].quantity]
    of = next((of for of in question.wanted if question.quantity(of).symbol in off), None)
    if of is None:
        return
    shown = [f"{name} = {_shown(_plain(value))}" for name, value in question.inputs.items()]
    if of.kind == "gradient":
        ups = [each for each in question.upstreams[of.upstream] if each is not None]
        shown += [f"upstream gradient = {_shown(array_of(ups[0]))}"]
    found = given.values.get(of)
    digits = 5
    if found is not None and _shown(question.wanted[of]) == _shown(found):  # the difference is in later ones
        digits = 17
    wanted, answer = _shown(question.wanted[of], digits), "nothing" if found is None else _shown(found, digits)
    yield Line("known", f"A small input that fails: {', '.join(shown)}.")
    yield Line("known", f"There {question.quantity(of).name} is {answer}, and should be {wanted}.")


def _shown(array: Array, digits: int = 5) -> str:
    array = array if array.dtype.kind in "iu" else np.asarray(array, np.float64)
    text = np.array2string(array, precision=digits, separator=", ", threshold=SHOWN)
    return " ".join(text.split())


def _plain(value: torch.Tensor) -> Array:
    return array_of(value) if value.is_floating_point() else value.numpy()


def _named(question: Question, given: Given, wrong: Sequence[Row]) -> tuple[list[Line], list[dict[str, Any]]]:
    """The mistake of the catalogue where the function is one that manualbp has; else what each gradient looks like.

    Where that does not say it of all of them: the slip at one operation of the reference, if there is one.
    """
    by_symbol = {question.quantity(of).symbol: of for of in question.wanted}
    asked = {row.symbol for row in wrong}, {row.quantity for row in wrong}
    places = [of for symbol, of in by_symbol.items() if symbol in asked[0]]  # of a smaller question the same quantities
    places = places or [of for of in by_symbol.values() if question.quantity(of).name in asked[1]]
    gradients = [of for of in places if of.kind == "gradient"]
    first = gradients[0].upstream if gradients else 0
    forward = any(of.kind == "output" for of in places)
    known = None if forward or not gradients else recognise(question, first)
    # what is no number anywhere any mistake might give that gives none
    numbers = any(np.isfinite(np.asarray(given.values[of])).any() for of in gradients if given.values.get(of) is not None)
    diagnosis = known.diagnosed(given.values, first) if known and numbers else None
    lines = [Line("known", f"The reference computes what manualbp's {known.name} does.")] if known else []
    if diagnosis and any(match.is_mistake for match in diagnosis.matches):
        matches = [_match(part, match.sigmas, number) for number, match in enumerate(diagnosis.matches) for part in match.parts]
        return [*lines, *(line for line in diagnosis.lines(None) if line.kind in ("what", "why", "effect", "formula"))], matches
    looks = {of: _looks(question, of, given.values.get(of)) for of in places if of.kind == "output" or of.upstream == first}
    # of several arrays, or outputs, one slip says more than what each looks like
    simple = len(looks) == 1 and all(looks.values()) and len(question.upstreams[first]) == 1
    slips = [] if forward or simple or not numbers else slipped(question, given.values, first)
    lines += [Line("what", f"It is as if {part.name}, {fits(sigmas)}. {part.explanation}") for sigmas, part in slips]
    matches = [_match(part, sigmas, number) for number, (sigmas, part) in enumerate(slips)]
    for of, like in () if slips else looks.items():
        name = question.quantity(of).name
        lines += [Line("what", f"{name} is {look.name}, {fits(look.sigmas)}. {look.explanation}") for look in like[:3]]
        matches += [
            _match(Part(look.name, 0, look.explanation, "", "", name), look.sigmas, number)
            for number, look in enumerate(like, len(matches))
        ]
        if not like:
            lines.append(Line("what", f"{name} looks like nothing simple: {_region(question, of, given.values.get(of))}."))
    return lines, matches


def _looks(question: Question, of: Of, found: Any) -> list[Look]:
    """What a wrong array looks like."""
    wanted, sigma = question.wanted[of], question.scales.sigma[of]
    axes = [f"slices along axis {number}" for number in range(wanted.ndim)] if wanted.ndim != 2 else ["rows", "columns"]
    others = list(_others(question, of)) if of.kind == "gradient" else []
    given = [(name, _plain(value)) for name, value in question.inputs.items()]
    return likenesses(found, wanted, sigma, question.dtype, axes, list(_factors(question)), others, given, what=of.kind)


def _region(question: Question, of: Of, found: Any) -> str:
    """Which elements are wrong."""
    wanted, inputs = question.wanted[of], question.inputs.items()
    if np.shape(found) != wanted.shape:
        return f"its shape is {np.shape(found)}, and should be {wanted.shape}"
    conditions = [each for name, value in inputs for each in about(name, _plain(value))]
    for upstream in question.upstreams[of.upstream] if of.kind == "gradient" else ():
        conditions += [] if upstream is None else about("upstream gradient", array_of(upstream))
    axes = [f"axis {number}, index" for number in range(wanted.ndim)] if wanted.ndim != 2 else ["row", "column"]
    return told(~(apart(found, wanted, question.scales.sigma[of]) <= TOLERANCE), conditions, axes)


def _factors(question: Question) -> Iterator[Factor]:
    counts: dict[str, int] = {}
    output = question.wanted[Of("output", "0")]
    for axis, size in enumerate(output.shape):
        counts[f"the size of the output's axis {axis}"] = size
    counts["the number of elements of the output"] = output.size
    for name, value in question.inputs.items():
        for axis, size in enumerate(value.shape):
            counts[f"the size of axis {axis} of {name}"] = size
        counts[f"the number of elements of {name}"] = value.numel()
    given = [each for each in question.upstreams[0] if each is not None]
    if len(given) == 1 and given[0].numel() == 1 and (one := float(given[0])) not in (0.0, 1.0, -1.0):
        yield f"1/{one:.4g}, the upstream gradient", 1 / one, "The upstream gradient is taken as 1."
        yield f"{one:.4g}, the upstream gradient", one, "The upstream gradient is counted twice."
    seen: set[int] = set()
    yield from usual_factors({name: size for name, size in counts.items() if not (size in seen or seen.add(size))})  # type: ignore[func-returns-value]


def _others(question: Question, of: Of) -> Iterator[Other]:
    """What may be returned in a gradient's place: what the reference has for other upstream gradients, and by parts."""

    def right_for(given: Upstream) -> Array:
        again = run(question.reference, question.inputs, question.params, [given], seed=question.seed)
        return array_of(again[of._replace(upstream=0)]).astype(np.float64)

    upstreams, returned = question.upstreams[of.upstream], "Another result is returned here."
    ones = tuple(None if each is None else torch.ones_like(each) for each in upstreams)
    yield "the right gradient for an upstream gradient of 1 everywhere", right_for(ones), "The upstream gradient is not used."
    for other, array in question.wanted.items():
        if other.kind == "gradient" and other.upstream == of.upstream and other.name != of.name:
            yield f"the right {question.quantity(other).name}", array.astype(np.float64), returned
    for number, upstream in enumerate(upstreams):
        if upstream is None:
            continue
        yield "the upstream gradient", array_of(upstream).astype(np.float64), "It is passed on as it is."
        if tuple(upstream.shape) == question.wanted[of].shape and upstream.numel() <= 512:
            diagonal = _diagonal(question, of, number) * array_of(upstream)
            yield (
                "the upstream gradient times the diagonal of the Jacobian",
                diagonal,
                "What each number does to others is left out.",
            )
        for axis, (at, which) in product(range(upstream.ndim), ((0, "first"), (-1, "last"))):
            if upstream.shape[axis] > 1:
                less = upstream.clone()
                less.select(axis, at).zero_()
                given = tuple(less if place == number else each for place, each in enumerate(upstreams))
                name = ("row" if axis == 0 else "column") if upstream.ndim == 2 else f"slice along axis {axis}"
                what = f"the right gradient without the {which} {name} of the upstream gradient"
                yield what, right_for(given), "A loop starts too late, or ends too early."


def _diagonal(question: Question, of: Of, output: int) -> Array:
    """D output[i] / d x[i], of an output of the input's shape."""
    shapes = [out for each, out in question.answers.items() if each.kind == "output"]
    diagonal = np.zeros(shapes[output].numel())
    for at in range(diagonal.size):
        unit = [torch.zeros(out.shape, dtype=out.dtype) if out.is_floating_point() else None for out in shapes]
        one = unit[output]
        assert one is not None
        one.view(-1)[at] = 1
        found = run(question.reference, question.inputs, question.params, [tuple(unit)], seed=question.seed)
        diagonal[at] = float(found[of._replace(upstream=0)].flatten()[at])
    return diagonal.reshape(shapes[output].shape)
