"""Judges answers: a row for each array, the report, and where and what is wrong. torch is not needed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from manualbp import Trace
from oracle.diagnosis.advice import Advice
from oracle.discrepancy import Row, compare
from oracle.sweep import DIAGNOSED
from oracle.tables import END_TO_END, module_names
from oracle.vectors.document import Answer, Frozen
from oracle.vectors.reading import VectorsError
from oracle.verdict import Verdict


def rows(frozen: Frozen, candidate: Trace) -> list[Row]:
    """A row for everything the candidate gives, and for everything it has to give."""
    given = {quantity: array for quantity, array in candidate.quantities().items() if array is not None}
    wanted = {
        quantity: array
        for quantity, array in frozen.reference.quantities().items()
        if quantity in given or quantity.symbol in frozen.required
    }
    case = frozen.case
    modules = module_names(case.network)
    return list(compare(case.name, END_TO_END, modules, case.dtype, given, wanted, frozen.scales.through))


def advise(frozen: Frozen, candidate: Trace, found: list[Row]) -> Advice:
    """Where a failing candidate goes wrong and which mistake it is."""
    from oracle.diagnosis import diagnose

    passed = {row.symbol for row in found if not Verdict(row.verdict).fails}
    with np.errstate(all="ignore"):  # what a mistake would have given need not be finite
        diagnosis = diagnose(frozen.case, frozen.reference, candidate, scale=frozen.scales, passed=passed)
    return Advice.of(frozen.case.name, diagnosis)


@dataclass(frozen=True)
class Judged:
    """What came of some answers: rows, advice for the first that fail, and how many cases nobody answered."""

    rows: list[Row]
    diagnoses: list[Advice]
    unanswered: int


def judge(cases: Mapping[str, Frozen], answers: Mapping[str, Answer]) -> Judged:
    """Judge every answer. Raises VectorsError where one gives nothing, or something that its case does not have."""
    traces = {name: answer.trace(cases[name]) for name, answer in answers.items()}
    for answer in answers.values():
        if not answer.arrays:
            raise VectorsError(f"{answer.source}: quantities takes at least one array; it is empty.")
    by_case = {name: rows(cases[name], trace) for name, trace in traces.items()}
    failing = [name for name, found in by_case.items() if any(Verdict(row.verdict).fails for row in found)]
    advice = [advise(cases[name], traces[name], by_case[name]) for name in failing[:DIAGNOSED]]
    return Judged([row for found in by_case.values() for row in found], advice, len(cases) - len(answers))
