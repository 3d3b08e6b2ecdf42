"""Holds a candidate against the reference at given numbers: a row for each output and each gradient."""

from functools import partial
from typing import Any

import numpy as np

from manualbp import Quantity
from oracle.discrepancy import Row, compare
from oracle.doors.candidates import Given
from oracle.doors.question import Question
from oracle.rounding.callables import Of
from oracle.tables import END_TO_END


def compared(question: Question, given: Given, comparison: str = END_TO_END) -> list[Row]:
    """Outputs and gradients, each with its verdict."""
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
            {question.quantity(of): sigma for of, sigma in question.scales.sigma.items()},
            given.failure,
            witness=witness,
            hull=partial(ask, "hulls"),
        )
    )


def _none_is_zero(array: Any, wanted: Any) -> Any:
    """A gradient that is 0 everywhere may be left out."""
    return np.zeros_like(wanted) if array is None and wanted is not None and not wanted.any() else array


def surplus(question: Question, given: Given) -> list[str]:
    """Outputs that the reference does not have."""
    return [of.name for of in given.values if of.kind == "output" and of not in question.answers]


def wrong(rows: list[Row], question: Question, fails: Any) -> list[Of]:
    """What fails among outputs and gradients."""
    failing = {row.symbol for row in rows if row.comparison == END_TO_END and fails(row)}
    return [of for of in question.wanted if question.quantity(of).symbol in failing]
