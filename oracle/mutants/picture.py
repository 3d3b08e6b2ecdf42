"""The picture: one square for each mistake and dtype, by family, in the colour of the worst that happened there."""

from collections import Counter
from html import escape

from oracle.mutants.detection import Detection, by_family
from oracle.mutants.trial import Outcome

#: Pixels of a square, from one to the next, left of them and between families.
SIDE, STEP, LEFT, GAP = 13, 16, 160, 14
#: The classes of the squares with what they say, the worst first.
KEYS = {
    "m": "missed somewhere",
    "x": "misnamed somewhere",
    "u": "found everywhere, not named somewhere",
    "c": "named everywhere, somewhere with others of the same effect",
    "n": "named everywhere and alone",
    "e": "shows nowhere (equivalent)",
}
_CLASSES = {
    Outcome.MISSED: "m",
    Outcome.MISNAMED: "x",
    Outcome.UNMATCHED: "u",
    Outcome.NAMED_IN_CLASS: "c",
    Outcome.NAMED: "n",
    Outcome.EQUIVALENT: "e",
}
_COLOURS = {"m": "#c62828", "x": "#8e24aa", "u": "#e08a1e", "c": "#8fc1e8", "n": "#2f6fb5"}
STYLE = (
    ".mut{font:11px system-ui,sans-serif;color:var(--ink)}.mut text{fill:currentColor}.mut .d{font-size:9px;fill-opacity:.65}"
    + "".join(f".mut .{mark}{{fill:{colour}}}.key.{mark}{{background:{colour}}}" for mark, colour in _COLOURS.items())
    + ".mut .e{fill:none;stroke:currentColor;stroke-opacity:.4}.key.e{border:1px solid var(--soft)}"
)


def picture(detection: Detection) -> str:
    """The squares as SVG; each says in its title what it counts."""
    outcomes: dict[tuple[str, str], Counter[str]] = {}
    for trial in detection.trials:
        outcomes.setdefault((trial.mistake, trial.dtype), Counter())[trial.outcome] += 1
    planted = {name for name, _ in outcomes}
    families = {family: [each.name for each in own if each.name in planted] for family, own in by_family().items()}
    families = {family: names for family, names in families.items() if names}
    dtypes = detection.dtypes
    block = len(dtypes) * STEP + GAP
    width = LEFT + STEP * max(map(len, families.values()), default=0)
    parts = []
    for number, (family, names) in enumerate(families.items()):
        top = number * block
        parts.append(f'<text x="0" y="{top + STEP - 4}" font-weight="600">{escape(family)}</text>')
        for row, dtype in enumerate(dtypes):
            y = top + row * STEP
            parts.append(f'<text class="d" x="{LEFT - 8}" y="{y + SIDE - 3}" text-anchor="end">{dtype}</text>')
            for column, name in enumerate(names):
                if counted := outcomes.get((name, dtype)):
                    worst = next(mark for outcome, mark in _CLASSES.items() if counted[outcome])
                    told = ", ".join(
                        f"{counted[outcome]} {outcome.replace('_', ' ')}" for outcome in _CLASSES if counted[outcome]
                    )
                    parts.append(
                        f'<rect class="{worst}" x="{LEFT + column * STEP}" y="{y}" width="{SIDE}" height="{SIDE}" rx="2">'
                        f"<title>{escape(name)}, {dtype}: {told}</title></rect>"
                    )
    head = (
        f'<svg class="mut" viewBox="-1 0 {width + 2} {len(families) * block}" style="max-width:{width * 1.35:.0f}px" role="img" '
        f'aria-label="What became of each mistake in each dtype, by family; the tables below have the numbers">'
    )
    return f"{head}{''.join(parts)}</svg>"
