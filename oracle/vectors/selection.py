"""What is frozen: the networks that are asked for, or the standard set, every activation, loss and option in small networks."""

from collections.abc import Iterator, Sequence
from itertools import cycle, product
from pathlib import Path

from manualbp import GELU, Activation, CrossEntropyLoss, Identity, Loss, MSELoss, ReLU, Sigmoid, Tanh, catalogue
from manualbp.layer import Record
from oracle.case import Shape, Spec, SpecError
from oracle.drawn import Drawn
from oracle.suite import parse, specs

#: Where the set is, for whoever has installed the package.
STANDARD = Path(__file__).parent / "standard"
#: An activation stands behind a hidden layer, a loss behind a single one; sizes differ, so that a transpose shows.
HIDDEN, SINGLE, DEEP = Shape((2, 4, 3), 5), Shape((2, 3), 4), Shape((2, 5, 4, 3), 6)
#: Axes between features and batch, for records that want them.
BETWEEN = (5, 2)
#: The two precisions that ports compute in.
DTYPES = ("float64", "float32")


def selected(
    activations: Sequence[str], losses: Sequence[str], shapes: Sequence[str], dtypes: Sequence[str], cases: Sequence[str]
) -> list[str]:
    """The names of the networks that the options ask for. Raises SpecError for a name that does not exist."""
    narrowed = any((activations, losses, shapes, dtypes))
    if not cases:
        return [str(spec) for spec in (specs(activations, losses, shapes, dtypes) if narrowed else standard())]
    if narrowed:
        raise SpecError("--case names the whole case; leave the other options away.")
    for text in cases:
        if not isinstance(parse(text), Spec | Drawn):
            raise SpecError(f"vectors are made of networks, shape/dtype/hidden/output/loss or random/NUMBER; got {text!r}.")
    return list(dict.fromkeys(cases))


def standard() -> list[Spec]:
    """Common networks of some depth; then each example of an activation; then each example of a loss."""
    pairs = enumerate(product((CrossEntropyLoss(), MSELoss()), (Sigmoid(), Tanh(), ReLU(), GELU())))
    deep = [Spec(DEEP, DTYPES[(number + number // 4) % 2], hidden, Identity(), loss) for number, (loss, hidden) in pairs]
    return [*deep, *_activations(), *_losses()]


def _activations() -> Iterator[Spec]:
    dtypes = cycle(DTYPES)
    for kind in catalogue(Activation).values():  # type: ignore[type-abstract]
        for record in kind.examples(HIDDEN.widths[1]):
            yield Spec(_with_axes(HIDDEN, record), next(dtypes), record, Identity(), MSELoss())


def _losses() -> Iterator[Spec]:
    dtypes = cycle(DTYPES)
    for kind in catalogue(Loss).values():  # type: ignore[type-abstract]
        for record in kind.examples(SINGLE.widths[-1]):
            yield Spec(_with_axes(SINGLE, record), next(dtypes), Tanh(), catalogue(Activation)[record.link](), record)


def _with_axes(shape: Shape, record: Record) -> Shape:
    return Shape(shape.widths, shape.batch, extra=BETWEEN[: record.extra_axes or 0])
