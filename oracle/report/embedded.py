"""The table of a report in a form that a page carries: columns of small numbers and dictionaries, compressed, in base64.

Numbers that agree have three significant digits; where a row does not agree, both values have all of them. The parquet file
beside the page has every digit of every row.
"""

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oracle.data import without_step
from oracle.report.grid import MARKS, SHADES, layer_key
from oracle.report.text import clip
from oracle.verdict import Verdict

if TYPE_CHECKING:
    from oracle.report.model import Report

#: Columns that repeat a few texts or whole numbers, as the page calls them.
TEXTS = ("case", "comparison", "module", "quantity", "symbol", "shape", "dtype", "verdict", "worst_index", "note")
WHOLE = ("position", "layer")
#: Columns of three digits.
NUMBERS = ("sigmas", "max_abs", "max_ulp", "reference", "candidate")
#: The exponents that stand for what is no number.
NAN, INFINITE = 32767, 32766
#: Characters of a text that the page holds.
LONGEST = 1000


class _Bytes:
    """Arrays one behind the other; of each the lowest bytes first, then the next ones, since alike they compress."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, array: NDArray[Any]) -> dict[str, int]:
        """Append it; what is returned tells where it is."""
        little = array.astype(array.dtype.newbyteorder("<"))
        planes = little.view(np.uint8).reshape(len(array), array.dtype.itemsize).T.tobytes()
        place = {"at": self.size, "bytes": array.dtype.itemsize, "count": len(array)}
        self.parts.append(planes)
        self.size += len(planes)
        return place


def decimal(values: NDArray[np.float64]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Three significant digits and a power of ten for each, so that the value is digits * 10 ** power."""
    texts = [f"{value:.2e}" for value in values]
    digits, powers = np.zeros(len(values), np.int16), np.zeros(len(values), np.int16)
    for at, text in enumerate(texts):
        mantissa, found, power = text.partition("e")
        if found:
            digits[at] = int(mantissa.replace(".", ""))
            powers[at] = int(power) - 2 if digits[at] else 0
        else:
            digits[at] = -1 if text[0] == "-" else 1
            powers[at] = NAN if text == "nan" else INFINITE
    return digits, powers


def _narrow(codes: NDArray[Any]) -> NDArray[Any]:
    """In as few bytes as they take."""
    largest = int(codes.max(initial=0))
    return codes.astype(np.uint8 if largest < 256 else np.uint16 if largest < 65536 else np.uint32)


def pack(report: "Report") -> str:
    """The table, and what the page needs to know beside it, as text that HTML carries without escaping."""
    table, body = report.table, _Bytes()
    columns: dict[str, Any] = {}
    for name in TEXTS:
        codes, texts = pd.factorize(table[name].astype(str))
        columns[name] = body.add(_narrow(codes)) | {"texts": [clip(text, LONGEST) for text in texts]}
        if name == "case":
            cases = list(texts)
    for name in WHOLE:
        columns[name] = body.add(_narrow(table[name].to_numpy()))
    values = {name: table[name].to_numpy(np.float64) for name in NUMBERS}
    coded = {name: decimal(array) for name, array in values.items()}
    digits, powers = coded["reference"]  # by hand mostly the same: the differences are mostly 0
    coded["candidate"] = (coded["candidate"][0] - digits, coded["candidate"][1] - powers)
    for name, (digits, powers) in coded.items():
        columns[name] = {"digits": body.add(digits), "powers": body.add(powers)}
    exact = np.flatnonzero((table["verdict"] != Verdict.AGREE).to_numpy())
    head = {
        "rows": len(table),
        "columns": columns,
        "exact": {
            "row": body.add(exact.astype(np.uint32)),
            **{name: body.add(values[name][exact].view(np.uint64)) for name in ("candidate", "reference")},
        },
        "cases": _cases(report, cases),
        "verdicts": {verdict.value: {"mark": MARKS[verdict], "fails": verdict.value in report.fails} for verdict in Verdict},
        "layer": layer_key(table),
        "shades": SHADES,
        "special": {"nan": NAN, "infinite": INFINITE},
        "repeat": {"seed": report.seed, "strict": report.strict},
        "advice": {
            clip(advice.case, LONGEST): [(kind, clip(text, LONGEST)) for kind, text in advice.lines]
            for advice in report.diagnoses
        },
    }
    start = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    whole = b"".join([len(start).to_bytes(4, "little"), start, *body.parts])
    return base64.b64encode(zlib.compress(whole, 7)).decode()


def _cases(report: "Report", names: list[str]) -> dict[str, Any]:
    """What is known of each case: its shape, activations and loss as numbers into lists of them; whether it can be repeated."""
    known = [report.parts[without_step(name)] for name in names]
    activations = list(dict.fromkeys(name for parts in known for name in parts.activations))
    losses = list(dict.fromkeys(parts.loss for parts in known))
    shapes = list(dict.fromkeys(parts.shape for parts in known))
    return {
        "activations": activations,
        "losses": losses,
        "shapes": shapes,
        "activation": [[activations.index(name) for name in parts.activations] for parts in known],
        "loss": [losses.index(parts.loss) for parts in known],
        "shape": [shapes.index(parts.shape) for parts in known],
        "own": [at for at, parts in enumerate(known) if not parts.repeatable],
    }
