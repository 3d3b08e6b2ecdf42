"""Networks drawn at random over everything the catalogue has: random/NUMBER names one.

Depth 1 to 30, widths 1 to 300, batch 1 to 12, up to two axes in between, gain of the weights 0.1 to 8, a record of its own behind
every Linear, any loss with any option, every dtype and regime. Sizes and gains are drawn by their logarithm, and again where the
network would take more multiplications than MOST_WORK.
"""

import re
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np

from manualbp import Activation, Linear, Loss, Network, backpropagate, catalogue, init
from manualbp.backpropagation import Trace
from manualbp.layer import Array, Layer
from manualbp.targets import Sequences
from oracle.alone import SMALLEST_LOG
from oracle.case import DTYPES, Case, SpecError, float_info
from oracle.inputs import generator, upstream

PREFIX = "random/"
DEEPEST, WIDEST, MOST_SAMPLES = 30, 300, 12
GAINS = (0.1, 8.0)
#: Multiplications of one pass forward: enough for the widest layer, or for the deepest network, with a small batch.
MOST_WORK = 250_000
#: How often each dtype is drawn.
SHARES = {"float64": 0.35, "float32": 0.35, "float16": 0.15, "bfloat16": 0.15}
#: Numbers of a network stay below the largest float by this factor: what overflows cannot be compared.
ROOM = 2.0**10
#: After so many halvings the numbers are what they are: a cosine of zeros has no derivative at any size.
HALVINGS = 40

R = TypeVar("R", Activation, Loss)


def is_drawn(text: str) -> bool:
    """True for a text that names a network drawn at random."""
    return text.startswith(PREFIX)


@dataclass(frozen=True)
class Drawn:
    """The network of this number; with the seed it is known to the last digit."""

    number: int

    def __str__(self) -> str:
        return f"{PREFIX}{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text that `str` gives. Raises SpecError for anything else."""
        if not re.fullmatch(PREFIX + r"\d+", text):
            raise SpecError(f"a network drawn at random is written random/NUMBER, such as random/17; got {text!r}.")
        return cls(int(text.removeprefix(PREFIX)))


def build(spec: Drawn, seed: int = 0) -> Case:
    """Draw the network and its numbers. Gains are halved until every number is finite with room to spare in the dtype."""
    name = str(spec)
    rng = generator(seed, name)
    dtype = DTYPES[str(rng.choice(list(SHARES), p=list(SHARES.values())))]
    network, extra, m = _network(rng)
    params = init(network, rng, dtype=np.float64, gain=float(np.exp(rng.uniform(*np.log(GAINS)))))
    rows = network.layers[0].in_features if isinstance(network.layers[0], Linear) else 1
    x = _input(rng, (rows, *extra, m))
    output, loss = network.output_shape(x.shape), network.loss
    target = loss.target_domain.sample(rng, loss.target_shape(output), dtype)
    case = Case(name, network, params, x, target, upstream(loss, output, rng, dtype))
    for _ in range(HALVINGS):
        if _fits(case, dtype):
            break
        weaker = ({key: array / 2 for key, array in own.items()} for own in case.params)
        case = replace(case, params=tuple(weaker), x=case.x / 2)
    rounded = tuple({key: array.astype(dtype) for key, array in own.items()} for own in case.params)
    return replace(case, params=rounded, x=case.x.astype(dtype))


def _network(rng: np.random.Generator) -> tuple[Network, tuple[int, ...], int]:
    """A network, the axes in between, and the batch size."""
    kinds = list(catalogue(Loss).values())
    kind = kinds[rng.integers(len(kinds))]
    axes = kind.extra_axes if kind.extra_axes is not None else int(rng.choice(3, p=(0.8, 0.1, 0.1)))
    work = np.inf
    while work > MOST_WORK:
        widths = [_size(rng, WIDEST) for _ in range(_size(rng, DEEPEST) + 1)]
        extra, m = tuple(_size(rng, 5) for _ in range(axes)), _size(rng, MOST_SAMPLES)
        work = np.dot(widths[1:], widths[:-1]) * m * np.prod(extra)
    loss = _example(rng, kind, widths[-1])
    widths[-1] *= len(loss.inputs)
    layers: list[Layer] = []
    for number, rows in enumerate(widths[1:], 1):
        allowed = [record for record in catalogue(Activation).values() if record.extra_axes in (None, axes)]
        if number == len(widths) - 1:
            activation = _ending(rng, allowed, loss)
        else:
            activation = _example(rng, allowed[rng.integers(len(allowed))], rows)
        before = activation.rows_in(rows)
        layers += [Linear(widths[number - 1], before, bool(rng.random() < 0.9)), activation.fitted(before)]
    return Network(tuple(layers), loss), extra, m


def _ending(rng: np.random.Generator, allowed: list[type[Activation]], loss: Loss) -> Activation:
    """An activation that stays in the domain of the loss."""
    fitting = [record for kind in allowed for record in kind.examples() if loss.domain.covers(record.range)]
    return fitting[rng.integers(len(fitting))] if fitting else catalogue(Activation)[loss.link]()


def _size(rng: np.random.Generator, most: int) -> int:
    return int(np.exp(rng.uniform(0, np.log(most + 1))))


def _example(rng: np.random.Generator, kind: type[R], rows: int) -> R:
    """One of the examples of a record, for so many rows."""
    examples = kind.examples(rows)
    return examples[rng.integers(len(examples))]


def _input(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Ordinary numbers; small whole ones with many zeros, which meet kinks and ties; or columns of all magnitudes."""
    regime = rng.integers(3)
    if regime == 0:
        return 2.0 * rng.standard_normal(shape)
    if regime == 1:
        return rng.integers(-3, 4, shape) * (rng.random(shape) < 0.7).astype(float)
    return rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 3, shape[1:])


def _fits(case: Case, dtype: np.dtype[Any]) -> bool:
    """Whether all numbers of the network are finite, with room to spare, in this dtype, and no label has a probability of 0."""
    wide = replace(case, target=_wide(case.target), grad_loss=np.asarray(case.grad_loss, np.float64))
    trace = backpropagate(wide.network, wide.params, wide.x, wide.target, grad_loss=wide.grad_loss)
    if isinstance(case.network.loss.target_domain, Sequences) and trace.values[-1].min(initial=0.0) < SMALLEST_LOG:
        return False
    return all(np.abs(array).max(initial=0.0) < float(float_info(dtype).max) / ROOM for array in _arrays(trace))


def _wide(array: Array) -> Array:
    return array if array.dtype.kind in "iu" else array.astype(np.float64)


def _arrays(trace: Trace) -> list[Array]:
    return [np.asarray(array) for array in trace.quantities().values()]
