"""The instrument: holds hand-written gradients against torch.autograd, layer by layer.

>>> import oracle
>>> case = oracle.build(oracle.Spec.parse("notes/float64/Sigmoid/Sigmoid/HalfSquaredError"), seed=0)
>>> table = oracle.discrepancies(case)
>>> set(table["verdict"])
{'agree'}

torch and pandas are imported when something first needs them, not with this package.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Case": "oracle.case",
    "DoorError": "oracle.doors.errors",
    "GradientError": "oracle.report.answer",
    "Spec": "oracle.case",
    "build": "oracle.inputs",
    "check_backward": "oracle.doors.backward",
    "check_function": "oracle.doors.function",
    "check_module": "oracle.doors.module",
    "check_network": "oracle.doors.network",
    "discrepancies": "oracle.check",
    "inputs_like": "oracle.doors.generate",
    "layerwise_run": "oracle.manual_run",
    "manual_run": "oracle.manual_run",
    "torch_run": "oracle.torch_run",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'oracle' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
