"""Teaching by comparison: the notes as a page, on any network, and an exercise that is checked as it grows."""

from importlib import import_module
from typing import Any

#: The file of an exercise may run for so many seconds.
TIMEOUT = 20.0

_HOME = {
    "Lesson": "oracle.teach.lessons",
    "lesson": "oracle.teach.lessons",
    "read_network": "oracle.teach.network_file",
    "check_exercise": "oracle.teach.checked",
    "write_exercise": "oracle.teach.exercise",
}
__all__ = ["TIMEOUT", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'oracle.teach' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
