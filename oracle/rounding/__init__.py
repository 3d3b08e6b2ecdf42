"""The measured rounding scale: Monte Carlo arithmetic on torch's own computation."""

from oracle.rounding.descent import noisy_descent
from oracle.rounding.scales import Hulls, Scales, floor, hulls, movement, scales, unit_roundoff

__all__ = ["Hulls", "Scales", "floor", "hulls", "movement", "noisy_descent", "scales", "unit_roundoff"]
