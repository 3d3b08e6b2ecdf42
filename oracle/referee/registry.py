"""The one dictionary of definitions, by torch.nn's own names, and how a record finds its own."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, Protocol

Kind = Literal["elementwise", "features", "loss"]
F = Callable[..., Any]


class NoDefinition(LookupError):  # noqa: N818  # an answer, of a kind
    """The referee does not know this function."""


class Named(Protocol):
    """What the referee needs of a record: the name of its twin in torch.nn, and its options. manualbp's records have both."""

    @classmethod
    def twin(cls) -> str: ...

    def options(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Definition:
    """A forward definition and how it is called.

    elementwise     f(z, **options) -> Series
    features        f(list of Series, **options) -> list of Series
    loss            f(blocks, target, **options) -> Term, or array of Terms, for one sample (see oracle.referee.losses)

    A loss takes the features in `blocks` equal parts, and the first `axes` axes of its input belong to one sample.
    `parameters` are the keywords through which it is handed learned parameters, as series.
    """

    name: str
    kind: Kind
    call: F
    blocks: int = 1
    axes: int = 1
    parameters: tuple[str, ...] = ()

    @cached_property
    def keywords(self) -> frozenset[str]:
        """Options and parameters the definition takes."""
        positional = 2 if self.kind == "loss" else 1
        return frozenset(list(inspect.signature(self.call).parameters)[positional:])

    @cached_property
    def open_ended(self) -> bool:
        """True when the definition takes any number of parameters."""
        return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(self.call).parameters.values())

    def bind(self, options: Mapping[str, Any]) -> F:
        """The definition with these options. Raises NoDefinition for one it does not know and that may matter."""
        unknown = options.keys() - self.keywords - _INERT
        if unknown:
            raise NoDefinition(
                f"the referee's {self.name} takes the options {sorted(self.keywords)}; got {sorted(unknown)} as well."
            )
        return partial(self.call, **{name: value for name, value in options.items() if name in self.keywords})

    def parameter(self, name: str) -> str:
        """The keyword for a parameter that a record or torch calls `name`: linear.weight is linear_weight.

        Raises NoDefinition for a parameter the definition does not have.
        """
        plain = name.replace(".", "_")
        if plain in self.parameters or self.open_ended:
            return plain
        for keyword in self.parameters:
            if keyword.endswith(name.split(".")[-1]):
                return keyword
        raise NoDefinition(f"{self.name} has the parameters {list(self.parameters)}; got {name!r}.")


DEFINITIONS: dict[str, Definition] = {}

#: Options that change no number: the place of the result, the axis (always the features here), sizes and initial values.
_INERT = {
    "inplace",
    "dim",
    "num_parameters",
    "init",
    "reduction",
    "in_features",
    "num_classes",
    "bias",
    "options",
    "seed",
    "n_classes",
    "div_value",
}


def define(
    name: str, kind: Kind = "elementwise", *, blocks: int = 1, axes: int = 1, parameters: tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Enter a function as the definition of torch.nn's `name`."""

    def enter(function: F) -> F:
        DEFINITIONS[name] = Definition(name, kind, function, blocks, axes, parameters)
        return function

    return enter


def definition(record: Named, kind: Kind | None = None) -> Definition:
    """The definition of a record, found by the name of its twin.

    Raises NoDefinition when there is none, or one of another kind than asked for.
    """
    name = type(record).twin()
    found = DEFINITIONS.get(name)
    if found is None:
        raise NoDefinition(f"the referee has definitions of {', '.join(sorted(DEFINITIONS))}; got {name}.")
    if kind and found.kind != kind:
        raise NoDefinition(
            f"{name} is a function of kind {found.kind}; got a call for one of kind {kind}. Use the other function."
        )
    return found
