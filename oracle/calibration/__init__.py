"""Correct networks, drawn at random, must raise no alarm; and how large the actual errors are, beside their rounding scales.

`calibrate` compares many drawn networks on all cores and keeps counts alone, a `Tally`; `Calibration` holds what they say and
writes it. As with the whole package, torch is imported when something first needs it.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Calibration": "oracle.calibration.model",
    "Tally": "oracle.calibration.tally",
    "calibrate": "oracle.calibration.run",
    "count": "oracle.calibration.run",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'oracle.calibration' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
