"""A network with its numbers from a small TOML file.

name = "my own"
loss = "HalfSquaredError"
x = [[0.5], [-1.0], [0.25]]      # one row for each input node, one column for each sample; or a list, for one sample
target = [[1.0], [0.0]]

[[layer]]
weight = [[0.2, -0.5, 0.9], [0.7, 0.3, -0.4]]   # one row for each node of the layer
bias = [0.1, -0.2]
activation = "Sigmoid"
"""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from manualbp import Activation, Linear, Loss, Network
from manualbp.layer import Layer
from oracle.case import DTYPES, Case, SpecError, parse_dtype, parse_record

KEYS = ("name", "dtype", "loss", "x", "target", "layer")
LAYER_KEYS = ("weight", "bias", "activation")
#: What is larger is no network to go through by hand.
LARGEST = 1_000_000


def read_network(path: Path) -> Case:
    """The case that a file describes. Raises SpecError, which says what the file lacks, before anything is computed."""
    try:
        if path.stat().st_size > LARGEST:
            raise SpecError(f"{path}: a network file takes up to {LARGEST:,} bytes; got {path.stat().st_size:,}.")
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: a network file takes UTF-8 text; byte {error.start} is not.") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path}: this is not TOML: {error or 'nested too deeply'}.") from error
    try:
        return _case(given, path.stem)
    except (ValueError, TypeError) as error:
        raise SpecError(f"{path}: {error}") from error


def _case(given: dict[str, Any], name: str) -> Case:
    _known(given, KEYS, "a network file")
    dtype = DTYPES[parse_dtype(_text(given, "dtype", "float64"))]
    layers: list[Layer] = []
    params: list[dict[str, Any]] = []
    listed = given.get("layer")
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise SpecError("a network file takes at least one [[layer]] with weight, bias and activation.")
    for l, own in enumerate(listed, start=1):
        _known(own, LAYER_KEYS, f"layer {l}")
        weight = _numbers(own, "weight", dtype, 2, f"layer {l}: ")
        bias = {"bias": _numbers(own, "bias", dtype, 1, f"layer {l}: ")} if "bias" in own else {}
        activation = parse_record(_text(own, "activation", "Identity"), Activation)
        if activation.parameter_shapes():
            raise SpecError(f"layer {l}: a network file takes activations without parameters; got {activation}.")
        layers += [Linear(weight.shape[1], weight.shape[0], bool(bias)), activation]
        params += [{"weight": weight, **bias}, {}]
    loss = parse_record(_text(given, "loss", ""), Loss)
    network = Network(tuple(layers), loss)
    x = _columns(_numbers(given, "x", dtype, None))
    name = _text(given, "name", name)
    case = Case(name, network, tuple(params), x, _columns(_numbers(given, "target", dtype, None)))
    labels = np.array(given["target"])
    if labels.dtype.kind == "i" and labels.shape == x.shape[1:] and _takes(case, labels):
        return replace(case, target=labels)
    network.check(case.params, case.x, case.target)
    return case


def _takes(case: Case, labels: Any) -> bool:
    """Whether the loss takes whole numbers, the classes of the samples."""
    try:
        case.network.check(case.params, case.x, labels)
    except (ValueError, TypeError):
        return False
    return True


def _known(given: dict[str, Any], keys: tuple[str, ...], what: str) -> None:
    strange = [key for key in given if key not in keys]
    if strange:
        raise SpecError(f"{what} takes {', '.join(keys)}; got {strange[0]!r}.")


def _text(given: dict[str, Any], key: str, default: str) -> str:
    value = given.get(key, default)
    if not isinstance(value, str) or not value:
        raise SpecError(f"{key} takes a name in quotes; got {value!r}.")
    return value


def _numbers(given: dict[str, Any], key: str, dtype: Any, axes: int | None, where: str = "") -> Any:
    value = given.get(key)
    try:
        if not isinstance(value, list):
            raise ValueError
        found = np.array(value)
        if found.dtype.kind not in "if" or found.size == 0 or not np.isfinite(found).all():
            raise ValueError
    except ValueError:
        rule = "a list of numbers, or a list of rows of the same length"
        raise SpecError(f"{where}{key} takes {rule}; got {str(value)[:60] if key in given else 'nothing'}.") from None
    if axes is not None and found.ndim != axes:
        raise SpecError(f"{where}{key} takes {('a list', 'a list of rows')[axes - 1]}; got {found.ndim} axes.")
    return found.astype(dtype)


def _columns(array: Any) -> Any:
    return array[:, None] if array.ndim == 1 else array
