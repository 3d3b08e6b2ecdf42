"""What `oracle run` compares: every activation x every loss x every shape x every dtype, and real data.

The lists come from manualbp's catalogue, so a new activation or loss is swept as soon as it exists.
"""

from collections.abc import Iterable, Iterator, Sequence

from manualbp import Activation, Loss, catalogue
from manualbp.layer import Record
from oracle.case import DTYPES, SHAPES, R, Shape, Spec, parse_dtype, parse_record, parse_shape

#: Stands behind the hidden layers while an output activation is swept.
PLAIN_HIDDEN = "Tanh"


def chosen(names: Sequence[str], base: type[R]) -> list[R]:
    """The records that the names ask for: a bare name means all its examples, none means the whole catalogue."""
    known = catalogue(base)
    if not names:
        return [record for cls in known.values() for record in cls.examples()]
    found: list[R] = []
    for name in names:
        record = parse_record(name, base)
        found += type(record).examples() if name.strip() in known else [record]
    return found


def specs(
    activations: Sequence[str] = (), losses: Sequence[str] = (), shapes: Sequence[str] = (), dtypes: Sequence[str] = ()
) -> list[Spec]:
    """The sweep, narrowed to what is named. Raises SpecError for a name that does not exist."""
    asked_shapes = [parse_shape(name) for name in shapes] or list(SHAPES.values())
    asked_dtypes = [parse_dtype(name) for name in dtypes] or list(DTYPES)
    pairs = list(_pairs(chosen(activations, Activation), chosen(losses, Loss)))
    return [
        Spec(shape, dtype, hidden, output, loss)
        for shape in asked_shapes
        for dtype in asked_dtypes
        for hidden, output, loss in _distinct(pairs, shape)
    ]


def _pairs(activations: Iterable[Activation], losses: Sequence[Loss]) -> Iterator[tuple[Activation, Activation, Loss]]:
    """Each activation hidden, in front of the loss's own link; and as the output where the loss's domain allows it."""
    known = catalogue(Activation)
    plain = known[PLAIN_HIDDEN]()
    for activation in activations:
        for loss in losses:
            yield activation, known[loss.link](), loss
            if loss.domain.covers(activation.range):
                yield plain, activation, loss


def _distinct(
    pairs: Iterable[tuple[Activation, Activation, Loss]], shape: Shape
) -> Iterator[tuple[Activation, Activation, Loss]]:
    """The pairs without repetition; without a hidden layer, those that differ in its activation alone are one."""
    hidden_layers = len(shape.widths) > 2
    seen: set[tuple[Record | bool, ...]] = set()
    for hidden, output, loss in pairs:
        key = (hidden_layers and hidden, output, loss)
        if key not in seen:
            seen.add(key)
            yield hidden, output, loss
