"""Where every submodule is right by itself and the module is not: what is lost, or counted twice, between them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from oracle.diagnosis import Line, Part
from oracle.diagnosis.diagnosis import fits
from oracle.diagnosis.likenesses import Factor, likenesses, usual_factors
from oracle.discrepancy import Row
from oracle.doors.question import Array, array_of
from oracle.doors.replay import Replay
from oracle.doors.walking import Seen
from oracle.rounding import floor
from oracle.rounding.callables import Of
from oracle.verdict import Verdict

if TYPE_CHECKING:
    from oracle.doors.whole import Unit, Whole


def explained(
    whole: "Whole", values: Mapping[Of, Any], rows: Sequence[Row], units: Sequence["Unit"], seen: Mapping[str, Sequence[Seen]]
) -> tuple[list[Line], list[dict[str, Any]]]:
    """Lines and matches for the first quantity that is wrong: on the way forward, else on the way back.

    A submodule that is right has a wrong value from a wrong input, which `seen` holds: what each call of the candidate's got.
    """
    wrong = {row.symbol for row in rows if Verdict(row.verdict).fails}
    forward, backward = ([of for of in way if whole.quantity(of).symbol in wrong] for way in whole.order)
    of = (forward or backward)[0]
    quantity = whole.quantity(of)
    place = whole.modules[quantity.position]
    title = f"Every submodule is right, and they are put together wrongly: {quantity.symbol} at {place}"
    where = f"{quantity.symbol} is the first that is wrong on the way {'forward' if forward else 'back'}."
    lines = [Line("title", title), Line("where", where)]
    name, found, wanted, sigma = quantity.symbol, values.get(of), whole.wanted[of], whole.scales.sigma[of]
    unit = next((unit for unit in units if forward and str(unit.site) == name), None)
    if unit is not None and (given := _given(unit, seen)):
        name, found, wanted = f"the input of {name}", *given
        sigma = floor(wanted, wanted, whole.dtype)
    why = "Another result stands here."
    others = [(other, array, why) for other, array in (_values(whole, wanted) if forward else _flows(whole, of, units))]
    axes = [f"slices along axis {number}" for number in range(wanted.ndim)]
    looks = likenesses(found, wanted, sigma, whole.dtype, axes, list(_factors(whole, of, units)), others)
    said = [f"{name} is {look.name}, {fits(look.sigmas)}. {look.explanation}" for look in looks[:3]]
    lines += [Line("what", text) for text in said or ["It looks like nothing simple."]]
    parts = [Part(look.name, quantity.position, look.explanation, "", "", name) for look in looks]
    matches = [
        {**part._asdict(), "sigmas": look.sigmas, "match": at} for at, (part, look) in enumerate(zip(parts, looks, strict=True))
    ]
    return lines, matches


def _given(unit: "Unit", seen: Mapping[str, Sequence[Seen]]) -> tuple[Array, Array] | None:
    """The first real tensor that this call of the candidate's submodule gets, and that it should get."""
    calls = seen.get(unit.site.unit, ())
    found = list(Replay.named(calls[unit.site.call]).values()) if unit.site.call < len(calls) else []
    wanted = [tensor for name, tensor in unit.question.inputs.items() if name.startswith("input")]
    return (array_of(found[0]), array_of(wanted[0])) if found and wanted else None


def _values(whole: "Whole", wanted: Array) -> Iterator[tuple[str, Array]]:
    """Other values and inputs, and this one without them."""
    arrays = {whole.quantity(of).symbol: array for of, array in whole.wanted.items() if of.kind == "output"}
    inputs = {name: array_of(tensor) for name, tensor in whole.inputs.items() if name not in whole.own and name not in arrays}
    for name, array in (inputs | arrays).items():
        if array.shape == wanted.shape and not np.array_equal(array, wanted):
            yield f"the value of {name}", _wide(array)
            yield f"the right one without {name} in a sum", _wide(wanted) - array


def _flows(whole: "Whole", of: Of, units: Sequence["Unit"]) -> Iterator[tuple[str, Array]]:
    """What flows back to this place through each of the submodules that use it; what each call adds to a parameter's gradient."""
    wanted = _wide(whole.wanted[of])
    for name, part in _parts(whole, of, units):
        if part.shape == wanted.shape and not np.array_equal(part, wanted):
            yield f"what {name} gives alone: the rest is lost", part
            yield f"the right gradient without what {name} gives", wanted - part
            yield f"the right gradient with what {name} gives twice", wanted + part


def _parts(whole: "Whole", of: Of, units: Sequence["Unit"]) -> Iterator[tuple[str, Array]]:
    for unit in units:
        answers = unit.question.answers
        if of.name.startswith(f"{unit.site.unit}.") and of.name in whole.own:
            short = Of("gradient", of.name.removeprefix(f"{unit.site.unit}."))
            if short in answers:
                yield f"call {unit.site.call + 1} of {unit.site.unit}", _wide(unit.question.wanted[short])
            continue
        value = next((array for each, array in whole.wanted.items() if whole.quantity(each).symbol == of.name), None)
        value = value if value is not None else _input(whole, of)
        for name, tensor in unit.question.inputs.items():
            short = Of("gradient", name)
            if (
                name.startswith("input")
                and short in answers
                and value is not None
                and np.array_equal(np.asarray(tensor.detach()), value)
            ):
                yield str(unit.site), _wide(unit.question.wanted[short])


def _wide(array: Any) -> Array:
    return np.asarray(array, np.float64)


def _input(whole: "Whole", of: Of) -> Any:
    given = whole.inputs.get(of.name)
    return None if given is None else given.detach().numpy()


def _factors(whole: "Whole", of: Of, units: Sequence["Unit"]) -> Iterator[Factor]:
    count = sum(1 for _ in _parts(whole, of, units))
    yield from usual_factors(
        {"the number of its uses": count, "the first size of the input": len(next(iter(whole.inputs.values())))}
    )
