"""The picture of errors against step sizes, both on logarithmic scales, as plain numbers for a template that draws SVG."""

from dataclasses import dataclass
from functools import cached_property
from math import log10

from oracle.teach.differences import STEPS, Differences

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 620, 400, 58, 26, 14, 46

#: The decades of relative error that are drawn; what is smaller lies on the lower edge.
LOWEST, HIGHEST = -17, 2


@dataclass(frozen=True)
class Line:
    """One curve: the points of its polyline, and every fourth as (x, y) for its marks."""

    name: str
    points: str
    marks: tuple[tuple[float, float], ...]


class Chart:
    """The curves of some differences in the drawing's own units."""

    def __init__(self, differences: Differences) -> None:
        self.differences = differences

    def x(self, step: float) -> float:
        """Large steps are on the right."""
        share = (log10(step) - log10(STEPS[-1])) / (log10(STEPS[0]) - log10(STEPS[-1]))
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, error: float) -> float:
        """Zero lies on the lower edge."""
        power = min(max(log10(error) if error > 0 else LOWEST, LOWEST), HIGHEST)
        return round(TOP + (HIGHEST - power) / (HIGHEST - LOWEST) * (HEIGHT - TOP - BOTTOM), 1)

    @cached_property
    def lines(self) -> list[Line]:
        return [self._line(curve.name, curve.errors) for curve in self.differences.curves]

    def _line(self, name: str, errors: tuple[float, ...]) -> Line:
        points = [(self.x(h), self.y(error)) for h, error in zip(STEPS, errors, strict=True)]
        return Line(name, " ".join(f"{x},{y}" for x, y in points), tuple(points[::4]))

    @property
    def across(self) -> list[tuple[int, float]]:
        """The powers of ten below the picture, with their place."""
        return [(k, self.x(10.0**k)) for k in range(-16, 0, 3)]

    @property
    def up(self) -> list[tuple[int, float]]:
        """The powers of ten at its side, with their place."""
        return [(k, self.y(10.0**k)) for k in range(LOWEST + 2, HIGHEST + 1, 3)]

    width, height, left, right, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
