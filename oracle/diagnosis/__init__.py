"""Where a failing gradient goes wrong, and which mistake it is."""

from oracle.diagnosis.diagnosis import Diagnosis, Line, Match, Part, diagnose
from oracle.diagnosis.location import Location

__all__ = ["Diagnosis", "Line", "Location", "Match", "Part", "diagnose"]
