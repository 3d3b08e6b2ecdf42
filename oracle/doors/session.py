"""One check: the candidate at all numbers that were asked for, and the diagnosis of the first at which it fails."""

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from oracle.discrepancy import Row
from oracle.doors.advising import advise
from oracle.doors.candidates import Candidate, Given, TorchCandidate, give
from oracle.doors.errors import DoorError
from oracle.doors.examine import compared
from oracle.doors.generate import ODD_SIZES
from oracle.doors.guard import LATE
from oracle.doors.keeping import obligations
from oracle.doors.large import Selection, selection, told
from oracle.doors.question import Named, Question, ask
from oracle.doors.uneven import UNEVEN, shared, uneven
from oracle.rounding.callables import run
from oracle.tables import END_TO_END, table
from oracle.verdict import Verdict

if TYPE_CHECKING:
    from oracle.report import Report

#: What torch loads once for its decompositions, seconds that are no part of what a check of a large array costs.
COMPILER = "torch._dynamo"
#: So many cases that fail are diagnosed, of those that do not fail in the same quantities.
DIAGNOSED = 3


@dataclass(frozen=True)
class Session:
    """What stays the same over the cases of one check."""

    candidate: Candidate
    reference: Callable[..., Any]
    params: Named
    upstreams: int
    seed: int
    max_elements: int
    #: No part of the inputs is asked about: of some functions in C no argument may have another size.
    whole: bool = False

    def report(self, cases: Iterable[tuple[str, Mapping[str, Tensor]]], command: str) -> "Report":
        """Check the cases, the first of which has to suit the reference; others that it refuses are left out."""
        from oracle.report import Report

        begin, cost = time.perf_counter(), time.process_time()
        rows: list[Row] = []
        largest: Question | None = None
        failing: dict[tuple[str, ...], tuple[Session, Question, Given, list[Row]]] = {}
        for number, (session, label, inputs) in enumerate(self._asked(cases)):
            if number == 0 and self._large(inputs):
                session._warm(label, inputs)
                cost = time.process_time()
            try:
                question = session.ask(label, inputs)
                given, found = session.rows(question, duties=number == 0 or label.endswith(ODD_SIZES))
            except DoorError:
                if number == 0:
                    raise
                continue
            if question.size > max(self.max_elements, largest.size if largest else 0):
                largest = question
            rows += found
            wrong = [row for row in found if Verdict(row.verdict).fails]
            if wrong:
                numbers = [row for row in wrong if row.comparison == END_TO_END]
                fault = tuple(dict.fromkeys(row.quantity for row in numbers or wrong))
                failing.setdefault(fault, (session, question, given, found))  # what fails elsewhere as well is one fault
            if given.outcome.late:  # and would be waited for each time
                break
        advice = [advise(*each) for each in list(failing.values())[:DIAGNOSED]]
        seconds, cost = time.perf_counter() - begin, time.process_time() - cost
        passes = cost / one_pass(largest) if largest else float("nan")
        return Report(table(rows), diagnoses=advice, seed=self.seed, seconds=seconds, command=command, passes=passes)

    def _asked(self, cases: Iterable[tuple[str, Mapping[str, Tensor]]]) -> Iterator[tuple["Session", str, Named]]:
        """The cases; behind the first the same with other numbers in place of those that are all equal, if there are any."""
        candidate = self.candidate
        function, mapping = (candidate.function, candidate.mapping) if isinstance(candidate, TorchCandidate) else (None, {})
        for number, (label, inputs) in enumerate(cases):
            yield self, label, inputs
            if number:
                continue
            held = {**self.params, **shared(self.reference, function, lambda name: mapping.get(name, name))}
            params, numbers = uneven(held, self.seed), uneven({k: v for k, v in inputs.items() if v.requires_grad}, self.seed)
            if params or numbers:
                yield replace(self, params={**self.params, **params}), f"{label}, {UNEVEN}", {**inputs, **numbers}

    def _large(self, inputs: Named) -> bool:
        """Whether not all elements of an input are compared."""
        return max(value.numel() for value in inputs.values()) > self.max_elements

    def _warm(self, label: str, inputs: Named) -> None:
        """Have torch load what it loads once, and call candidate and reference a first time, as before a pass is timed."""
        for module in (COMPILER, LATE):
            importlib.import_module(module)
        self.give(self.ask(label, inputs))

    def ask(self, label: str, inputs: Named) -> Question:
        """The question at these inputs. Raises DoorError where the reference does not take them."""
        name = self.candidate.name
        held = (*inputs.values(), *self.params.values())
        dtype = next(str(value.dtype).removeprefix("torch.") for value in held if value.is_floating_point())
        ways = min(self.upstreams, 2) if self._large(inputs) else self.upstreams
        question = ask(f"{name}/{dtype}/{label}", name, self.reference, inputs, self.params, ways, self.seed)
        try:
            _ = question.answers
        except Exception as error:
            first = str(error).partition("\n")[0]
            raise DoorError(f"the reference raises {type(error).__name__} on its way back: {first}") from error
        return question

    def rows(self, question: Question, *, duties: bool = True) -> tuple[Given, list[Row]]:
        """What the candidate gives, and every row of a question, with those of the duties or without."""
        if question.size <= self.max_elements:
            given = self.give(question)
            return given, [*compared(question, given), *(self._duties(question, given) if duties else ())]
        if len(question.upstreams) > 2:
            question = replace(question, upstreams=(question.upstreams[0], question.upstreams[-1]))
        given = self.give(question)
        selected = selection(question, given)
        found = told(selected, question, compared(selected.question, selected.given))
        return given, found + self._duties(*self._of_part(question, given, selected), part=True) if duties else found

    def give(self, question: Question) -> Given:
        """What the candidate gives."""
        return give(self.candidate, question.inputs, question.params, question.upstreams, self.seed)

    def _of_part(self, question: Question, given: Given, selected: Selection) -> tuple[Question, Given]:
        """The duties are tried on a part where that is the same to the reference, and the candidate takes it."""
        part = self.give(selected.question) if selected.commutes else None
        if part and not part.failure:
            return selected.question, part._replace(passed=given.passed, outcome=given.outcome)
        kept = replace(question, keep=lambda of, tensor: tensor.flatten()[selected.at[of].reshape(-1)])
        scales = selected.question.scales
        flat = {of: sigma.reshape(-1) for of, sigma in scales.sigma.items()}
        vars(kept).update(answers=question.answers, scales=scales._replace(sigma=flat))
        return kept, given

    def _duties(self, question: Question, given: Given, *, part: bool = False) -> list[Row]:
        return list(obligations(self.candidate, question, given, part=part))


