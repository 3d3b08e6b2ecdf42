"""Every activation, loss and layer, found in the catalogue: nothing here is listed by name."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manualbp import Linear, Network
from manualbp.domains import REALS, Interval
from manualbp.layer import Elementwise
from oracle.case import Case
from oracle.check import discrepancies
from oracle.torch_run import twin
from support import ACTIVATIONS, DTYPES, LOSSES, draw, link

ELEMENTWISE = [record for record in ACTIVATIONS if isinstance(record, Elementwise)]
WITH_KINKS = [record for record in ACTIVATIONS if record.kinks]


def agree(case):
    table = discrepancies(case)
    failing = table[table["verdict"] != "agree"]
    assert failing.empty, failing.to_string()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", ACTIVATIONS, ids=str)
@given(rows=st.integers(1, 9), batch=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_activation_agrees_with_torch_alone(record, dtype, rows, batch, seed):
    rng = np.random.default_rng(seed)
    loss = next(loss for loss in LOSSES if loss.domain == REALS and loss.target_domain == REALS)
    x = (3 * rng.standard_normal((rows, batch))).astype(dtype)
    target = rng.standard_normal((rows, batch)).astype(dtype)
    agree(Case("alone", Network((record,), loss), ({},), x, target, 1.3))


@pytest.mark.parametrize("record", ACTIVATIONS, ids=str)
def test_activation_takes_arrays_of_any_rank(record):
    z = np.random.default_rng(0).standard_normal((4, 2, 3, 5))
    upstream = np.random.default_rng(1).standard_normal(z.shape)
    a, residuals = record.forward({}, z)
    grad, _ = record.backward({}, residuals, upstream)

    wide = torch.from_numpy(np.moveaxis(z, -1, 0).copy()).requires_grad_()
    out = twin(record)(wide)
    out.backward(torch.from_numpy(np.moveaxis(upstream, -1, 0).copy()))
    np.testing.assert_allclose(a, np.moveaxis(out.detach().numpy(), 0, -1), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(grad, np.moveaxis(wide.grad.numpy(), 0, -1), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("record", ELEMENTWISE, ids=str)
def test_derivative_is_the_slope_of_the_value(record):
    """Against central differences of the value: torch has no part in this."""
    kinks = np.array([kink.at for kink in record.kinks])
    z = np.linspace(-4, 4, 401)
    if kinks.size:
        z = z[np.abs(z[:, None] - kinks).min(axis=1) > 1e-3]
    step = 1e-6
    slope = (record.value(z + step) - record.value(z - step)) / (2 * step)
    np.testing.assert_allclose(record.derivative(z, record.value(z)), slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", WITH_KINKS, ids=str)
def test_kink_and_its_neighbours_are_torchs(record, dtype):
    for kink in record.kinks:
        at = np.dtype(dtype).type(kink.at)
        z = np.array([[np.nextafter(at, -np.inf), at, np.nextafter(at, np.inf)]], dtype=dtype)
        a, residuals = record.forward({}, z)
        grad, _ = record.backward({}, residuals, np.ones_like(z))
        wide = torch.from_numpy(z.T.copy()).requires_grad_()
        out = twin(record)(wide)
        out.sum().backward()
        near = {"rtol": 0 if kink.at == 0 else 4 * float(np.finfo(dtype).eps)}  # at 0 there is nothing to round
        np.testing.assert_allclose(a, out.detach().numpy().T, **near)
        np.testing.assert_allclose(grad, wide.grad.numpy().T, **near)
        np.testing.assert_allclose(grad[0, 1], np.dtype(dtype).type(kink.derivative), **near)


@pytest.mark.parametrize("record", ACTIVATIONS, ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_output_stays_in_the_stated_range(record):
    z = np.concatenate([np.linspace(-60, 60, 997), [-700.0, 700.0]]).reshape(3, -1)
    a, _ = record.forward({}, z)
    assert not record.range.outside(a).any()
    assert record.formula
    assert record.derivative_formula


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
@given(rows=st.integers(1, 7), batch=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_loss_agrees_with_torch_behind_its_link(loss, dtype, rows, batch, seed):
    agree(draw([link(loss)], loss, (3, rows), batch, dtype, seed))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_loss_gradient_is_the_slope_of_the_loss(loss):
    rng = np.random.default_rng(3)
    shape, step = (4, 5), 1e-6
    output = rng.uniform(0.1, 0.9, shape) if loss.domain != REALS else rng.standard_normal(shape)
    target = loss.target_domain.sample(rng, shape, output.dtype)
    grad = loss.backward(loss.forward(output, target)[1], 1.7)
    slope = np.zeros(shape)
    for at in np.ndindex(shape):
        moved = np.zeros(shape)
        moved[at] = step
        slope[at] = (loss.forward(output + moved, target)[0] - loss.forward(output - moved, target)[0]) / (2 * step)
    np.testing.assert_allclose(grad, 1.7 * slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_loss_takes_arrays_of_any_rank(loss):
    rng = np.random.default_rng(5)
    shape = (4, 2, 3)
    output = rng.uniform(0.1, 0.9, shape)
    target = loss.target_domain.sample(rng, shape, output.dtype)
    value, residuals = loss.forward(output, target)
    wide = torch.from_numpy(np.moveaxis(output, -1, 0).copy()).requires_grad_()
    expected = twin(loss)(wide, torch.from_numpy(np.moveaxis(target, -1, 0).copy()))
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-13)
    np.testing.assert_allclose(loss.backward(residuals), np.moveaxis(wide.grad.numpy(), 0, -1), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES if hasattr(type(loss), "__dataclass_fields__") and loss.options()], ids=str
)
def test_unknown_reduction_is_refused(loss):
    with pytest.raises(ValueError, match="takes reduction 'mean' or 'sum'; got 'average'"):
        type(loss)(**{**loss.options(), "reduction": "average"})


@pytest.mark.parametrize("bias", [True, False])
def test_linear_takes_arrays_of_any_rank(bias):
    rng = np.random.default_rng(0)
    layer = Linear(5, 3, bias)
    params = {name: rng.standard_normal(shape) for name, shape in layer.parameter_shapes().items()}
    x, upstream = rng.standard_normal((5, 2, 4)), rng.standard_normal((3, 2, 4))
    z, residuals = layer.forward(params, x)
    dx, grads = layer.backward(params, residuals, upstream)
    np.testing.assert_allclose(z, np.einsum("ij,jkm->ikm", params["weight"], x) + params.get("bias", np.zeros(3))[:, None, None])
    np.testing.assert_allclose(dx, np.einsum("ij,ikm->jkm", params["weight"], upstream))
    np.testing.assert_allclose(grads["weight"], np.einsum("ikm,jkm->ij", upstream, x))
    assert ("bias" in grads) == bias


@pytest.mark.parametrize("record", ACTIVATIONS, ids=str)
def test_passes_change_nothing_and_repeat(record):
    rng = np.random.default_rng(0)
    z, upstream = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    kept = z.copy(), upstream.copy()
    a, residuals = record.forward({}, z)
    first, _ = record.backward({}, residuals, upstream)
    second, _ = record.backward({}, residuals, upstream)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(z, kept[0])
    np.testing.assert_array_equal(upstream, kept[1])
    np.testing.assert_array_equal(record.forward({}, z)[0], a)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_loss_passes_change_nothing_and_repeat(loss):
    rng = np.random.default_rng(0)
    output = rng.uniform(0.1, 0.9, (3, 4))
    target = loss.target_domain.sample(rng, (3, 4), output.dtype)
    kept = output.copy(), target.copy()
    _, residuals = loss.forward(output, target)
    np.testing.assert_array_equal(loss.backward(residuals, 0.7), loss.backward(residuals, 0.7))
    assert not loss.backward(residuals, 0.0).any()
    np.testing.assert_array_equal(output, kept[0])
    np.testing.assert_array_equal(target, kept[1])


def test_intervals_know_what_they_cover():
    unit, half_open = Interval(0, 1), Interval(0, 1, high_open=True)
    assert REALS.covers(unit)
    assert unit.covers(half_open)
    assert not half_open.covers(unit)
    assert not unit.covers(REALS)
    assert half_open.outside(np.array([0.0, 1.0, np.nan])).tolist() == [False, True, False]
    assert (str(unit), str(half_open), str(REALS)) == ("[0, 1]", "[0, 1)", "(-inf, inf)")


@given(low=st.sampled_from([-np.inf, -2.0, 0.0]), high=st.sampled_from([1.0, 5.0, np.inf]), seed=st.integers(0, 99))
def test_samples_lie_inside_and_are_drawn_one_by_one(low, high, seed):
    interval = Interval(low, high)
    drawn = interval.sample(np.random.default_rng(seed), (3, 4), np.dtype("float32"))
    assert drawn.dtype == np.float32
    assert not interval.outside(drawn).any()
    assert len(np.unique(drawn)) == drawn.size
