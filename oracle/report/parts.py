"""What a case's name says of it: what a report groups and filters by."""

from typing import NamedTuple

from manualbp import Activation, Loss
from oracle.alone import Alone
from oracle.case import Spec, SpecError
from oracle.data import DataSet, without_step
from oracle.suite import Named, parse


class Parts(NamedTuple):
    """The shape as it is written, the kinds of activations and the loss; empty where the name does not say."""

    shape: str = ""
    activations: tuple[str, ...] = ()
    loss: str = ""
    #: Whether `oracle run --case` takes the name.
    repeatable: bool = True


#: Stands for the other half where a record is compared alone.
ALONE = "alone"


def named(case: str) -> Named | None:
    """What the name of a case names; None for a name of somebody's own."""
    try:
        return parse(without_step(case))
    except SpecError:
        return None


def parts(found: Named | None) -> Parts:
    """The parts of a drawn network, a record alone, real data."""
    match found:
        case None:
            return Parts(repeatable=False)
        case Spec():
            records = dict.fromkeys((type(found.hidden).__name__, type(found.output).__name__))
            return Parts(str(found.shape), tuple(records), type(found.loss).__name__)
        case Alone():
            kind, shape = type(found.record).__name__, "x".join(map(str, found.shape))
            return Parts(shape, (ALONE,), kind) if isinstance(found.record, Loss) else Parts(shape, (kind,), ALONE)
        case DataSet():
            layers = dict.fromkeys(type(layer).__name__ for layer in found.network.layers if isinstance(layer, Activation))
            return Parts(found.name, tuple(layers), type(found.network.loss).__name__)
    return Parts()
