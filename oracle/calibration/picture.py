"""The picture: for each dtype, how many arrays have their worst element so many sigmas away.

Drawn as SVG that takes its colour from the page around it.
"""

import math
from collections import Counter
from collections.abc import Mapping

from oracle.calibration.tally import EDGES
from oracle.verdict import TOLERANCE

#: Pixels of a panel, between panels, and around them.
WIDTH, HEIGHT, GAP, LEFT, TOP, BOTTOM = 780, 110, 34, 64, 34, 36
#: What the axis of sigmas shows; what lies beyond is counted in the bars at its ends.
LOWEST, HIGHEST = EDGES[1], EDGES[-2]
_TICKS = (1e-3, 1e-2, 0.1, 1, 10, 100, 1000)

STYLE = (
    ".cal{font:11px system-ui,sans-serif}.cal text{fill:currentColor}.cal .f{fill:none;stroke:currentColor;stroke-opacity:.35}"
    ".cal .g{stroke:currentColor;stroke-opacity:.12}.cal .l{stroke:currentColor;stroke-dasharray:4 3}"
    ".cal .j{fill:#3b7dd8}.cal .s{fill:#d9822b}"
)


def picture(figures: Mapping[str, Mapping[str, object]], histograms: Mapping[str, tuple[Counter[int], Counter[int]]]) -> str:
    """One panel for each dtype, with the arrays that the scale judges and, on top of each other, those that are settled."""
    height = TOP + len(histograms) * (HEIGHT + GAP) + BOTTOM - GAP
    told = ", ".join(f"{dtype} {found['median']:.2g}" for dtype, found in figures.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cal" viewBox="0 0 {LEFT + WIDTH + 16} {height}" role="img" '
        f'aria-label="Histograms of the worst error of each array in sigmas, by dtype; medians: {told}">'
    ]
    for number, (dtype, (judged, settled)) in enumerate(histograms.items()):
        y = TOP + number * (HEIGHT + GAP)
        parts.append(f'<g transform="translate({LEFT} {y})">{_panel(dtype, judged, settled)}</g>')
    for share, text, anchor in ((0.5, "half the allowance", "end"), (1.0, f"allowed: {TOLERANCE:g}", "start")):
        x = LEFT + _x(share * TOLERANCE)
        parts.append(f'<text x="{x + (-3 if anchor == "end" else 3):.0f}" y="{TOP - 18}" text-anchor="{anchor}">{text}</text>')
        parts.append(f'<path class="l" d="M{x:.1f} {TOP - 14}V{height - BOTTOM}"/>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{height - 4}" text-anchor="middle">sigmas at the worst element</text></svg>')
    return "".join(parts)


def _panel(dtype: str, judged: Counter[int], settled: Counter[int]) -> str:
    whole = judged + settled
    top = max(10.0, max(whole.values(), default=0) * 1.3)
    ticks = [10**power for power in range(math.ceil(math.log10(top)))]
    grid = "".join(f"M0 {_y(tick, top):.1f}H{WIDTH}" for tick in ticks)
    marks = "".join(f"M{_x(tick):.1f} {HEIGHT}v4" for tick in _TICKS)
    counts = "".join(f'<text x="-6" y="{_y(tick, top) + 4:.1f}" text-anchor="end">{tick:,}</text>' for tick in ticks[::2])
    sigmas = "".join(f'<text x="{_x(tick):.1f}" y="{HEIGHT + 16}" text-anchor="middle">{tick:g}</text>' for tick in _TICKS)
    return (
        f'<text x="0" y="-6" font-weight="600">{dtype}</text>{counts}{sigmas}<path class="g" d="{grid}"/>'
        f'<path class="s" d="{_bars(whole, top)}"/><path class="j" d="{_bars(judged, top)}"/>'
        f'<path class="f" d="M0 0V{HEIGHT}H{WIDTH}{marks}"/>'
    )


def _bars(bins: Counter[int], top: float) -> str:
    last = len(EDGES) - 2
    found = ""
    for at in sorted(at for at in bins if at >= 0):
        left, right = _x(EDGES[at] if at else LOWEST) - 4 * (at == 0), _x(EDGES[at + 1]) + 4 * (at == last)
        found += f"M{left:.1f} {HEIGHT}V{_y(bins[at], top):.1f}H{right:.1f}V{HEIGHT}z"
    return found


def _x(sigmas: float) -> float:
    share = math.log(min(max(sigmas, LOWEST), HIGHEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return 6 + share * (WIDTH - 12)


def _y(count: float, top: float) -> float:
    """Logarithmic from half an array, so that a single one is seen."""
    return HEIGHT * (1 - math.log(count / 0.5) / math.log(top / 0.5))
