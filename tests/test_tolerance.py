"""The tolerance is measured: correct networks stay far inside it, and it is not so wide that it is blind."""

from dataclasses import replace

import numpy as np
import pytest

from manualbp import BCELoss, CrossEntropyLoss, CTCLoss, Network, Sigmoid
from oracle.case import FULL_DTYPES, SHAPES, Case, Spec
from oracle.check import discrepancies, rows, table
from oracle.inputs import build
from oracle.rounding import floor, scales, unit_roundoff
from oracle.rounding.scales import FLUSHED, movement
from oracle.suite import specs
from oracle.torch_run import torch_run
from oracle.verdict import TOLERANCE
from support import ACTIVATIONS, DTYPES, LOSSES, draw, link

#: A seed that the tolerance was not chosen on.
FRESH = 20261124


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_networks_agree_and_nearly_all_use_less_than_half_of_it(dtype):
    texts = specs(dtypes=[dtype])[:: 61 if dtype in FULL_DTYPES else 29]
    assert len({spec.shape.name for spec in texts}) > len(SHAPES) / 2
    found = table(row for spec in texts for row in rows(build(spec, FRESH)))
    assert len(found) > 500
    assert set(found["verdict"]) <= {"agree", "reference"}
    found = found[found["verdict"] == "agree"]
    assert found["margin"].quantile(0.999) < 0.5
    moved = found.loc[found["sigmas"] > 0, "sigmas"]
    assert 0.05 < moved.median() < 2, "a scale that is far too wide is a defect too"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_scale_is_a_few_unit_roundoffs_of_a_well_conditioned_array(loss, dtype):
    case = draw([ACTIVATIONS[0], link(loss)], loss, (5, 4, 3), 7, dtype)
    reference = torch_run(case)
    scale = scales(case, reference).through
    for quantity, array in reference.quantities().items():
        assert scale[quantity].shape == np.shape(array)
        share = scale[quantity].max() / (unit_roundoff(case.dtype) * np.abs(array).max())
        assert 1 <= share < 200, quantity


def test_sequences_without_a_label_have_a_scale():
    case = build(Spec.parse("3-3x2x2/float32/Tanh/LogSoftmax/CTCLoss"), 0)
    steps, lengths = case.target[:2]
    assert set(discrepancies(replace(case, target=np.stack([steps, 0 * lengths])))["verdict"]) <= {"agree", "reference"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if isinstance(loss, CTCLoss)], ids=str)
def test_where_no_path_ends_a_half_precision_rounds_nothing(loss, dtype):
    """Those states stand far below all others, and a half precision's rounding of that number would be e^100."""
    case = build(Spec.parse(f"sequence/{dtype}/Identity/LogSoftmax/{loss}"), 0)
    reference = torch_run(case)
    for scale in scales(case, reference)[:2]:
        for quantity, array in reference.quantities().items():
            assert scale[quantity].max() < 0.2 * np.abs(array.astype("f8")).max(), quantity


def test_scale_follows_the_condition():
    """Where a - y is all rounding, its gradients are allowed the rounding of a; where it is not, they are not."""
    case = build(Spec.parse("width1/float32/Tanh/Identity/HalfSquaredError"), 0)
    near = replace(case, target=(torch_run(case)["a[2]"] * np.float32(1 + 1e-5)).astype("f4"))
    shares = {}
    for name, drawn in {"plain": case, "near": near}.items():
        reference = torch_run(drawn)
        symbol = next(quantity for quantity in reference.quantities() if quantity.symbol == "dC/db[2]")
        shares[name] = np.max(scales(drawn, reference).through[symbol] / np.abs(reference["dC/db[2]"])) / unit_roundoff(
            drawn.dtype
        )
    assert shares["near"] > 1e4
    assert shares["near"] > 20 * shares["plain"]


