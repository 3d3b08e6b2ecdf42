"""The smallest visible error: one element of one gradient scaled by 1 + eps, eps a power of two."""

from typing import Any, NamedTuple

import numpy as np

from oracle.case import DTYPES, Spec
from oracle.discrepancy import measure
from oracle.inputs import build
from oracle.manual_run import manual_run
from oracle.rounding import scales
from oracle.rounding.scales import unit_roundoff
from oracle.torch_run import torch_run
from oracle.verdict import Verdict

NETWORK = "64-64-64-10x64/{}/Tanh/Identity/CrossEntropyLoss"
#: Elements of each kind.
ELEMENTS = 250
#: Exponents of eps that are tried.
LEAST, MOST = -60, 40
#: What is asked for of the eps at which every element is found.
GOALS = {"float64": 1e-12, "float32": 1e-4}
#: Which elements: at least as large as the root mean square of its array, or any that is not 0.
KINDS = ("large", "any")


class Probe(NamedTuple):
    """One element: eps is the smallest power of two from which it is found, cancelled how many unit roundoffs its scale is."""

    dtype: str
    kind: str
    symbol: str
    at: tuple[int, ...]
    value: float
    eps: float
    cancelled: float


class Smallest(NamedTuple):
    """What is seen in one dtype of elements of one kind.

    half, every   the eps at which half of the elements, and all, are found
    goal          the eps that is asked for, and how many of the elements are found at it; None where nothing is asked
    """

    dtype: str
    kind: str
    elements: int
    half: float
    every: float
    goal: float | None
    at_goal: int | None
    half_roundoffs: float
    worst: dict[str, Any]


def probe(dtype: str, seed: int, elements: int = ELEMENTS, network: str = NETWORK) -> list[Probe]:
    """Scale so many elements of each kind, drawn from all gradients of the right candidate: first an array, then an element."""
    case = build(Spec.parse(network.format(dtype)), seed)
    reference = torch_run(case)
    wanted, scale, honest = reference.quantities(), scales(case, reference).through, manual_run(case).quantities()
    gradients = [quantity for quantity in wanted if quantity.is_gradient and np.any(honest[quantity])]
    rng, found = np.random.default_rng(seed), []
    for kind in KINDS:
        for _ in range(elements):
            quantity = gradients[rng.integers(len(gradients))]
            index = _element(honest[quantity], kind, rng)
            eps = _threshold(honest[quantity], wanted[quantity], scale[quantity], index)
            value = float(honest[quantity][index])
            cancelled = float(scale[quantity][index]) / (abs(value) * unit_roundoff(case.dtype))
            found.append(Probe(dtype, kind, quantity.symbol, index, value, eps, cancelled))
    return found


def _element(array: Any, kind: str, rng: np.random.Generator) -> tuple[int, ...]:
    size = np.abs(array.astype(np.float64))
    places = np.argwhere((size > 0) & (size >= np.sqrt(np.mean(size**2)) * (kind == "large")))
    return tuple(int(at) for at in places[rng.integers(len(places))])


def _threshold(array: Any, wanted: Any, scale: Any, index: tuple[int, ...]) -> float:
    """The smallest eps that is found; a larger one is then found too, so the exponents are halved. Infinite where none is."""
    low, high = LEAST, MOST + 1
    while low < high:
        middle = (low + high) // 2
        spoilt = array.copy()
        with np.errstate(over="ignore"):
            spoilt[index] = np.float64(array[index]) * (1 + 2.0**middle)
        if measure(spoilt, wanted, scale).verdict == Verdict.AGREE:
            low = middle + 1
        else:
            high = middle
    return 2.0**low if low <= MOST else float("inf")


def smallest(probes: list[Probe]) -> list[Smallest]:
    """One line for each dtype and kind."""
    found = []
    for dtype in DTYPES:
        for kind in KINDS:
            these = sorted((each for each in probes if (each.dtype, each.kind) == (dtype, kind)), key=lambda each: each.eps)
            if not these:
                continue
            goal, half, worst = GOALS.get(dtype), these[(len(these) - 1) // 2].eps, these[-1]
            found.append(
                Smallest(
                    dtype,
                    kind,
                    len(these),
                    half,
                    worst.eps,
                    goal,
                    None if goal is None else sum(each.eps <= goal for each in these),
                    half / unit_roundoff(DTYPES[dtype]),
                    {"symbol": worst.symbol, "at": list(worst.at), "value": worst.value, "cancelled": worst.cancelled},
                )
            )
    return found
