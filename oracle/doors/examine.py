"""Holds a candidate against the reference at given numbers: a row for each output and each gradient."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from manualbp import Quantity
from oracle.discrepancy import Row, compare
from oracle.doors.candidates import Given
from oracle.doors.question import Question
from oracle.rounding.callables import Of
from oracle.tables import END_TO_END
from oracle.verdict import Verdict


def compared(question: Question, given: Given, comparison: str = END_TO_END) -> list[Row]:
    """Outputs and gradients, each with its verdict; where some fail, by scales that also know what rounding the inputs does."""
    found = _compared(question, given, question.scales.sigma, comparison)
    if given.failure or not any(Verdict(row.verdict).fails for row in found):
        return found
    return _compared(question, given, question.eased, comparison)


def _compared(question: Question, given: Given, scales: Mapping[Of, Any], comparison: str) -> list[Row]:
    named = {question.quantity(of): of for of in question.wanted}

    def ask(source: str, quantity: Quantity) -> Any:
        return getattr(question, source)[named[quantity]]

    def witness(quantity: Quantity) -> Any:
        return question.scales.exact[named[quantity]]

    values = {of: _none_is_zero(array, question.wanted.get(of)) for of, array in given.values.items() if of in question.wanted}
    return list(
        compare(
            question.case,
            comparison,
            question.modules,
            question.dtype,
            {question.quantity(of): array for of, array in values.items()},
            {quantity: question.wanted[of] for quantity, of in named.items()},
            {question.quantity(of): sigma for of, sigma in scales.items()},
            given.failure,
            witness=witness,
            sides=partial(ask, "sides"),
        )
    )


def _none_is_zero(array: Any, wanted: Any) -> Any:
    """A gradient that is 0 everywhere may be left out."""
    return np.zeros_like(wanted) if array is None and wanted is not None and not wanted.any() else array
