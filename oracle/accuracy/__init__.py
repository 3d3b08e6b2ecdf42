"""The atlas of accuracy: how many ulps our values and derivatives, and torch's, are from the truth, and where.

The truth is the referee's. `subjects` are the functions to measure; `measure` takes one of them, `measure_all` many on all cores;
`Atlas` holds what they found and writes it. As with the whole package, torch is imported when something first needs it.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Atlas": "oracle.accuracy.atlas",
    "Measured": "oracle.accuracy.measured",
    "Subject": "oracle.accuracy.subject",
    "measure": "oracle.accuracy.run",
    "measure_all": "oracle.accuracy.run",
    "subjects": "oracle.accuracy.subject",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'oracle.accuracy' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
