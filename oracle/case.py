"""What is compared: a `Spec` says it in one line of text, a `Case` holds the numbers.

A spec is written shape/dtype/hidden/output/loss, for example deep/float32/Tanh/Softmax/BCELoss(reduction='sum'). The same text
names the case in every table and repeats it on the command line.
"""

import ast
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from manualbp import Activation, Loss, Network, catalogue
from manualbp.layer import Array, Record

R = TypeVar("R", bound=Record)


class SpecError(ValueError):
    """The text names something that does not exist; the message says what there is."""


@dataclass(frozen=True)
class Shape:
    """Widths n_0 .. n_L, the axes between features and batch, and the batch size m; written as a name, or as 4-8-3x16.

    With axes in between it is 4-8-3x2x5x16: every node is an array (features, 2, 5, 16).
    """

    widths: tuple[int, ...]
    batch: int
    name: str = ""
    extra: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name or "x".join(map(str, ("-".join(map(str, self.widths)), *self.extra, self.batch)))


#: The shapes of the sweep. Within one, sizes differ where the shape's own point allows it, so that a transpose shows.
SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape((3, 3, 3), 5, "notes"),
        Shape((5, 4, 3), 1, "batch1"),
        Shape((4, 1, 3), 6, "width1"),
        Shape((1, 1, 1), 1, "ones"),
        Shape((5, 3), 7, "depth1"),
        Shape((5, 12, 4, 11, 3, 10, 2, 9, 6), 7, "deep"),
        Shape((37, 4, 3), 5, "wide"),
        Shape((2, 31, 29), 5, "tall"),
        Shape((4, 7, 5, 3), 6, "distinct"),
        Shape((3, 5, 2), 67, "many"),
        Shape((4, 6, 3), 2, "sequence", (5,)),
        Shape((3, 5, 4), 6, "image", (2, 7)),
    )
}
#: The dtypes that are compared, widest first. NumPy knows bfloat16 by way of ml_dtypes.
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "float64": np.float64,
        "float32": np.float32,
        "float16": np.float16,
        "bfloat16": ml_dtypes.bfloat16,
    }.items()
}


def float_info(dtype: np.dtype[Any]) -> Any:
    """np.finfo for these dtypes."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


#: Those that every record meets everywhere, and that networks are trained in; the others are for storing.
FULL_DTYPES = ("float64", "float32")


def unknown(kind: str, text: str, known: list[str]) -> SpecError:
    """The error for a name that does not exist, with the nearest one that does."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=0.5)
    hint = f" Did you mean {by_lower[near[0]]}?" if near else ""
    return SpecError(f"unknown {kind} {text!r}.{hint} Known: {', '.join(known)}.")


def parse_shape(text: str) -> Shape:
    """A named shape, or widths and batch as in 4-8-3x16."""
    if text in SHAPES:
        return SHAPES[text]
    match = re.fullmatch(r"(\d+(?:-\d+)+)((?:x\d+)+)", text)
    if not match:
        raise unknown("shape", text, [*SHAPES, "or widths and batch as in 4-8-3x16"])
    *extra, batch = map(int, match[2][1:].split("x"))
    shape = Shape(tuple(map(int, match[1].split("-"))), batch, extra=tuple(extra))
    if min(*shape.widths, *shape.extra, shape.batch) < 1:
        raise SpecError(f"a shape takes widths and a batch from 1; got {text!r}.")
    return shape


def parse_dtype(text: str, known: Sequence[str] = tuple(DTYPES)) -> str:
    """The name of a dtype that is compared."""
    if text not in known:
        raise unknown("dtype", text, list(known))
    return text


def parse_record(text: str, base: type[R]) -> R:
    """The record that a text such as GELU(approximate='tanh') names; the options are literals, nothing is evaluated.

    Raises SpecError for a name that is not in the catalogue, or options the record does not take.
    """
    kind = base.__name__.lower()
    known = catalogue(base)
    try:
        call = ast.parse(text.strip(), mode="eval").body
        name = call.func.id if isinstance(call, ast.Call) else call.id  # type: ignore[attr-defined]
        keywords = call.keywords if isinstance(call, ast.Call) else []
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in keywords}
        positional = [ast.literal_eval(argument) for argument in call.args] if isinstance(call, ast.Call) else []
    except (SyntaxError, AttributeError, ValueError) as error:
        raise SpecError(f"cannot read {kind} {text!r}: write it as GELU or GELU(approximate='tanh').") from error
    if name not in known:
        raise unknown(kind, name, list(known))
    try:
        record = known[name](*positional, **options)
        for option, value in record.options().items():
            _check_option(option, value, getattr(known[name], option, value))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise SpecError(f"cannot make {kind} {text!r}: {error}") from error
    return record


def _check_option(name: str, value: Any, default: Any) -> None:
    """An option is of its default's kind: a finite number where that is a number, a text where it is one.

    Where the default is None, weights are meant, a tuple of finite numbers; or a class index, or a name.
    """
    if default is None and isinstance(value, tuple):
        for each in value:
            _check_option(name, each, 1.0)
    elif default is None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | str)):
            raise TypeError(f"{name} takes None, a whole number, a name or a tuple of numbers; got {value!r}.")
    elif isinstance(default, float):
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(float(value)):
            raise TypeError(f"{name} takes a finite number, such as {default}; got {value!r}.")
    elif not isinstance(value, type(default)):
        raise TypeError(f"{name} takes a {type(default).__name__}, such as {default!r}; got {value!r}.")


@dataclass(frozen=True)
class Spec:
    """One dense network to compare: everything but the numbers."""

    shape: Shape
    dtype: str
    hidden: Activation
    output: Activation
    loss: Loss

    def __str__(self) -> str:
        return "/".join(map(str, (self.shape, self.dtype, self.hidden, self.output, self.loss)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text that `str` gives. Raises SpecError, with what there is, for anything else."""
        parts = text.split("/")
        if len(parts) != 5:
            raise SpecError(f"a case is written shape/dtype/hidden/output/loss, 5 parts; got {len(parts)} in {text!r}.")
        shape, dtype, hidden, output, loss = parts
        spec = cls(
            parse_shape(shape),
            parse_dtype(dtype),
            parse_record(hidden, Activation),
            parse_record(output, Activation),
            parse_record(loss, Loss),
        )
        try:
            network = spec.network()
            for record in (*network.layers, network.loss):
                record.check_axes((spec.shape.widths[0], *spec.shape.extra, spec.shape.batch))
        except ValueError as error:
            raise SpecError(f"case {text!r}: {error}") from error
        return spec

    def network(self) -> Network:
        """The dense network; the last width counts for each of the loss's inputs. Raises ValueError where parts do not fit."""
        *widths, last = self.shape.widths
        return Network.dense((*widths, last * len(self.loss.inputs)), self.hidden, self.output, self.loss)


@dataclass(frozen=True)
class Case:
    """A network with numbers: what every run takes. `grad_loss` is the upstream gradient of the loss itself, of its shape."""

    name: str
    network: Network
    params: tuple[dict[str, Array], ...]
    x: Array
    target: NDArray[Any]
    grad_loss: Any = 1.0
    #: One record alone: only its own quantities are compared, and digit by digit.
    close: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.x.dtype
