"""The loss for label sequences: behind a LogSoftmax against torch, alone against the truth, which torch's gradient is not."""

import numpy as np
import pytest
import torch
from flint import arb, ctx

import manualbp as mb
from beside import agree, exact, ulps, upstream_like


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(autouse=True)
def _bits():
    before, ctx.prec = ctx.prec, 2400
    yield
    ctx.prec = before


def spelling(a, target, blank, moving=None):
    """(P, dP/da[moving]) from the definition: all paths, by forward mode."""
    steps, length, *labels = map(int, target)
    path = [blank]
    for label in labels[:length]:
        path += [label, blank]
    states = [(arb(1), arb(0))] + [(arb(0), arb(0))] * (len(path) - 1)
    for t in range(steps):
        after = []
        for s, label in enumerate(path):
            reach = 3 if s > 1 and label != path[s - 2] else 2
            sources = states[max(s + 1 - reach, 0) : s + 1]
            p, dp = (sum(parts, arb(0)) for parts in zip(*sources, strict=True))
            e = exact(a[label, t]).exp()
            after.append((p * e, dp * e + (p * e if (label, t) == moving else 0)))
        states = after
    return tuple(sum(parts, arb(0)) for parts in zip(*states[-2:], strict=True))


def ctc_case(seed, feasible=True, most=8):
    rng = np.random.default_rng(seed)
    classes, steps, m = rng.integers(1, 5), rng.integers(1, most), rng.integers(1, 5)
    blank = int(rng.integers(0, classes))
    a, residuals = mb.LogSoftmax().forward({}, 3 * rng.standard_normal((classes, steps, m)))
    target = mb.CTCLoss(blank=blank).target_domain.sample(rng, a.shape, a.dtype)
    if not feasible and len(target) > 2:
        target[0] = rng.integers(1, steps + 1, m)
        target[1] = rng.integers(0, len(target) - 1, m)
    return a, residuals, target.astype([np.int8, np.uint8, np.int32, np.int64][seed % 4]), blank


def ctc_by_torch(loss, a, target, g):
    """torch's loss, and its gradients with respect to logits, of which a LogSoftmax makes a, and to a."""
    z = torch.from_numpy(a.transpose(1, 2, 0).copy()).requires_grad_()
    log_p = z.log_softmax(2)
    log_p.retain_grad()
    whole = torch.from_numpy(target.astype(np.int64))
    value = torch.nn.CTCLoss(**loss.twin_options())(log_p, whole[2:].T.contiguous(), whole[0], whole[1])
    value.backward(torch.tensor(g))
    return value.detach().numpy(), *(x.grad.numpy().transpose(2, 0, 1) for x in (z, log_p))


def compare_ctc(loss, a, residuals, target):
    value, saved = loss.forward({}, a, target)
    g = upstream_like(value)
    wanted, of_logits, of_a = ctc_by_torch(loss, a, target, g)
    grad, _ = loss.backward({}, saved, g)
    agree(value, wanted, np.finfo(float).eps)
    agree(mb.LogSoftmax().backward({}, residuals, grad)[0], of_logits, np.finfo(float).eps)
    return grad, of_a, g


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("reduction", mb.CTCLoss.reductions)
@pytest.mark.parametrize("seed", range(40))
def test_ctc_is_torchs_behind_a_log_softmax(seed, reduction, zero_infinity):
    a, residuals, target, blank = ctc_case(seed, feasible=seed % 2 == 0)
    compare_ctc(mb.CTCLoss(reduction, blank, zero_infinity), a, residuals, target)


