"""What `oracle run` compares: every activation and loss with all their options, over shapes and dtypes, and real data.

The lists come from manualbp's catalogue, so a new activation or loss is swept as soon as it exists. The whole product of
activation x loss x shape x dtype is a matter of hours; the sweep takes every pair of two of them (`pairs`), and all of it
on request (`product`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from random import Random
from typing import Generic, TypeAlias

from manualbp import Activation, Loss, catalogue
from manualbp.layer import Record
from oracle.alone import Alone, alone_specs, is_alone
from oracle.case import DTYPES, FULL_DTYPES, SHAPES, R, Shape, Spec, parse_dtype, parse_record, parse_shape
from oracle.data import DataSet, is_data, parse_data
from oracle.drawn import Drawn, is_drawn

#: Stands behind the hidden layers while an output activation is swept.
PLAIN_HIDDEN = "Tanh"


#: What the text of a case can name.
Named: TypeAlias = DataSet | Alone | Drawn | Spec


def parse(text: str) -> Named:
    """What the text of a case names. Raises SpecError, with what there is, where it names nothing."""
    if is_data(text):
        return parse_data(text)[0]
    if is_drawn(text):
        return Drawn.parse(text)
    return Alone.parse(text) if is_alone(text) else Spec.parse(text)


def chosen(names: Sequence[str], base: type[R], rows: int = 3) -> list[R]:
    """The records that the names ask for: a bare name means all its examples, none means the whole catalogue.

    `rows` is the number of rows that examples with an option for each row are made for.
    """
    known = catalogue(base)
    if not names:
        return [record for cls in known.values() for record in cls.examples(rows)]
    found: list[R] = []
    for name in names:
        record = parse_record(name, base) if name.strip() not in known else None
        found += [record] if record is not None else known[name.strip()].examples(rows)
    return found


def specs(
    activations: Sequence[str] = (),
    losses: Sequence[str] = (),
    shapes: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    *,
    full: bool = False,
) -> list[Spec]:
    """The networks of the sweep, narrowed to what is named. Raises SpecError for a name that does not exist.

    `full` is the product of all activations, losses, shapes and dtypes; else every two of them meet.
    """
    asked_shapes = [parse_shape(name) for name in shapes] or list(SHAPES.values())
    asked_dtypes = [parse_dtype(name) for name in dtypes] or list(DTYPES)
    every = _product if full else _pairs
    return list(dict.fromkeys(every(Chosen(activations, Activation), Chosen(losses, Loss), asked_shapes, asked_dtypes)))


def alone(activations: Sequence[str] = (), losses: Sequence[str] = (), dtypes: Sequence[str] = ()) -> list[Alone]:
    """Every activation and loss alone; where one kind is named and the other is not, of that kind alone."""
    both = not activations and not losses
    functions, costs = Chosen(activations, Activation), Chosen(losses, Loss)

    def records(rows: int) -> list[Activation | Loss]:
        return [
            *(functions.for_rows(rows) if activations or both else ()),
            *(costs.for_rows(rows) if losses or both else ()),
        ]

    return list(alone_specs(records, [parse_dtype(name) for name in dtypes] or list(DTYPES)))


class Chosen(Generic[R]):
    """The activations or losses that were asked for, made for inputs of any number of rows."""

    def __init__(self, names: Sequence[str], base: type[R]) -> None:
        self.names, self.base = names, base
        self.for_rows = lru_cache(lambda rows: chosen(names, base, rows))
        self.for_rows(3)  # a name that does not exist is refused now


def _loss_rows(shape: Shape) -> int:
    return shape.widths[-1]


def _fits(record: Record, shape: Shape) -> bool:
    return record.extra_axes in (None, len(shape.extra))


def _ordered(activations: list[Activation], shape: Shape) -> list[Activation]:
    """The activations that a shape allows, those first that not every shape allows."""
    return sorted((record for record in activations if _fits(record, shape)), key=lambda record: record.extra_axes is None)


def _pairs(
    activations: "Chosen[Activation]", losses: "Chosen[Loss]", shapes: Sequence[Shape], dtypes: Sequence[str]
) -> Iterator[Spec]:
    """Every loss in every shape and every kind of dtype; behind each a hidden and an output activation.

    The two come round in turn, so that every activation meets every loss, and every shape and dtype.
    """
    names = list(dict.fromkeys(type(loss).__name__ for loss in losses.for_rows(3)))
    for number, name in enumerate(names):
        slots = list(_slots(name, losses, shapes, dtypes))
        hidden_turns, turns = Counter[int](), Counter[int]()
        most = max((len(_ordered(activations.for_rows(3), shape)) for shape in shapes), default=0)
        deep = sum(len(shape.widths) > 2 and not shape.extra and dtype in FULL_DTYPES for shape, dtype, _ in slots)
        turning = slots * -(-most // max(deep, 1))
        Random(number).shuffle(turning)  # or activations and shapes would come round in step
        for shape, dtype, loss in turning:
            hidden = _ordered(activations.for_rows(3), shape)
            ends = [record for record in hidden if loss.domain.covers(record.range) and not _ties(record, loss, dtype)]
            start = 0 if hidden and hidden[0].extra_axes else number  # what few shapes allow comes first there
            axes = len(shape.extra)
            output = ends[(turns[axes] + 5 * start) % len(ends)] if ends else catalogue(Activation)[loss.link]()
            yield _spec(shape, dtype, hidden[(hidden_turns[axes] + 11 * start) % len(hidden)] if hidden else output, output, loss)
            turns[axes] += bool(ends)
            hidden_turns[axes] += len(shape.widths) > 2


def _ties(output: Activation, loss: Loss, dtype: str) -> bool:
    """Whether numbers that are exactly equal, or 0, would be frequent.

    A norm of zeros is where torch's half kernels give NaN, and which of two equal distances is the smaller no referee can say.
    """
    return dtype not in FULL_DTYPES or (loss.per_sample and len(loss.inputs) > 1 and bool(output.kinks))


def _slots(
    name: str, losses: "Chosen[Loss]", shapes: Sequence[Shape], dtypes: Sequence[str]
) -> Iterator[tuple[Shape, str, Loss]]:
    """Where the examples of one loss are compared: each in every shape, in dtypes that take turns."""
    examples = {
        shape: [loss for loss in losses.for_rows(_loss_rows(shape)) if type(loss).__name__ == name and _fits(loss, shape)]
        for shape in shapes
    }
    fitting = [shape for shape in shapes if examples[shape]]
    full = [dtype for dtype in dtypes if dtype in FULL_DTYPES]
    half = [dtype for dtype in dtypes if dtype not in FULL_DTYPES]
    for number in range(max((len(found) for found in examples.values()), default=0)):
        for place, shape in enumerate(fitting):
            loss = examples[shape][number]
            if full:
                yield shape, full[(number + place) % len(full)], loss
            if place == number % len(fitting) and half:
                yield shape, half[number % len(half)], loss


def _product(
    activations: "Chosen[Activation]", losses: "Chosen[Loss]", shapes: Sequence[Shape], dtypes: Sequence[str]
) -> Iterator[Spec]:
    """Each activation hidden, in front of the loss's own link; and as the output where the loss's domain allows it."""
    known = catalogue(Activation)
    for shape, dtype in product(shapes, dtypes):
        for activation in _ordered(activations.for_rows(3), shape):
            for loss in losses.for_rows(_loss_rows(shape)):
                if _fits(loss, shape):
                    yield _spec(shape, dtype, activation, known[loss.link](), loss)
                    if loss.domain.covers(activation.range):
                        yield _spec(shape, dtype, known[PLAIN_HIDDEN](), activation, loss)


def _spec(shape: Shape, dtype: str, hidden: Activation, output: Activation, loss: Loss) -> Spec:
    """Without a hidden layer, cases that differ in its activation alone are one."""
    return Spec(shape, dtype, hidden if len(shape.widths) > 2 else catalogue(Activation)[PLAIN_HIDDEN](), output, loss)
