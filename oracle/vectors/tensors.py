"""The same documents in safetensors, for large arrays: 8 bytes with the header's length, the header in JSON, all arrays as bytes.

The tensors are named given/x, quantities/dC/dW[1], allowed/dC/dW[1], and the rest of the document is in the header; an answer
has quantities alone. https://github.com/huggingface/safetensors#format
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.case import DTYPES
from oracle.vectors.arrays import Tensor, read_shape
from oracle.vectors.reading import At, VectorsError, parse, read_bytes, shown

#: A file of arrays is read up to this size.
MOST_BYTES = 4 << 30
#: The document without its arrays stands under this key of the header's metadata, as JSON in a text.
METADATA, DOCUMENT = "__metadata__", "document"
#: The format's names of the dtypes that are frozen; its numbers are little-endian.
NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}
_OF_DTYPE = {dtype: name for name, dtype in NAMES.items()}


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document whose arrays are in `given` and `quantities`, as `case_document` returns it."""
    arrays = {f"{part}/{sign}": pair[0] for part in ("given", "quantities") for sign, pair in document[part].items()}
    arrays |= {f"allowed/{sign}": pair[1] for sign, pair in document["quantities"].items()}
    others = {key: value for key, value in document.items() if key not in ("given", "quantities")}
    header: dict[str, Any] = {METADATA: {DOCUMENT: json.dumps(others, allow_nan=False)}}
    content, size = [], 0
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize):  # so that each is aligned
        content.append(np.ascontiguousarray(array).tobytes())
        end = size + len(content[-1])
        header[name] = {"dtype": _OF_DTYPE[str(array.dtype)], "shape": list(array.shape), "data_offsets": [size, end]}
        size = end
    start = json.dumps(header).encode()
    start += b" " * (-len(start) % 8)
    path.write_bytes(len(start).to_bytes(8, "little") + start + b"".join(content))


def read(path: Path) -> At:
    """The document of a file, with its arrays as tensors. Raises VectorsError."""
    content, name = read_bytes(path, MOST_BYTES), shown(path)
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise VectorsError(f"{name} is no safetensors file: it has {len(content)} bytes, and its header would have {length}.")
    header = At(parse(content[8 : 8 + length], f"{name}: the header").value, name)
    arrays: dict[str, dict[str, NDArray[Any]]] = {"given": {}, "quantities": {}, "allowed": {}}
    for key, entry in header.entries("a header, an object with an entry for each tensor"):
        if key == METADATA:
            continue
        part, _, sign = key.partition("/")
        if part not in arrays or not sign:
            raise VectorsError(f"{name} takes tensors named given/, quantities/ or allowed/ and a sign; got {key[:60]!r}.")
        arrays[part][sign] = _array(entry, memoryview(content)[8 + length :])
    return At(_document(header) | dict(_parts(name, **arrays)), name)


def _document(header: At) -> dict[str, Any]:
    if METADATA not in header.value:
        raise VectorsError(f"{header.where} takes the key {METADATA}, with the document in it; it is missing.")
    held = header.at(METADATA).keys((DOCUMENT,)).at(DOCUMENT)
    document = parse(held.text("the document without its arrays, as JSON").encode("utf-8", "surrogatepass"), held.where)
    if not isinstance(document.value, dict) or document.value.keys() & {"given", "quantities"}:
        document.refuse("an object without given and quantities, which are tensors here")
    return dict(document.value)


def _parts(file: str, given: Mapping[str, Any], quantities: Mapping[str, Any], allowed: Mapping[str, Any]) -> Iterator[Any]:
    for sign in allowed:
        if sign not in quantities:
            raise VectorsError(f"{file}: a tensor {f'allowed/{sign[:60]}'!r} stands beside one of quantities; there is none.")
    yield "quantities", {sign: Tensor(array, allowed.get(sign)) for sign, array in quantities.items()}
    if given:
        yield "given", {sign: Tensor(array) for sign, array in given.items()}


def _array(entry: At, content: memoryview) -> NDArray[Any]:
    entry.keys(("dtype", "shape", "data_offsets"))
    name = NAMES[entry.at("dtype").text(among=tuple(NAMES))]
    dtype = DTYPES.get(name, np.dtype(name))
    shape = read_shape(entry.at("shape"))
    offsets = [each.whole() for each in entry.at("data_offsets").items("where the array begins and ends")]
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= len(content):
        entry.at("data_offsets").refuse(f"where the array begins and ends in {len(content)} bytes")
    if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        entry.at("data_offsets").refuse(f"{math.prod(shape) * dtype.itemsize} bytes for the shape {list(shape)} in {name}")
    return np.frombuffer(content[offsets[0] : offsets[1]], dtype).reshape(shape)
