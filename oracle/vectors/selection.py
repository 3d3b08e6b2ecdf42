"""What is frozen: the networks that are asked for, or the standard set, every activation, loss and option in small networks."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path

from manualbp import GELU, Activation, CrossEntropyLoss, Identity, Loss, MSELoss, ReLU, Sigmoid, Tanh, catalogue
from oracle.alone import Alone
from oracle.case import Shape, Spec, SpecError
from oracle.data import DataSet
from oracle.suite import parse, specs

#: Where the set is, for whoever has installed the package.
STANDARD = Path(__file__).parent / "standard"
#: An activation stands behind a hidden layer, and a loss alone; sizes differ, so that a transpose shows.
HIDDEN, DEEP, ALONE = Shape((2, 4, 3), 5), Shape((2, 5, 4, 3), 6), (3, 4)
#: Axes between features and batch, for records that want them, by their number.
BETWEEN: dict[int | None, tuple[int, ...]] = {None: (), 0: (), 1: (5,), 2: (2, 2)}
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
        spec = parse(text)
        if isinstance(spec, DataSet) or (isinstance(spec, Alone) and isinstance(spec.record, Activation)):
            raise SpecError(f"vectors are made of drawn numbers that end in a loss: a network, or a loss alone; got {text!r}.")
    return list(dict.fromkeys(cases))


def standard() -> list[Spec | Alone]:
    """Common networks of some depth; then each example of an activation; then each example of a loss."""
    pairs = enumerate(product((CrossEntropyLoss(), MSELoss()), (Sigmoid(), Tanh(), ReLU(), GELU())))
    deep = [Spec(DEEP, DTYPES[(number + number // 4) % 2], hidden, Identity(), loss) for number, (loss, hidden) in pairs]
    return [*deep, *_activations(), *_losses()]


def _activations() -> Iterator[Spec]:
    dtypes = cycle(DTYPES)
    for kind in catalogue(Activation).values():
        for record in kind.examples(HIDDEN.widths[1]):
            shape = replace(HIDDEN, extra=BETWEEN[record.extra_axes])
            yield Spec(shape, next(dtypes), record, Identity(), MSELoss())


def _losses() -> Iterator[Alone]:
    dtypes, (rows, m) = cycle(DTYPES), ALONE
    for kind in catalogue(Loss).values():
        for record in kind.examples(rows):
            yield Alone((rows, *BETWEEN[record.extra_axes], m), next(dtypes), record, "generic")
