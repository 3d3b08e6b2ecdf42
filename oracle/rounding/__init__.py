"""The measured rounding scale: Monte Carlo arithmetic on torch's own computation."""

from oracle.rounding.descent import noisy_descent
from oracle.rounding.scales import JUMPS, Hulls, Scale, Scales, floor, furthest, hulls, response, scales, unit_roundoff

__all__ = [
    "JUMPS",
    "Hulls",
    "Scale",
    "Scales",
    "floor",
    "furthest",
    "hulls",
    "noisy_descent",
    "response",
    "scales",
    "unit_roundoff",
]
