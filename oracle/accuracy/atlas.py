"""The atlas: every function of the catalogue in every dtype, measured on all cores."""

import csv
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from manualbp import Activation, Loss
from oracle.accuracy import elementwise, features, losses
from oracle.accuracy.measured import EQUAL, Measured, allowed, figures
from oracle.accuracy.sample import Subject
from oracle.case import DTYPES, parse_dtype
from oracle.referee.registry import NoDefinition, definition
from oracle.report.model import readable, versions
from oracle.suite import chosen
from oracle.sweep import _pool as pool
from oracle.sweep import one_thread

_MEASURES = {"elementwise": elementwise.measure, "features": features.measure, "loss": losses.measure}
#: Places listed where torch is most wrong.
MOST = 10
#: Figures that a record of the JSON does not hold: they are the pictures'.
_HIDDEN = ("slices", "unmeasured")


def subjects(activations: Sequence[str] = (), loss_names: Sequence[str] = (), dtypes: Sequence[str] = ()) -> list[Subject]:
    """What the names ask for, all of it when there are none; where one kind is named and the other is not, of that kind alone.

    Every example of every activation, once more for the gradient of its parameter where it has one slope for each row; of the
    losses those that are sums, since a mean only divides. Raises SpecError for a name that does not exist.
    """
    wanted = [parse_dtype(name) for name in dtypes] or list(DTYPES)
    found: list[tuple[Any, str]] = []
    if activations or not loss_names:
        for activation in chosen(activations, Activation):
            found.append((activation, ""))
            if activation.options().get("num_parameters") == 1:
                found += [(activation, name) for name in activation.parameter_shapes()]
    if loss_names or not activations:
        found += [(_sum(loss), "") for loss in chosen(loss_names, Loss)]
    return [Subject(record, dtype, wrt) for record, wrt in dict.fromkeys(found) for dtype in dict.fromkeys(wanted)]


def _sum(loss: Any) -> Any:
    return replace(loss, reduction="sum") if "sum" in getattr(loss, "reductions", ()) else loss


def measure(subject: Subject, inputs: int, seed: int) -> Measured:
    """The figures of one function in one dtype.

    A function that the referee does not know is `unmeasured`; one that cannot be measured for another reason misses the
    criterion, without numbers, and its note says why.
    """
    kind = "loss" if isinstance(subject.record, Loss) else "unknown"
    try:
        kind = definition(subject.record).kind
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # at infinities NumPy's casts warn, and torch about what it will change
            return figures(subject, kind, _MEASURES[kind](subject, inputs, seed))
    except Exception as error:  # one function's trouble is not the others'
        value_limit, limit = allowed(kind, subject.dtype)
        return Measured(
            subject.function, kind, subject.dtype, 0, value_limit=value_limit, derivative_limit=limit,
            note=f"{type(error).__name__}: {error}", unmeasured=isinstance(error, NoDefinition),
        )  # fmt: skip


def measure_all(
    wanted: Sequence[Subject], inputs: int, seed: int, *, jobs: int = 1, progress: Callable[[int], None] | None = None
) -> list[Measured]:
    """Measure all of them, in their order; `progress` is told each time how many were finished.

    `jobs` is the number of processes, 1 means this one. The result does not depend on it.
    """
    tell = progress or (lambda _: None)
    found: list[Any] = [None] * len(wanted)
    if jobs <= 1:
        one_thread()
        for number, subject in enumerate(wanted):
            found[number] = measure(subject, inputs, seed)
            tell(1)
        return found
    with pool(jobs) as workers:
        numbers: dict[Future[Measured], int] = {
            workers.submit(measure, subject, inputs, seed): number for number, subject in enumerate(wanted)
        }
        for future in as_completed(numbers):
            found[numbers[future]] = future.result()
            tell(1)
    return found


