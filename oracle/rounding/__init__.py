"""The measured rounding scale: Monte Carlo arithmetic on torch's own computation."""

from oracle.rounding.descent import noisy_descent
from oracle.rounding.scales import Hulls, Scale, Scales, floor, hulls, movement, response, scales, unit_roundoff

__all__ = ["Hulls", "Scale", "Scales", "floor", "hulls", "movement", "noisy_descent", "response", "scales", "unit_roundoff"]
