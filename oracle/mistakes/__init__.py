"""The catalogue of mistakes that people make in a backward pass: each can be planted on any case, and explains itself."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module

from oracle.case import Case
from oracle.mistakes.mistake import AssemblyMistake, Mistake, StepMistake
from oracle.mistakes.step import Step

#: One file for each family, in the order of the catalogue.
FAMILIES = (
    "linear",
    "parameters",
    "activations",
    "formulas",
    "slopes",
    "features",
    "options",
    "losses",
    "regression",
    "binary",
    "classification",
    "margins",
    "structure",
)

__all__ = ["AssemblyMistake", "Mistake", "Step", "StepMistake", "catalogue", "planted"]


@cache
def catalogue() -> tuple[Mistake, ...]:
    """Every mistake, family by family; no two have the same name."""
    return tuple(mistake for family in FAMILIES for mistake in import_module(f"{__name__}.{family}").MISTAKES)


def planted(case: Case) -> Iterator[tuple[Mistake, int]]:
    """Every mistake with every position of the case's network at which it can be made."""
    for mistake in catalogue():
        for position in mistake.places(case.network):
            if not case.close or position == 0:  # of a record alone nothing else is compared
                yield mistake, position