@pytest.mark.parametrize("seed", range(12))
def test_ctc_alone_is_the_true_derivative_and_torchs_is_not(seed):
    a, residuals, target, blank = ctc_case(seed)
    loss = mb.CTCLoss("none", blank)
    grad, of_a, g = compare_ctc(loss, a, residuals, target)
    value, saved = loss.forward({}, a, target)
    unit, _ = loss.backward({}, saved, np.ones_like(value))
    for sample in range(a.shape[2]):
        p, _ = spelling(a[:, :, sample], target[:, sample], blank)
        assert ulps(value[sample], -p.log()) <= 4
        for label, t in np.ndindex(a.shape[:2]):
            _, dp = spelling(a[:, :, sample], target[:, sample], blank, (label, t))
            assert ulps(unit[label, t, sample], -dp / p) <= 8
    counts = np.arange(a.shape[1])[:, None] < target[0]
    agree(grad + g * np.exp(a) * counts, of_a, np.finfo(float).eps)  # torch's own: exp(a) more than the derivative


def test_ctc_without_any_path():
    a, _ = mb.LogSoftmax().forward({}, np.random.default_rng(0).standard_normal((3, 2, 3)))
    target = np.array([[2, 1, 2], [2, 2, 0], [1, 1, 1], [1, 2, 1]])  # two equal labels need a blank between; one step; no label
    value, saved = mb.CTCLoss("none").forward({}, a, target)
    grad, _ = mb.CTCLoss("none").backward({}, saved, np.ones(3))
    np.testing.assert_array_equal(value[:2], np.inf)
    np.testing.assert_allclose(value[2], -a[0, :, 2].sum())
    assert np.isnan(grad[:, :, 0]).all()
    assert np.isnan(grad[:, 0, 1]).all()
    assert not grad[:, 1, 1].any()
    quiet = mb.CTCLoss("sum", zero_infinity=True)
    total, saved = quiet.forward({}, a, target)
    np.testing.assert_allclose(total, value[2])
    assert not quiet.backward({}, saved)[0][:, :, :2].any()


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc_of_no_number_has_no_gradient_in_this_sample_alone(zero_infinity):
    a, _ = mb.LogSoftmax().forward({}, np.random.default_rng(0).standard_normal((3, 4, 2)))
    target = np.array([[3, 4], [1, 2], [1, 1], [1, 2]])
    loss = mb.CTCLoss("none", zero_infinity=zero_infinity)
    _, saved = loss.forward({}, a, target)
    right, _ = loss.backward({}, saved, np.ones(2))
    a[:, 1, 0] = np.nan
    value, saved = loss.forward({}, a, target)
    grad, _ = loss.backward({}, saved, np.ones(2))
    assert np.isnan(value).tolist() == [True, False]
    assert np.isnan(grad[:, :3, 0]).all()
    assert not grad[:, 3, 0].any()  # a time that does not count
    np.testing.assert_array_equal(grad[:, :, 1], right[:, :, 1])


def test_ctc_with_a_class_that_cannot_be():
    a = np.array([[-0.5, -1.0, -0.3], [-np.inf, -0.7, -2.0]])[:, :, None]
    value, saved = mb.CTCLoss("sum").forward({}, a, np.array([[3], [1], [1]]))
    grad, _ = mb.CTCLoss("sum").backward({}, saved)
    p = np.exp(-0.5 - 0.7 - 0.3) + np.exp(-0.5 - 0.7 - 2.0) + np.exp(-0.5 - 1.0 - 2.0)
    np.testing.assert_allclose(value, -np.log(p), rtol=1e-15)
    np.testing.assert_allclose(grad.sum(axis=0)[:, 0], -1, rtol=1e-15)  # some class is emitted at each time
    assert grad[1, 0, 0] == 0


def test_torchs_own_ctc_gradient_is_noticed_as_no_derivative():
    a, _, target, blank = ctc_case(0)
    loss = mb.CTCLoss("sum", blank)
    _, saved = loss.forward({}, a, target)
    _, _, of_a = ctc_by_torch(loss, a, target, 1.0)
    grad, _ = loss.backward({}, saved)
    step = 1e-6 * np.random.default_rng(1).standard_normal(a.shape)
    slope = (loss.forward({}, a + step, target)[0] - loss.forward({}, a - step, target)[0]) / 2
    assert abs(np.vdot(grad, step) - slope) < 1e-6 * abs(slope)
    assert abs(np.vdot(of_a, step) - slope) > 1e-2 * abs(slope)