def test_what_cancels_inside_a_loss_is_allowed_the_rounding_of_its_terms():
    """A prediction of 0.999999: p - 1 has lost six of float32's digits, in torch and by hand, each its own way."""
    network = Network((), CrossEntropyLoss())
    x = np.array([[14.0, 15.0], [0.3, 0.1], [-0.7, 0.2]], "f4")
    case = Case("trained", network, (), x, np.array([0, 0]))
    assert set(discrepancies(case)["verdict"]) == {"agree"}
    reference = torch_run(case)
    (symbol,) = (quantity for quantity in reference.quantities() if quantity.is_gradient)
    assert (scales(case, reference).own[symbol][0] > 0.1 * unit_roundoff(case.dtype)).all()


def test_same_case_same_scale():
    case = build(Spec.parse("notes/float32/GELU/Softmax/BCELoss"), 3)
    reference = torch_run(case)
    once, again = scales(case, reference), scales(case, reference)
    for one, other in zip(once, again, strict=True):
        assert all(np.array_equal(one[quantity], other[quantity]) for quantity in one)


def test_an_infinity_does_not_swell_the_scale():
    exact = np.array([1.0, np.inf, 2.0])
    noisy = np.array([[1.1, np.inf, 2.0], [0.9, np.inf, np.nan]])
    assert movement(exact, noisy) == pytest.approx([0.1, 0.0, 0.0])


def test_a_move_too_small_to_square_is_a_move():
    exact = np.array([1e-200, 1e200])
    assert movement(exact, np.stack([exact * (1 + 1e-9), exact * (1 - 1e-9)])) == pytest.approx(1e-9 * exact, rel=1e-6)


def test_a_sigmoid_that_may_round_to_1_in_front_of_bceloss_is_allowed_to():
    """1 - a is 3 or 4 hundred-millionths, or 0 in float32: then torch's gradient is 0, and ours is not."""
    network = Network((Sigmoid(),), BCELoss())
    case = Case("saturated", network, ({},), np.array([[17.1, 17.2, 0.5]], "f4"), np.array([[0.3, 0.9, 0.2]], "f4"))
    assert set(discrepancies(case)["verdict"]) <= {"agree", "reference"}


def test_the_floor_is_the_rounding_of_the_result_itself():
    given, exact = np.array([1.0, -8.0, 0.0, np.inf]), np.array([1.0, -8.0, 0.0, np.inf])
    assert floor(given.astype("f2"), exact, np.dtype("f2")).tolist() == [2.0**-11, 2.0**-8, 0.0, 0.0]
    assert floor(given.astype("f4"), exact, np.dtype("f4"))[:2].tolist() == [2.0**-24, 2.0**-21]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_about_the_smallest_normal_number_all_are_one(dtype):
    """A vector unit flushes what is below it to 0. What is larger than that is no 0."""
    smallest = FLUSHED * float(np.finfo(dtype).smallest_normal)
    given = np.array([0.0, float(np.finfo(dtype).smallest_subnormal), np.nan], dtype)
    allowed = TOLERANCE * floor(given, given.astype("f8"), np.dtype(dtype))
    assert (allowed <= smallest).all()
    assert (allowed >= 0.999 * smallest).all()


@pytest.mark.parametrize(
    "text", ["4-1-3x3000/float32/Softmax/Identity/MSELoss", "4-1-5-3x30000/float32/LogSoftmax/Sigmoid/BCELoss", "4-5-3x30000/float32/Tanh/Identity/MSELoss"]
)  # fmt: skip
def test_equal_samples_and_long_sums_raise_no_alarm(text):
    """A softmax of one feature makes all samples equal: their rounding errors are equal too, and add up like m, not sqrt(m)."""
    for seed in range(2):
        assert discrepancies(build(Spec.parse(text), seed))["margin"].max() < 0.6


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200])
def test_the_edges_of_the_range_raise_no_alarm(scale):
    case = draw([ACTIVATIONS[0]], LOSSES[-1], (4, 3), 5)
    assert set(discrepancies(replace(case, x=case.x * scale))["verdict"]) == {"agree"}
