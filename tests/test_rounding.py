"""Noise after every operation: what it may touch, that the exact copy is torch's own, and that kinks are seen from both sides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from manualbp import CTCLoss, HalfSquaredError, Hardshrink, Identity, LogSoftmax, Network, ReLU, Sigmoid, Softmax, Tanh
from oracle.alone import UPSTREAM, Alone
from oracle.alone import build as build_alone
from oracle.case import Case
from oracle.check import discrepancies
from oracle.rounding import scales, sides
from oracle.rounding.chain import Chain
from oracle.rounding.decisions import Decisions
from oracle.rounding.noise import STRONG, Format, RoundingNoise
from oracle.rounding.operations import kind
from oracle.rounding.replicas import Groups
from oracle.rounding.scales import NOISY, _by_group, format_of, groups_of
from oracle.torch_run import torch_run
from oracle.verdict import TOLERANCE
from support import ACTIVATIONS, LOSSES, draw, link

SINGLE = Format(2.0**-24, 2.0**-24, 1e-38)
GROUPS = Groups(1, 6)


def replicated(*numbers):
    return torch.tensor([numbers] * GROUPS.count, dtype=torch.float64)


def noisy(function, *arrays, format=SINGLE):
    """The result of every copy under noise, in units of the roundoff."""
    with RoundingNoise(GROUPS, format, TOLERANCE, 0):
        result = function(*arrays)
    return (result - result[:1]) / format.unit_roundoff


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_exact_copy_is_torchs_own_run(loss):
    """Also where a function is written once more in plain operations: values and gradients come out the same."""
    case = draw([ACTIVATIONS[-1], link(loss)], loss, (4, 5, 3), 6)
    reference, groups = torch_run(case), groups_of(case, NOISY)
    found = _by_group(Chain(case, groups, reference).run(RoundingNoise(groups, format_of(case.dtype), TOLERANCE, 1)), groups)
    for part in found:
        for quantity, wanted in reference.quantities().items():
            of_torch = isinstance(loss, CTCLoss) and quantity.position == len(case.network.layers)  # not the derivative there
            if not (of_torch and quantity.is_gradient):
                assert np.abs(part[quantity][0] - wanted).max() <= 1e-12 * np.abs(wanted).max(), quantity


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_noise_reaches_every_gradient(loss):
    case = draw([ACTIVATIONS[-1], link(loss)], loss, (4, 5, 3), 6)
    groups = groups_of(case, NOISY)
    for quantity, copies in (
        Chain(case, groups).run(RoundingNoise(groups, format_of(case.dtype), TOLERANCE, 1)).quantities().items()
    ):
        moved = np.abs(copies - copies[:1])
        assert np.isfinite(moved).all(), quantity
        assert (moved.max(axis=0) > 0).mean() >= (copies[0] != 0).mean() - 0.5, quantity


def test_an_operation_is_moved_by_a_unit_roundoff_and_stronger_in_half_of_the_copies():
    moved = noisy(torch.exp, replicated(0.0, 1.0))
    assert moved[0].tolist() == [0, 0]
    assert moved[1:4, 0].abs().numpy() == pytest.approx(1.0, rel=1e-6)
    assert moved[4:, 0].abs().numpy() == pytest.approx(STRONG, rel=1e-6)


@pytest.mark.parametrize(
    "function", [torch.neg, torch.relu, torch.abs, lambda x: x.clone(), lambda x: x[:, :1], lambda x: x.amax(1)]
)
def test_what_only_moves_or_selects_rounds_nothing(function):
    assert noisy(function, replicated(0.3, -1.7)).abs().max() == 0


def test_zero_stays_zero():
    assert noisy(lambda x: x * 0.0, replicated(0.3, 2.0)).abs().max() == 0


def test_a_sum_that_cancels_is_moved_by_the_rounding_of_its_terms():
    moved = noisy(lambda x: x.sum(1), replicated(1e6, -1e6, 1.0))
    assert 1e5 < moved[1:].abs().max() < 1e8


def test_what_cancels_inside_gelu_is_seen():
    """At -5 the value is 1e-6 and the terms are of size 1: 1 + erf."""
    moved = noisy(torch.nn.functional.gelu, replicated(-5.0))
    assert moved[1:].abs().max() > 100 * 1.4e-6
    assert kind(torch.ops.aten.gelu.default).parts is not None


def test_half_precisions_round_the_result_and_compute_inside_in_float32():
    half = Format(2.0**-11, 2.0**-24, 0.0)
    inside = noisy(torch.nn.functional.gelu, replicated(-5.0), format=half)
    assert inside[1:4].abs().max() < 0.1  # 1e-6 of the value and the rest of the noise inside, not 1
    assert noisy(torch.exp, replicated(0.0), format=half)[1:4].abs().numpy() == pytest.approx(1.0, rel=1e-3)


def test_a_comparison_decides_in_every_copy_what_it_decides_in_the_exact_one():
    x = replicated(1.0, -1.0)
    x[1:] += 1e-3 * torch.randn(GROUPS.replicas, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[0] = torch.tensor([1e-9, -1.0])
    x[1, 0] = -5e-9
    with RoundingNoise(GROUPS, SINGLE, TOLERANCE, 0) as mode:
        decided = x > 0
    assert (decided == decided[:1]).all()
    (reach,) = mode.reach
    assert reach[0, 0, 0] > 0  # the first is in reach of 0, the second is not
    assert reach[0, 0, 1] == 0


def test_where_rounding_could_decide_otherwise_both_ways_are_tried():
    reach = torch.tensor([[[1e-8, 0.0]]], dtype=torch.float64)
    with Decisions(GROUPS, [reach]):
        decided = replicated(1e-9, 1e-9) > 0
    assert set(decided[:, 0].tolist()) == {True, False}
    assert decided[:, 1].all()


def test_a_tensor_that_only_looks_like_copies_is_left_alone():
    """A batch of 34 samples is no 34 copies: a case takes another number of them."""
    for m in (34, 17, 19, 38):
        case = draw([Identity()], HalfSquaredError(), (4, 3), m)
        assert m % groups_of(case, NOISY).copies


def test_a_kink_within_rounding_is_allowed_both_ways_and_no_more():
    """z = w x + b is 0 but for rounding: the gradient is g or 0, and not 40 g."""
    case = draw([ReLU(), Identity()], HalfSquaredError(), (1, 1, 1), 1, "float32")
    case.params[0]["bias"][:] = -case.params[0]["weight"] @ case.x[:, 0] * np.float32(1 + 2e-7)
    reference = torch_run(case)
    symbol = next(quantity for quantity in reference.quantities() if quantity.symbol == "delta[1]")
    slope = np.abs(reference["dC/da[1]"]).item()
    allowed = TOLERANCE * scales(case, reference).through[symbol].item()
    assert slope <= allowed <= 4 * slope


@pytest.mark.parametrize("record", [ReLU(), Hardshrink()], ids=str)
def test_another_value_at_a_kink_is_a_kink_and_one_beyond_is_not(record):
    from oracle.manual_run import manual_run

    case = build_alone(Alone((3, 31), "float64", record, "kinks"))
    honest, on_kink = manual_run(case), np.isin(case.x, [kink.at for kink in record.kinks])
    assert on_kink.any()
    for share, verdict in ((0.5, "kink"), (2.0, "differ")):
        gradient = np.where(on_kink, share * case.target, honest.gradients[0])
        table = discrepancies(case, candidate=replace(honest, gradients=(gradient, honest.gradients[1])))
        assert table.set_index("symbol")["verdict"]["dC/dx"] == verdict
    ways = sides(case, torch_run(case)).own[next(q for q in torch_run(case).quantities() if q.symbol == "dC/dx")]
    assert (np.ptp(ways, axis=0)[~on_kink] == 0).all()


@pytest.mark.parametrize("softmax", [Softmax(), LogSoftmax()], ids=str)
def test_a_softmax_over_one_number_rounds_nothing(softmax):
    """Its gradient is exactly 0, however large what flows back; over two numbers it is not."""
    for width, rounds in ((1, False), (2, True)):
        case = draw([Tanh(), softmax], HalfSquaredError(), (3, 2, width), 2, "float32")
        case = replace(case, target=case.target + np.float32(1e12))
        reference = torch_run(case)
        scale = next(scale for quantity, scale in scales(case, reference).own.items() if quantity.symbol == "delta[2]")
        assert (scale > 1e-30).any() == rounds


def test_what_was_flushed_to_zero_may_be_large_beside_a_large_upstream_gradient():
    """sigmoid(-723) is below the smallest normal number, and torch's is 0; times 1e86 that is no rounding of 0."""
    z = np.array([[-723.0, -900.0, 1.0]])
    case = Case("flushed", Network((Sigmoid(),), UPSTREAM), ({},), z, np.full((1, 3), 1e86))
    reference = torch_run(case)
    own = {quantity.symbol: scale for quantity, scale in scales(case, reference).own.items()}["dC/dx"]
    true = 1e86 * np.exp(z[0, 0])
    assert 0.01 * true < own[0, 0] < 1e86 * 2.3e-308
    assert own[0, 2] < 1e-14 * 1e86
