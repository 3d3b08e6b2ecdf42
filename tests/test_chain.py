"""The referee's one pass there and back, against torch, against its own proof of single elements, and with a fault in it."""

from dataclasses import replace

import numpy as np
import pytest

from manualbp import Activation, Loss, Network, catalogue
from oracle import judge, referee
from oracle.alone import UPSTREAM
from oracle.case import Case, Spec
from oracle.inputs import build
from oracle.rounding import scales
from oracle.torch_run import torch_run
from oracle.verdict import TOLERANCE
from support import ACTIVATIONS, LOSSES, draw, link


def agrees(case):
    """Whether torch is within its allowance of every true number that is settled, and how many are."""
    reference, truth = torch_run(case), referee.trace(case)
    wanted, scale = reference.quantities(), scales(case, reference).through
    count = 0
    for quantity, (hi, lo) in truth.items():
        known = ~np.isnan(hi)
        count += np.count_nonzero(known)
        far = np.abs(np.asarray(wanted[quantity]) - hi - lo) > TOLERANCE * scale[quantity]
        if (far & known).any():
            return quantity.symbol, count
    return "", count


@pytest.mark.parametrize("record", [record for record in ACTIVATIONS if type(record).__name__ != "Hardsigmoid"], ids=str)
def test_every_activation_in_a_network(record):
    wrong, count = agrees(draw([record, record], next(loss for loss in LOSSES if str(loss) == "MSELoss"), (4, 5, 3), 3))
    assert wrong == ""
    assert count > 50


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if type(loss).__name__ != "CTCLoss"], ids=str)
def test_every_loss_behind_a_network(loss):
    tanh = catalogue(Activation)["Tanh"]()
    wrong, count = agrees(draw([tanh, link(loss)], loss, (4, 5, 3), 3))
    assert wrong == ""
    assert count > 50


def test_ctc_is_torchs_but_for_the_gradient_it_folds_into_the_one_before():
    ctc = next(loss for loss in LOSSES if str(loss) == "CTCLoss")
    case = draw([catalogue(Activation)["LogSoftmax"]()], ctc, (4, 5), 3)
    reference, truth = torch_run(case), referee.trace(case)
    by_symbol = {
        quantity.symbol: ulps
        for quantity, ulps in ((q, referee.ulp_error(np.asarray(reference.quantities()[q]), truth[q], "f8")) for q in truth)
    }
    assert np.max(by_symbol["dC/da[1]"]) > 1e9
    assert np.max(by_symbol["delta[1]"]) < 1e4


@pytest.mark.parametrize(
    "text",
    [
        "notes/float64/Tanh/Sigmoid/BCELoss",
        "deep/float64/GELU/Softmax/MSELoss(reduction='none')",
        "sequence/float64/SwiGLU/LogSoftmax/CTCLoss",
        "distinct/float64/PReLU(num_parameters=3)/Identity/LinearCrossEntropyLoss(in_features=3, num_classes=4, bias=True)",
        "many/float64/RReLU(training=True)/Identity/TripletMarginLoss",
    ],
)
def test_single_elements_are_those_that_network_proves(text):
    case = build(Spec.parse(text))
    rng = np.random.default_rng(0)
    for quantity, (hi, lo) in referee.trace(case).items():
        index = tuple(int(rng.integers(size)) for size in hi.shape)
        assert referee.network(case, quantity, index).doubles() == pytest.approx((hi[index], lo[index]), rel=1e-15, abs=1e-300)


def test_a_wrong_number_is_far_from_the_truth():
    case = build(Spec.parse("notes/float64/Tanh/Sigmoid/MSELoss"))
    wrong = replace(case, params=({**case.params[0], "weight": case.params[0]["weight"] * (1 + 1e-9)}, *case.params[1:]))
    truth = referee.trace(case)
    found = torch_run(wrong).quantities()
    assert min(np.max(referee.ulp_error(np.asarray(found[q]), truth[q], "f8")) for q in truth if q.name == "dC/dW") > 1e4


def test_what_it_cannot_decide_it_says():
    relu = catalogue(Activation)["ReLU"]()
    at_kink = Case("", Network((relu,), UPSTREAM), ({},), np.zeros((1, 1)), np.ones((1, 1)))
    settled = {quantity.symbol: not np.isnan(hi).any() for quantity, (hi, _) in referee.trace(at_kink).items()}
    assert settled == {"a[0]": True, "C": True, "dC/da[0]": True, "dC/dx": False}
    with pytest.raises(referee.Undecided, match="finite"):
        referee.trace(replace(at_kink, x=np.full((1, 1), np.nan)))


def test_a_loss_of_its_own_is_not_known():
    class Own(catalogue(Loss)["MSELoss"]):
        @classmethod
        def twin(cls):
            return "Own"

    with pytest.raises(referee.NoDefinition, match="got Own"):
        referee.trace(Case("", Network((), Own()), (), np.ones((1, 1)), np.ones((1, 1))))


@pytest.mark.parametrize("name", ["LinearCrossEntropyLoss", "TripletMarginLoss", "BCELoss"])
@pytest.mark.parametrize("special", [False, True])
def test_what_is_asked_of_a_loss_is_what_is_calculated(name, special):
    loss = next(loss for loss in LOSSES if type(loss).__name__ == name)
    case = draw([], loss, (4,), 3)
    if special:  # then the rows are asked one by one
        case.x[0, 0] = np.inf if name != "BCELoss" else 2.0
    places = referee.every_place(case)
    for quantity, place in places.items():
        if place.what not in ("gradient", "parameter"):
            continue
        whole = judge.truths(case, 10**4).get(place)
        if whole is None:
            assert special
            assert name != "BCELoss"
            continue
        where = np.zeros(whole[0].shape, bool)
        where.flat[[1, -1]] = True
        part = judge.truths(case, 10**4, {place: where})[place]
        assert np.array_equal(part[0][where], whole[0][where], equal_nan=True)
        assert np.isnan(part[0][~where]).all()
        assert special or np.isfinite(part[0][where]).all(), quantity.symbol
