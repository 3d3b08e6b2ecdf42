"""The atlas as a page and as Markdown, from one table through two templates."""

import re
from typing import Any

from oracle.accuracy.atlas import Atlas
from oracle.accuracy.measured import EQUAL, LIMITS, LOSS_LIMIT, ROUNDOFFS, Measured
from oracle.accuracy.near import NEAR, NEAR_OF_SIZE, NEAR_OF_UNIT
from oracle.accuracy.picture import STYLE, picture
from oracle.accuracy.points import NEAR as NEAR_ELEMENTWISE
from oracle.report.environment import environment

#: How the standing of our worst derivative error beside torch's is shown.
SIGNS = {"below": "▼", "equal": "=", "above": "▲"}
_KINDS = {"elementwise": "Activations", "features": "Activations over the features", "loss": "Losses", "unknown": "Not measured"}


def ulps(error: float) -> str:
    """An error as a person reads it: two digits, a power of ten where it is large, ∞."""
    if error != error:
        return "not measured"
    if error == float("inf"):
        return "∞"
    if error == 0 or 0.01 <= error < 99.5:
        return f"{error:.2g}"
    return f"{error:.0f}" if 99.5 <= error < 1e4 else f"{error:.1e}"


def number(value: Any, digits: int = 6) -> str:
    """A number, or a list of them, such as the two ends of a set."""
    if isinstance(value, list):
        return f"[{', '.join(number(each, digits) for each in value)}]"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def told_apart(place: dict[str, Any]) -> dict[str, str]:
    """The truth and both answers at an element, with as many digits as it takes to see what differs: six, or all."""
    values = {name: place[name] for name in ("truth", "ours", "torch")}
    exact = {name: number(value, 17) for name, value in values.items()}
    short = {name: number(value) for name, value in values.items()}
    return short if len(set(short.values())) == len(set(exact.values())) else exact


def at(place: dict[str, Any]) -> str:
    """The input of an element, in words."""
    given = place["input"]
    if not isinstance(given, dict):
        return number(given)
    return ", ".join(f"{name} {number(value)}" for name, value in given.items())


def by_function(atlas: Atlas) -> dict[str, list[Measured]]:
    """The dtypes of each function; functions in alphabetical order, the activations before the losses."""
    order = list(_KINDS)
    found: dict[str, list[Measured]] = {}
    for measured in sorted(atlas.functions, key=lambda each: (order.index(each.kind), each.function)):
        found.setdefault(measured.function, []).append(measured)
    return found


def by_kind(atlas: Atlas) -> dict[str, dict[str, list[Measured]]]:
    """The same in groups with a heading."""
    found: dict[str, dict[str, list[Measured]]] = {}
    for function, measured in by_function(atlas).items():
        found.setdefault(_KINDS[measured[0].kind], {})[function] = measured
    return found


def anchor(function: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=-]+", "_", function).strip("_")


def file_name(function: str) -> str:
    return f"{anchor(function)}.svg"


def render(atlas: Atlas, template: str) -> str:
    """Fill a template with the atlas; everything that comes from a record is escaped in HTML."""
    filled = environment(ulps=ulps, number=number, told_apart=told_apart, at=at, anchor=anchor, file_name=file_name)
    text = filled.get_template(template).render(
        atlas=atlas,
        summary=atlas.summary(),
        kinds=by_kind(atlas),
        signs=SIGNS,
        limits={dtype: LIMITS[dtype] for dtype in atlas.dtypes},
        rules={
            "loss": LOSS_LIMIT, "roundoffs": ROUNDOFFS, "equal": EQUAL, "near": NEAR_ELEMENTWISE,
            "near_loss": NEAR, "near_unit": NEAR_OF_UNIT, "near_size": NEAR_OF_SIZE,
        },
        style=STYLE,
        picture=picture,
    )  # fmt: skip
    return text.rstrip() + "\n"
