"""The atlas of accuracy: how many ulps our values and derivatives, and torch's, are from the truth, and where.

The truth is the referee's. `measure` takes one function in one dtype, `measure_all` many of them on all cores; `Atlas` holds
what they found and writes it.
"""

from oracle.accuracy.atlas import Atlas, measure, measure_all, subjects
from oracle.accuracy.measured import Measured
from oracle.accuracy.sample import Subject

__all__ = ["Atlas", "Measured", "Subject", "measure", "measure_all", "subjects"]