@dataclass(frozen=True)
class Atlas:
    """What was measured, and how it came to be."""

    found: Sequence[Measured]
    inputs: int
    seed: int = 0
    seconds: float = math.nan
    command: str = ""
    jobs: int = 1
    versions: dict[str, str] = field(
        default_factory=lambda: versions() | {name: version(name) for name in ("python-flint", "ml_dtypes")}
    )

    @cached_property
    def functions(self) -> list[Measured]:
        """The functions the referee knows."""
        return [measured for measured in self.found if not measured.unmeasured]

    @property
    def unmeasured(self) -> list[str]:
        """The names of the others."""
        return list(dict.fromkeys(measured.function for measured in self.found if measured.unmeasured))

    @property
    def ok(self) -> bool:
        """True when something was measured and the criteria hold everywhere."""
        return bool(self.functions) and all(measured.holds for measured in self.functions)

    @property
    def misses(self) -> list[Measured]:
        return [measured for measured in self.functions if not measured.holds]

    @property
    def above(self) -> list[Measured]:
        """Where our worst derivative error is above torch's by more than one ulp."""
        return [measured for measured in self.functions if measured.standing == "above"]

    @cached_property
    def torch_most_wrong(self) -> list[tuple[Measured, str]]:
        """Measured and "value" or "derivative": the largest errors of torch at finite numbers, at most one of each class."""
        found: dict[str, tuple[float, Measured, str]] = {}
        for measured in self.functions:
            for name in ("derivative", "value"):
                error = _at_finite_input(measured, name)
                family = measured.function.partition("(")[0]
                if error > found.get(family, (0.0,))[0]:
                    found[family] = error, measured, name
        ordered = sorted(found.values(), key=lambda entry: -entry[0])
        return [(measured, name) for _, measured, name in ordered[:MOST]]

    def standings(self, dtype: str = "") -> dict[str, int]:
        """On how many functions our worst derivative error is below torch's, equal, above; in one dtype or in all."""
        counts = Counter(measured.standing for measured in self.functions if dtype in ("", measured.dtype))
        return {name: counts[name] for name in ("below", "equal", "above")}

    @property
    def sentence(self) -> str:
        """The summary line."""
        counts = self.standings()
        named = f" ({', '.join(measured.name for measured in self.above)})" if self.above else ""
        return (
            f"Our worst derivative error is below torch's on {counts['below']} of {len(self.functions)} functions (function x "
            f"dtype), equal within {EQUAL:g} ulp on {counts['equal']}, above by more than that on {counts['above']}{named}."
        )

    @property
    def answer(self) -> str:
        """Whether the criteria hold, in a sentence."""
        count = len(self.functions)
        if self.ok:
            return f"By hand, every value and derivative meets the criterion, on all {count} functions (function x dtype)."
        return f"By hand, {len(self.misses)} of {count} functions (function x dtype) miss the criterion."

    def summary(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "answer": self.answer,
            "sentence": self.sentence,
            "functions": len(self.functions),
            **self.standings(),
            "above_by_more_than_one_ulp": [measured.name for measured in self.above],
            "by_dtype": {dtype: self.standings(dtype) for dtype in self.dtypes},
            "unmeasured": self.unmeasured,
            "misses": [measured.name for measured in self.misses],
            "torch_most_wrong": [
                {"function": measured.function, "dtype": measured.dtype, "quantity": name} | measured.where[f"torch_{name}"]
                for measured, name in self.torch_most_wrong
            ],
            "inputs": sum(measured.inputs for measured in self.functions),
            "inputs_per_function": self.inputs,
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
            "jobs": self.jobs,
            "command": self.command,
        }

    @property
    def dtypes(self) -> list[str]:
        return [dtype for dtype in DTYPES if any(measured.dtype == dtype for measured in self.functions)]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary for each function and dtype."""
        names = [each.name for each in fields(Measured) if each.name not in _HIDDEN]
        return [
            {name: getattr(measured, name) for name in names} | {"standing": measured.standing, "holds": measured.holds}
            for measured in self.functions
        ]

    def to_json(self) -> str:
        """{"summary", "functions", "versions"}; numbers that are not finite are written as text."""
        document = {"summary": self.summary(), "functions": self.records(), "versions": self.versions}
        return json.dumps(readable(document), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        out = io.StringIO()
        rows = []
        for record in self.records():
            places = record.pop("where")
            for name, place in places.items():
                record |= {f"{name}_{key}": json.dumps(readable(place[key])) for key in ("input", "truth", "found")}
            rows.append(record)
        header = max((list(row) for row in rows), key=len, default=[])
        writer = csv.DictWriter(out, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def write(self, folder: Path) -> None:
        """Write accuracy.json, .csv, .md, .html and a picture of every function into the folder; all of them, or none.

        Raises OutputError where the folder, or the disk it is on, does not take them.
        """
        from oracle.accuracy.page import by_function, file_name, render
        from oracle.accuracy.picture import picture
        from oracle.files import Batch

        with Batch(folder) as batch:
            batch.text("accuracy.json", self.to_json() + "\n")
            batch.text("accuracy.csv", self.to_csv())
            batch.text("accuracy.md", render(self, "accuracy.md.j2"))
            batch.text("accuracy.html", render(self, "accuracy.html.j2"))
            for function, measured in by_function(self).items():
                batch.text(file_name(function), picture(function, measured, alone=True))


def _at_finite_input(measured: Measured, name: str) -> float:
    """The worst error of torch's value or derivative, 0 where that is at an infinite input or was not measured."""
    place = measured.where.get(f"torch_{name}")
    if place is None:
        return 0.0
    given = place["input"]
    inputs = np.array(given.get("column", given.get("z")) if isinstance(given, dict) else given, float)
    error: float = getattr(measured, f"torch_{name}_ulp")
    return error if np.isfinite(inputs).all() and not math.isnan(error) else 0.0
