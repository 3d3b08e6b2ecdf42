"""What is right in a student's file, what is open, and what a wrong function looks like."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from manualbp import Trace
from oracle.diagnosis import diagnose
from oracle.discrepancy import measure
from oracle.manual_run import layerwise_run, manual_run
from oracle.mistakes import Step
from oracle.rounding import scales
from oracle.roundoff import Scales
from oracle.teach import TIMEOUT
from oracle.teach.exercise import Answer, Answers, Call, calls, exercise_case, run_file
from oracle.torch_run import torch_run
from oracle.verdict import Verdict

RIGHT, OPEN, WRONG = "right", "open", "wrong"


@dataclass(frozen=True)
class Outcome:
    """One function at one layer: right, open or wrong; `said` tells what it raised, its shape, or how far it is off."""

    function: str
    layer: int
    state: str
    said: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a file has come.

    outcomes  every function at every layer, on autograd's own numbers; the last is the whole, backpropagate
    advice    by function, what a wrong one looks like
    printed   the start of what the file printed
    stopped   why it came to no end
    """

    outcomes: tuple[Outcome, ...]
    advice: dict[str, tuple[str, ...]]
    printed: str = ""
    stopped: str = ""

    @property
    def ok(self) -> bool:
        """Whether all of it is right."""
        return not self.stopped and all(outcome.state == RIGHT for outcome in self.outcomes)

    @property
    def functions(self) -> dict[str, list[Outcome]]:
        """The outcomes of each function, in the order of the exercise."""
        found: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            found.setdefault(outcome.function, []).append(outcome)
        return found

    def state(self, function: str) -> str:
        """That of a function in all layers together."""
        states = {outcome.state for outcome in self.functions[function]}
        return next(state for state in (WRONG, OPEN, RIGHT) if state in states)

    @property
    def next(self) -> str:
        """What to turn to: the first function that is wrong, or else open; empty when all is right."""
        return next((name for state in (WRONG, OPEN) for name in self.functions if self.state(name) == state), "")


def check_exercise(path: Path, timeout: float = TIMEOUT) -> Progress:
    """Run a student's file apart, and hold each function against autograd. Raises OutputError where there is no file."""
    case = exercise_case()
    reference = torch_run(case)
    answers = run_file(path, reference, timeout)
    return _Marking(reference, scales(case, reference), answers).progress()


@dataclass(frozen=True)
class _Marking:
    reference: Trace
    scale: Scales
    answers: Answers

    def progress(self) -> Progress:
        made = calls(self.reference)
        outcomes: list[Outcome] = []
        advice: dict[str, tuple[str, ...]] = {}
        for number, call in enumerate(made):
            answer = self.answers.found.get(number, Answer("open"))
            outcome = self._whole(answer) if call.returns != "array" else self._one(call, answer)
            outcomes.append(outcome)
            if outcome.state == WRONG and answer.state == "returned" and call.function not in advice:
                advice[call.function] = self._looks(call, answer)
        return Progress(tuple(outcomes), advice, self.answers.printed, self.answers.stopped)

    def _one(self, call: Call, answer: Answer) -> Outcome:
        if answer.state != "returned":
            return Outcome(call.function, call.layer, OPEN if answer.state == "open" else WRONG, answer.message)
        wanted, scale = _of(self.reference, call), self._scale(call)
        if answer.result.shape != wanted.shape:
            said = f"it returns the shape {answer.result.shape}; {wanted.shape} is wanted."
            return Outcome(call.function, call.layer, WRONG, said)
        found = measure(answer.result, wanted, scale)
        if not Verdict(found.verdict).fails:
            return Outcome(call.function, call.layer, RIGHT)
        shown = [f"{value:.6g}" for value in (found.candidate, found.reference)]
        if shown[0] == shown[1]:  # wrong in its last digits
            shown = [repr(value) for value in (found.candidate, found.reference)]
        said = f"at {found.worst_index} it gives {shown[0]}; {shown[1]} is right."
        return Outcome(call.function, call.layer, WRONG, said)

    def _scale(self, call: Call) -> Any:
        quantity = next(each for each, array in self.reference.quantities().items() if array is _of(self.reference, call))
        return self.scale.own[quantity]

    def _whole(self, answer: Answer) -> Outcome:
        """The gradients of the whole network, end to end."""
        if answer.state != "returned":
            return Outcome("backpropagate", 0, OPEN if answer.state == "open" else WRONG, answer.message)
        wrong, missing = [], []
        for quantity, wanted in self.reference.quantities().items():
            if quantity.name in ("dC/dW", "dC/db"):
                found = answer.result.get(("weight" if quantity.name == "dC/dW" else "bias", quantity.layer))
                if found is None:
                    missing.append(quantity.symbol)
                elif Verdict(measure(found, wanted, self.scale.through[quantity]).verdict).fails:
                    wrong.append(quantity.symbol)
        told = [f"not right: {', '.join(wrong)}."] * bool(wrong) + [f"missing: {', '.join(missing)}."] * bool(missing)
        return Outcome("backpropagate", 0, WRONG if told else RIGHT, " ".join(told))

    def _looks(self, call: Call, answer: Answer) -> tuple[str, ...]:
        """The diagnosis of one function at one layer, in a network where everything else is right."""
        case = exercise_case()
        honest, own = manual_run(case), layerwise_run(case, self.reference)
        if call.returns != "array":
            candidate = _given(honest, answer)
        else:
            planted = _planted(case, honest, call, answer.result)
            if planted is None:
                return ()
            candidate, own = planted, _with(own, call, answer.result)
        found = diagnose(case, self.reference, candidate, own, self.scale)
        return tuple(line.text for line in found.lines(None) if line.kind not in ("far", "where"))


def _of(trace: Trace, call: Call) -> Any:
    """The array that a call is about."""
    return trace.parameter_gradients[call.position][call.name] if call.name else trace.gradients[call.position]


def _with(trace: Trace, call: Call, result: Any) -> Trace:
    """The trace with a call's result in its place."""
    if not call.name:
        gradients = list(trace.gradients)
        gradients[call.position] = result
        return replace(trace, gradients=tuple(gradients))
    parameters = [dict(own) for own in trace.parameter_gradients]
    parameters[call.position][call.name] = result
    return replace(trace, parameter_gradients=tuple(parameters))


def _planted(case: Any, honest: Trace, call: Call, result: Any) -> Trace | None:
    """The whole network with this one result in it, and all that follows from it; None where nothing can follow."""
    trace = _with(honest, call, result)
    if call.name:
        return trace
    if np.shape(result) != np.shape(_of(honest, call)):
        return None
    gradients, parameters = list(trace.gradients), list(trace.parameter_gradients)
    for at in reversed(range(call.position)):
        gradients[at], parameters[at] = Step(case, at, honest.values, tuple(gradients)).right
    return replace(trace, gradients=tuple(gradients), parameter_gradients=tuple(parameters))


def _given(honest: Trace, answer: Answer) -> Trace:
    """What backpropagate returned, as a trace that knows nothing else."""
    nothing = (None,) * len(honest.values)
    parameters = [
        {name: answer.result.get((name, at // 2 + 1)) for name in own} for at, own in enumerate(honest.parameter_gradients)
    ]
    return replace(honest, gradients=nothing, parameter_gradients=tuple(parameters))
