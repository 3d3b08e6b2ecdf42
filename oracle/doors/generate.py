"""Numbers for a check: those that are given, or drawn from a description, also where functions break.

A description is a shape and, if not all real numbers will do, a domain: "4x7", "4x7 positive", "4x7 unit", "4 labels 7" (whole
numbers below 7). Equal sizes in several descriptions are one axis: "4x7", "3x7", "3".
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manualbp.domains import NEGATIVE, POSITIVE, REALS, UNIT, Interval
from oracle.doors.errors import DoorError
from oracle.inputs import generator
from oracle.regimes import REGIMES, draw
from oracle.twins import parameter, to_numpy

DOMAINS = {"real": REALS, "positive": POSITIVE, "negative": NEGATIVE, "unit": UNIT}
#: What can be asked for besides: constant rows; and every size 1 in turn, and odd ones, no two alike.
CONSTANT, SHAPES, ODD_SIZES = "constant", "shapes", "odd sizes"
ALL = (*REGIMES, CONSTANT, SHAPES)
#: What is tried where no numbers are given.
USUAL = ("generic", CONSTANT, SHAPES)
#: Divisible by no power of two; two of them beyond a block of 32.
ODD = (33, 35, 5, 7, 9, 11)


#: Where the derivative jumps, found out at some inputs.
Kinks = Callable[[Sequence[Tensor]], Sequence[float]]


@dataclass(frozen=True)
class Described:
    """An input to be drawn; `labels` is the number of classes where it holds whole numbers."""

    shape: tuple[int, ...]
    domain: Interval = REALS
    labels: int = 0

    @classmethod
    def parse(cls, text: str, domain: Interval = REALS) -> "Described":
        """Read a description. Raises DoorError for anything else."""
        match = re.fullmatch(r"(scalar|\d+(?:x\d+)*)(?: (?:labels (\d+)|(\w+)))?", text.strip())
        if not match or (match[3] and match[3] not in DOMAINS):
            raise DoorError(
                f"an input is described as 4x7, 4x7 with one of {', '.join(DOMAINS)}, or 4 labels 7; got {text!r}. "
                "Or pass the numbers themselves."
            )
        shape = () if match[1] == "scalar" else tuple(map(int, match[1].split("x")))
        if 0 in shape or match[2] == "0":
            raise DoorError(f"an input takes sizes, and labels a number of classes, from 1; got {text!r}.")
        return cls(shape, DOMAINS[match[3]] if match[3] else domain, int(match[2] or 0))

    def draw(self, regime: str, rng: np.random.Generator, dtype: np.dtype[Any], kinks: Sequence[float] = ()) -> Tensor:
        """Numbers of one regime; in the constant one, each row is one number."""
        if self.labels:
            return torch.from_numpy(rng.integers(0, self.labels, self.shape))
        shape = (*self.shape[:-1], 1) if regime == CONSTANT and self.shape else self.shape
        drawn = draw(regime if regime in REGIMES else "generic", rng, self.domain, kinks, shape, dtype)
        return parameter(np.array(np.broadcast_to(drawn, self.shape))).requires_grad_()

    def resized(self, sizes: Mapping[int, int]) -> "Described":
        """The same with other sizes."""
        return replace(
            self,
            shape=tuple(sizes.get(size, size) for size in self.shape),
            labels=self.labels and sizes.get(self.labels, self.labels),
        )


def inputs_like(*inputs: Any, domain: str | Interval = "real") -> tuple[Described, ...]:
    """Descriptions of inputs like these: of their shapes; whole numbers stay below the largest."""
    found = []
    for each in inputs:
        whole = not (each.is_floating_point() if isinstance(each, Tensor) else np.asarray(each).dtype.kind not in "iub")
        found.append(Described(tuple(np.shape(each)), _domain(domain), int(each.max()) + 1 if whole else 0))
    return tuple(found)


def _domain(domain: str | Interval | None) -> Interval:
    if isinstance(domain, Interval):
        return domain
    if domain is not None and domain not in DOMAINS:
        raise DoorError(f"domain takes one of {', '.join(DOMAINS)}, or an Interval; got {domain!r}.")
    return DOMAINS[domain or "real"]


def described(inputs: Sequence[Any], domain: str | Interval | None) -> tuple[Described, ...] | None:
    """The inputs as descriptions; None where they are numbers. Raises DoorError for a mixture."""
    kinds = {isinstance(each, str | Described) for each in inputs}
    if len(kinds) > 1:
        raise DoorError("inputs are all numbers, or all descriptions such as '4x7'; got both.")
    if kinds != {True}:
        return None
    return tuple(each if isinstance(each, Described) else Described.parse(each, _domain(domain)) for each in inputs)


def check_regimes(regimes: Sequence[str]) -> None:
    """Raise DoorError unless they all exist."""
    for regime in [regimes] if isinstance(regimes, str) else regimes:
        if regime not in ALL:
            raise DoorError(f"regimes takes some of {', '.join(ALL)}; got {regime!r}.")


def variants(
    wanted: Sequence[Described], regimes: Sequence[str], seed: int, dtype: np.dtype[Any], kinks: Kinks
) -> Iterator[tuple[str, list[Tensor]]]:
    """The numbers of each regime, with a name that says which."""
    for regime in regimes:
        for label, these in _shapes(wanted) if regime == SHAPES else [(regime, wanted)]:
            text = ",".join("x".join(map(str, each.shape)) or "scalar" for each in these)
            rng = generator(seed, f"{text}/{label}")
            points = kinks([each.draw("generic", rng, dtype) for each in these]) if regime == "kinks" else ()
            yield f"{text}/{label}", [each.draw(regime, rng, dtype, points) for each in these]


def _shapes(wanted: Sequence[Described]) -> Iterator[tuple[str, list[Described]]]:
    """Every size 1 in turn, the first of them being the batch mostly; and all of them odd and different."""
    sizes = list(dict.fromkeys(size for each in wanted for size in (*each.shape, *[each.labels] * bool(each.labels)) if size > 1))
    for size in sizes:
        yield f"{size} is 1", [each.resized({size: 1}) for each in wanted]
    if 0 < len(sizes) <= len(ODD):
        yield ODD_SIZES, [each.resized(dict(zip(sizes, ODD, strict=False))) for each in wanted]


def numbers(value: Any, name: str) -> Tensor:
    """An input as a tensor that is the candidate's own. Raises DoorError for anything that holds no numbers."""
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise DoorError(f"{name} takes a dense tensor; got the layout {value.layout}. Pass {name}.to_dense().")
        return value.detach().clone(memory_format=torch.preserve_format).requires_grad_(value.requires_grad)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DoorError(f"{name} takes an array of numbers: {error}") from error
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        raise DoorError(f"{name} takes one of float64, float32, float16 and bfloat16; got {array.dtype}. Convert it.")
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise DoorError(f"{name} takes an array of numbers; got {type(value).__name__} of dtype {array.dtype}.")
    return parameter(array)


def to_dtype(tensor: Tensor, dtype: np.dtype[Any] | None) -> Tensor:
    """The tensor in this dtype where it holds real numbers."""
    if dtype is None or not tensor.is_floating_point():
        return tensor
    return parameter(to_numpy(tensor).astype(dtype)).requires_grad_(tensor.requires_grad)
