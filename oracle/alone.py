"""One activation or loss alone: no network around it, its input drawn from a regime, its upstream gradient random.

Written alone/SHAPE/DTYPE/RECORD/REGIME, for example alone/4x2x3x5/float32/GELU/extremes; the shape is that of the output of an
activation and of one input of a loss, features first, batch last.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np

from manualbp import Activation, LogSoftmax, Loss, Network, catalogue, init
from manualbp.blocks import Array
from manualbp.targets import NoTarget, Sequences
from oracle.case import DTYPES, Case, SpecError, parse_dtype, parse_record, unknown
from oracle.inputs import generator, upstream
from oracle.regimes import REGIMES, draw, extreme_vectors, neighbour

PREFIX = "alone/"
#: Shapes for each regime, with 0, 1 or 2 axes between features and batch: large enough to hold every special number.
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "generic": ((5, 7), (4, 7, 3), (4, 2, 3, 5)),
    "kinks": ((3, 31), (3, 3, 11), (3, 2, 3, 7)),
    "extremes": ((6, 31), (4, 3, 11), (4, 2, 3, 7)),
}
#: Axes in between for records that take any number of them.
RANKS = {"generic": (2,), "kinks": (0,), "extremes": (0,)}


@dataclass(frozen=True)
class _Upstream(Loss):
    """C = <y, a>, so that dC/da is the target y: an upstream gradient of one's choice."""

    formula: ClassVar[str] = "sum y a"
    derivative_formula: ClassVar[str] = "y"
    reduction = "sum"

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        return target * input, target

    def gradient(self, saved: Any, scale: Array) -> Array:
        return saved * scale


UPSTREAM = _Upstream()
#: Logits of label sequences go from here to its negative: that every path has probability 0 is no question to ask.
SMALLEST_LOG = -300.0


def is_alone(text: str) -> bool:
    """True for a text that names a record alone."""
    return text.startswith(PREFIX)


@dataclass(frozen=True)
class Alone:
    """An activation or a loss, a shape, a dtype and a regime: everything but the numbers."""

    shape: tuple[int, ...]
    dtype: str
    record: Activation | Loss
    regime: str

    def __str__(self) -> str:
        return f"{PREFIX}{'x'.join(map(str, self.shape))}/{self.dtype}/{self.record}/{self.regime}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text that `str` gives. Raises SpecError, with what there is, for anything else."""
        parts = text.removeprefix(PREFIX).split("/")
        if len(parts) != 4:
            raise SpecError(f"a record alone is written alone/shape/dtype/record/regime; got {text!r}.")
        shape, dtype, record, regime = parts
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", shape):
            raise SpecError(
                f"the shape of a record alone is written features x m or with axes between, as 4x2x3x5; got {shape!r}."
            )
        if regime not in REGIMES:
            raise unknown("regime", regime, list(REGIMES))
        read = partial(parse_record, record)
        known: Activation | Loss = read(Activation) if record.partition("(")[0] in catalogue(Activation) else read(Loss)
        spec = cls(tuple(map(int, shape.split("x"))), parse_dtype(dtype), known, regime)
        try:
            build(spec)
        except ValueError as error:
            raise SpecError(f"case {text!r}: {error}") from error
        return spec


def alone_specs(records: Callable[[int], Sequence[Activation | Loss]], dtypes: Sequence[str]) -> Iterator[Alone]:
    """Every record in every regime and dtype; `records(rows)` are those made for so many rows.

    A loss with a matrix of its own is not taken to the ends of the range: what cancels in a product of matrices is the product's.
    """
    for regime, shapes in SHAPES.items():
        for shape in shapes:
            for record in records(shape[0]):
                ranks = RANKS[regime] if record.extra_axes is None else (record.extra_axes,)
                matrix = isinstance(record, Loss) and record.parameter_shapes()
                suits = {"kinks": bool(record.kinks), "extremes": not matrix}.get(regime, True)
                if len(shape) - 2 in ranks and suits:
                    yield from (Alone(shape, dtype, record, regime) for dtype in dtypes)


def build(spec: Alone, seed: int = 0) -> Case:
    """Draw the input from the regime, the target, parameters and the upstream gradient."""
    name = str(spec)
    rng, dtype, record = generator(seed, name), DTYPES[spec.dtype], spec.record
    rows, *rest = spec.shape
    if isinstance(record, Activation):
        network = Network((record,), UPSTREAM)
        points = [kink.at for kink in record.kinks]
        x = draw(spec.regime, rng, record.domain, points, (record.rows_in(rows), *rest), dtype)
        if record.rows_in(1) > 1 and dtype == np.float64:  # a gate: half a subnormal times a large number is a guess
            smallest = np.finfo(np.float64).smallest_normal * 2.0**53  # all other dtypes are multiplied in this one
            x = np.where(np.abs(x) <= smallest, 1.0, x)
        target = rng.standard_normal(network.output_shape(x.shape)).astype(dtype)
        return Case(name, network, init(network, rng, dtype=dtype), x, target, 1.0, close=True)
    network = Network((), record)
    shape = (rows * len(record.inputs), *rest)
    if spec.regime == "kinks":
        x, target = at_kinks(record, shape, rng, dtype)
    elif spec.regime == "extremes" and record.per_sample and (len(record.inputs) > 1 or record.extra_axes == 0):
        x = extreme_vectors(rng, shape, dtype).astype(dtype)
        target = record.target_domain.sample(rng, record.target_shape(shape), dtype)
    else:
        x = np.concatenate([draw(spec.regime, rng, domain, (), spec.shape, dtype) for domain in record.inputs])
        target = record.target_domain.sample(rng, record.target_shape(shape), dtype)
    if isinstance(record.target_domain, Sequences):  # log-probabilities of classes, and not each of its own
        logs, _ = LogSoftmax().forward({}, x.astype(np.float64).clip(SMALLEST_LOG, -SMALLEST_LOG))
        x = logs.astype(dtype)
    return Case(name, network, init(network, rng, dtype=dtype), x, target, upstream(record, shape, rng, dtype), close=True)


def at_kinks(record: Loss, shape: tuple[int, ...], rng: np.random.Generator, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Input and target of a loss in which every term is at a kink, or has one number moved to a neighbouring float."""
    blocks = len(record.inputs)
    places = shape[1:] if record.per_sample else (shape[0] // blocks, *shape[1:])
    picked = rng.integers(len(record.kinks), size=places)
    columns = np.array([kink.input for kink in record.kinks], dtype).T  # (numbers of one sample, kinks)
    if record.per_sample and shape[0] != len(columns):
        raise ValueError(f"a kink of {record} is a sample of {len(columns) // blocks} rows; got {shape[0] // blocks}.")
    x = columns[:, picked].reshape(shape)
    moved = rng.random(shape) < 0.3 / len(columns)
    x = np.where(moved, neighbour(x, 1), np.where(rng.random(shape) < 0.3 / len(columns), neighbour(x, -1), x))
    if isinstance(record.target_domain, NoTarget):
        return x, record.target_domain.sample(rng, shape, dtype)
    target = np.array([kink.target for kink in record.kinks])
    chosen = np.moveaxis(target[picked], -1, 0) if target.ndim > 1 else target[picked]
    return x, chosen.astype(dtype if chosen.dtype.kind == "f" else np.int64)
