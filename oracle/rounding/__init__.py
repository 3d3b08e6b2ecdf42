"""The measured rounding scale: Monte Carlo arithmetic on torch's own computation."""

from oracle.rounding.descent import noisy_descent
from oracle.rounding.scales import JUMPS, Scale, Scales, Sides, floor, furthest, response, scales, sides, unit_roundoff

__all__ = [
    "JUMPS",
    "Scale",
    "Scales",
    "Sides",
    "floor",
    "furthest",
    "noisy_descent",
    "response",
    "scales",
    "sides",
    "unit_roundoff",
]