def one_pass(question: Question) -> float:
    """What the reference costs forward and back once: the best of three, in seconds of the processor."""

    def timed() -> float:
        begin = time.process_time()
        run(question.reference, question.inputs, question.params, question.upstreams[:1], seed=question.seed)
        return time.process_time() - begin

    return min(timed() for _ in range(3))


def differentiated(inputs: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> None:
    """Mark what is differentiated: what requires a gradient already, or all real numbers where nothing does.

    Raises DoorError where there is nothing.
    """
    if any(value.requires_grad for value in inputs.values()):
        return
    real = [value for value in inputs.values() if value.is_floating_point()]
    if not real and not params:
        shown = ", ".join(f"{name} {value.dtype}" for name, value in inputs.items())
        raise DoorError(f"a gradient is that of real numbers; got only {shown}. Convert an input to float64 or float32.")
    for value in real:
        value.requires_grad_()


def checked_callable(value: Any, what: str, example: str) -> None:
    """Raise DoorError unless this can be called."""
    if not callable(value) or (isinstance(value, type) and not issubclass(value, torch.nn.Module)):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise DoorError(f"{what} takes something to call, such as {example}; got {got}.")
    checked_parameters(value, what)


def checked_parameters(value: Any, what: str) -> None:
    """Raise DoorError where a module's parameters have no shape yet."""
    if isinstance(value, torch.nn.Module) and any(map(torch.nn.parameter.is_lazy, value.parameters())):
        raise DoorError(
            f"{what} takes a module whose parameters have shapes; {type(value).__name__} is lazy. Call it once before."
        )


def checked_numbers(seed: int, timeout: float, **from_one: int) -> None:
    """Raise DoorError for numbers that make no sense."""
    for name, number, least in (("seed", seed, 0), *((name, number, 1) for name, number in from_one.items())):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise DoorError(f"{name} takes a whole number from {least}; got {number!r}.")
    if not isinstance(timeout, int | float) or not timeout > 0:
        raise DoorError(f"timeout takes seconds, more than 0; got {timeout!r}.")


def input_names(count: int, *functions: Any) -> Sequence[str]:
    """Names for so many inputs: those of the first function that names all of them."""
    import inspect

    for function in functions:
        function = function.forward if isinstance(function, torch.nn.Module) else function
        try:
            given = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            continue
        names = [each.name for each in given if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        if len(names) >= count and not any(name.startswith("_") or name in ("args", "input") for name in names[:count]):
            return names[:count]
    return ["x"] if count == 1 else [f"x{number}" for number in range(1, count + 1)]
