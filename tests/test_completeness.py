"""torch.nn's own list of activations and losses against the catalogue: a newer torch shows here what is new."""

import inspect
from dataclasses import fields

import pytest
import torch

from manualbp import Activation, Loss, catalogue

#: Members of torch's two lists that are neither an activation nor a loss.
NEITHER = {
    "MultiheadAttention": "a layer: four projections with parameters around a softmax",
}

#: Options that have no bearing on a number, or another spelling here.
ELSEWHERE = {
    "inplace": "records never overwrite their input",
    "device": "NumPy arrays live in one place",
    "dtype": "results have the input's dtype",
    "dim": "features are axis 0, everywhere",
    "size_average": "torch's deprecated spelling of reduction",
    "reduce": "torch's deprecated spelling of reduction",
    "min_value": "Hardtanh's deprecated spelling of min_val",
    "max_value": "Hardtanh's deprecated spelling of max_val",
    "options": "LinearCrossEntropyLoss: how to cut the work into chunks; the numbers are the same",
}


def listed():
    """Every public activation and loss module of torch.nn by name."""
    names = [*torch.nn.modules.activation.__all__, *torch.nn.modules.loss.__all__]
    names += [name for name in dir(torch.nn) if name.endswith("Loss") and name not in names]
    return {name: getattr(torch.nn, name) for name in dict.fromkeys(names)}


def complaints(modules):
    """What the catalogue lacks of these modules."""
    known = {cls.__name__: cls for base in (Activation, Loss) for cls in catalogue(base).values()}
    for name, module in modules.items():
        if name in NEITHER:
            continue
        old = hasattr(module, "__deprecated__")  # as NLLLoss2d, which is NLLLoss under an old name
        names = [parent.__name__ for parent in module.__mro__] if old or hasattr(module.__init__, "__deprecated__") else [name]
        record = next((known[each] for each in names if each in known), None)
        if record is None:
            yield f"torch.nn.{name} has no record"
            continue
        options = set(inspect.signature(module.__init__).parameters) - {"self", "args", "kwargs"}
        for option in sorted(options - {field.name for field in fields(record)} - ELSEWHERE.keys()):
            yield f"{record.__name__} lacks torch's option {option}"


def test_every_activation_and_loss_of_torch_has_a_record_with_all_its_options():
    modules = listed()
    assert len(modules) > 50
    assert list(complaints(modules)) == []


def test_no_exemption_is_stale():
    modules = listed()
    assert modules.keys() >= NEITHER.keys()
    options = {option for module in modules.values() for option in inspect.signature(module.__init__).parameters}
    assert options >= ELSEWHERE.keys()


class NewLoss(torch.nn.Module):
    pass


class GELU(torch.nn.GELU):
    def __init__(self, approximate="none", sharpness=1.0):
        super().__init__(approximate)


@pytest.mark.parametrize(
    ("module", "complaint"),
    [(NewLoss, "torch.nn.NewLoss has no record"), (GELU, "GELU lacks torch's option sharpness")],
)
def test_what_a_newer_torch_may_bring_is_complained_about(module, complaint):
    assert list(complaints({module.__name__: module})) == [complaint]


@pytest.mark.parametrize(
    "record", [record for base in (Activation, Loss) for cls in catalogue(base).values() for record in cls.examples()], ids=str
)
def test_examples_use_every_option(record):
    """Each option takes at least two values over the examples, the reductions all that there are."""
    examples = type(record).examples()
    for field in fields(record):
        assert len({getattr(each, field.name) for each in examples}) > 1 or field.name in ONE_VALUE, field.name


#: Options of which one value is all there is to try.
ONE_VALUE = {
    "div_value": "another one leaves a cluster of three features without rows",
    "in_features": "follows from the input",
    "num_classes": "follows from the target",
}
