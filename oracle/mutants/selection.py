"""Which mistakes are planted where."""

import difflib
import shlex
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

from manualbp import Linear, Network
from oracle.case import FULL_DTYPES, Spec, SpecError
from oracle.mistakes import Mistake, catalogue
from oracle.mistakes.step import record
from oracle.suite import specs


class Planting(NamedTuple):
    """A case, and the mistakes planted in it one at a time: names with positions, the length of the chain for the loss."""

    case: str
    places: tuple[tuple[str, int], ...]


def mistakes(names: Sequence[str] = ()) -> list[Mistake]:
    """The mistakes of these names, or all. Raises SpecError for a name that is not in the catalogue."""
    known = {mistake.name: mistake for mistake in catalogue()}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise SpecError(
                f"unknown mistake {name!r}.{hint} --mistake takes the name of one of the {len(known)} of the catalogue; "
                "the report's table lists them."
            )
    return [known[name] for name in dict.fromkeys(names)] or list(known.values())


def cases(
    activations: Sequence[str] = (),
    losses: Sequence[str] = (),
    shapes: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> list[Spec]:
    """The networks to plant in: those of the sweep, narrowed to what is named, or the ones that the texts name.

    Raises SpecError for a name that does not exist.
    """
    if not texts:
        return specs(activations, losses, shapes, dtypes)
    if activations or losses or shapes or dtypes:
        raise SpecError("--case names the whole case; leave --activation, --loss, --shape and --dtype away.")
    return [Spec.parse(text) for text in dict.fromkeys(texts)]


def plantings(chosen: Sequence[Spec], names: Sequence[str] = (), *, seed: int = 0, every: bool = False) -> list[Planting]:
    """Plant these mistakes, or all, in these networks.

    Unless `every` place is asked for, a place is taken when it adds something: the first in which a mistake meets a record with
    these options (in half precisions a class), or a place in the network, in this dtype; or a shape. Raises SpecError for an
    unknown mistake, and where there is no place at all.
    """
    wanted = mistakes(names)
    seen: set[tuple[Any, ...]] = set()
    found = []
    for spec in Random(seed).sample(chosen, len(chosen)):
        network = spec.network()
        places = []
        for mistake in wanted:
            for position in mistake.places(network):
                adds = set(_cells(spec, network, mistake.name, position)) - seen
                seen |= adds
                if adds or every:
                    places.append((mistake.name, position))
        if places:
            found.append(Planting(str(spec), tuple(places)))
    if not found:
        raise SpecError(f"{', '.join(map(repr, names)) or 'no mistake'} can be made nowhere in the cases that were asked for.")
    return found


def place(network: Network, position: int) -> str:
    """Which place a position is: first, inner, last or only layer, or the loss."""
    if position == len(network.layers):
        return "loss"
    if network.depth == 1:
        return "only"
    return {1: "first", network.depth: "last"}.get(network.numbers[position], "inner")


def _cells(spec: Spec, network: Network, name: str, position: int) -> Iterator[tuple[Any, ...]]:
    at = record(network, position)
    options = spec.dtype in FULL_DTYPES and not isinstance(at, Linear)  # a Linear's are its sizes, and those are the shape's
    yield name, str(at) if options else type(at).__name__, spec.dtype
    yield name, place(network, position), spec.dtype
    yield name, str(spec.shape)


def repeat_command(name: str, case: str, seed: int) -> str:
    """The shell command that plants this mistake in this case again."""
    return f"oracle mutants --mistake {shlex.quote(name)} --case {shlex.quote(case)} --seed {seed}"
