"""The picture of one function: the worst error in each slice of the inputs, by hand and torch, for every dtype.

Drawn by hand as SVG: some hundred pictures of eight panels each would be ten times as large, and as slow, from matplotlib.
"""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from oracle.accuracy.measured import Measured
from oracle.accuracy.slices import HALF, Slices, position

#: Pixels of a panel, between panels, and around them; and the decades of an error that a panel shows.
WIDTH, HEIGHT, GAP, LEFT, TOP, BOTTOM = 202, 96, 14, 62, 22, 34
LOWEST, HIGHEST = -1.0, 17.0
_INFINITE = 7  # pixels of the row on top for what is infinitely wrong
_TICKS = (1, 1e5, 1e10, 1e15)
_MINUS = "\N{MINUS SIGN}"
_INPUTS = (-1e4, -10, -0.1, 0, 0.1, 10, 1e4)

STYLE = (
    ".acc{font:10px system-ui,sans-serif;color:#1c2127}.acc text{fill:currentColor}.acc .f{fill:none;stroke:currentColor;"
    "stroke-opacity:.35}.acc .g{stroke:currentColor;stroke-opacity:.14}.acc .l{stroke:currentColor;stroke-dasharray:3 3;"
    "stroke-opacity:.7}.acc .o{fill:#3b7dd8;fill-opacity:.75}.acc .t{fill:none;stroke:#d1601f;stroke-width:2}"
    "@media(prefers-color-scheme:dark){.acc{color:#e6e9ec}.acc .o{fill:#6ea8ff}.acc .t{stroke:#ffa066}}"
)


def picture(function: str, measured: Sequence[Measured], *, alone: bool = False) -> str:
    """The picture as SVG; `alone` brings its own style and background, for a file of its own."""
    columns, rows = len(measured), ("value", "derivative")
    width = LEFT + columns * (WIDTH + GAP)
    height = TOP + len(rows) * (HEIGHT + GAP) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="acc" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(_label(function, measured))}">'
    ]
    if alone:
        parts.append(f"<title>{escape(function)}</title><style>{STYLE}</style>")
    for row, name in enumerate(rows):
        y = TOP + row * (HEIGHT + GAP)
        parts.append(f'<text transform="translate(11 {y + HEIGHT / 2:.0f}) rotate(-90)" text-anchor="middle">{name}, ulps</text>')
        parts += [f'<text x="{LEFT - 5}" y="{y + _height(tick) + 3}" text-anchor="end">{_power(tick)}</text>' for tick in _TICKS]
        parts.append(f'<text x="{LEFT - 5}" y="{y + 7}" text-anchor="end">∞</text>')
        for column, each in enumerate(measured):
            x = LEFT + column * (WIDTH + GAP)
            if row == 0:
                parts.append(f'<text x="{x}" y="{y - 7}" font-weight="600">{each.dtype}</text>')
            limit = each.value_limit if name == "value" else each.derivative_limit
            parts.append(f'<g transform="translate({x} {y})">{_panel(each, name, limit)}{_axis() if row else ""}</g>')
    parts.append(f'<text x="{LEFT}" y="{height - 4}">{_caption(measured[0])}</text></svg>')
    return "".join(parts) + ("\n" if alone else "")


def _label(function: str, measured: Sequence[Measured]) -> str:
    errors = ", ".join(f"{m.dtype} {m.ours_derivative_ulp:.2g} and {m.torch_derivative_ulp:.2g}" for m in measured)
    return f"{function}: worst errors in ulps over the inputs; of the derivative by hand and torch: {errors}"


def _caption(measured: Measured) -> str:
    axis = "input" if measured.kind == "elementwise" else "input, or how far it is above the others"
    return f"{axis}: linear to 0.001, logarithmic from there, at the ends all that lies beyond 10⁴"


def _panel(measured: Measured, name: str, limit: float | None) -> str:
    grid = "".join(f"M0 {_height(tick)}H{WIDTH}" for tick in _TICKS)
    parts = [f'<path class="g" d="{grid}"/>']
    if limit is not None and limit < np.inf:
        parts.append(f'<path class="l" d="M0 {_height(limit)}H{WIDTH}"/>')
    if f"ours_{name}" in measured.slices:
        parts.append(f'<path class="o" d="{_area(measured.slices[f"ours_{name}"])}"/>')
        parts.append(f'<path class="t" d="{_dashes(measured.slices[f"torch_{name}"])}"/>')
    parts.append(f'<path class="f" d="M0 0V{HEIGHT}H{WIDTH}"/>')
    return "".join(parts)


def _axis() -> str:
    marks = [(round(_x(float(position(np.array([value]))[0]))), value) for value in _INPUTS]
    ticks = "".join(f"M{x} {HEIGHT}v3" for x, _ in marks)
    texts = ""
    for x, value in marks:
        anchor = "start" if x == 0 else "end" if x == WIDTH else "middle"  # the ends of neighbours would run into each other
        texts += f'<text x="{x}" y="{HEIGHT + 13}" text-anchor="{anchor}">{_power(value)}</text>'
    return f'<path class="f" d="{ticks}"/>{texts}'


def _x(at: float) -> float:
    return (at + 1) / 2 * WIDTH


def _edges(slice_: int) -> tuple[int, int]:
    """Pixels at which a slice begins and ends."""
    step = WIDTH / (2 * HALF + 1)
    return round(slice_ * step), round((slice_ + 1) * step)


def _height(error: float) -> int:
    """Pixels from the top of a panel."""
    if math.isinf(error):
        return 3
    if error <= 0:
        return HEIGHT
    share = (min(max(math.log10(error), LOWEST), HIGHEST) - LOWEST) / (HIGHEST - LOWEST)
    return round(HEIGHT - share * (HEIGHT - _INFINITE))


def _runs(slices: Slices) -> list[tuple[int, int, int]]:
    """Neighbouring slices of one height, joined: (first pixel, last pixel, height)."""
    runs: list[tuple[int, int, int]] = []
    for at, worst in zip(slices.at, slices.worst, strict=True):
        left, right = _edges(at)
        height = _height(worst)
        if runs and runs[-1][1] == left and runs[-1][2] == height:
            runs[-1] = runs[-1][0], right, height
        else:
            runs.append((left, right, height))
    return runs


def _area(slices: Slices) -> str:
    """From the bottom up to the errors."""
    runs = _runs(slices)
    found = [f"M{runs[0][0]} {HEIGHT}V{runs[0][2]}H{runs[0][1]}"] if runs else []
    for before, (left, right, height) in pairwise([*runs[:1], *runs]):
        if (left, right) == before[:2]:
            continue
        found.append(f"V{height}H{right}" if before[1] == left else f"V{HEIGHT}H{left}V{height}H{right}")
    return "".join(found) + (f"V{HEIGHT}z" if runs else "")


def _dashes(slices: Slices) -> str:
    """A stroke for every run, wide enough to be seen."""
    found = ""
    for left, right, height in _runs(slices):
        wider = max(0, 4 - (right - left)) / 2
        found += f"M{left - wider:g} {height}H{right + wider:g}"
    return found


def _power(value: float) -> str:
    """1e15 as 10 with a raised 15; small powers as they are."""
    if value and (abs(value) >= 1e3 or abs(value) < 1e-2):
        exponent = str(round(math.log10(abs(value)))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{_MINUS if value < 0 else ''}10{exponent}"
    return f"{value:g}".replace("-", _MINUS)
