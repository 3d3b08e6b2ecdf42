"""Every activation, loss and layer, found in the catalogue: nothing here is listed by name."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manualbp import (
    CELU,
    ELU,
    Activation,
    CrossEntropyLoss,
    Hardshrink,
    HuberLoss,
    LeakyReLU,
    Linear,
    MarginRankingLoss,
    MultiMarginLoss,
    NLLLoss,
    SmoothL1Loss,
    Softplus,
    TripletMarginLoss,
)
from manualbp.domains import REALS, Interval
from manualbp.layer import Elementwise
from manualbp.loss import ReducedLoss
from oracle.alone import Alone, build
from oracle.case import DTYPES as KNOWN
from oracle.check import rows, table
from oracle.twins import call, call_loss, to_numpy, to_torch
from oracle.verdict import Verdict
from support import ACTIVATIONS, DTYPES, LOSSES, axes, draw, for_rows, link

ELEMENTWISE = [record for record in ACTIVATIONS if isinstance(record, Elementwise)]
ALL = [*ACTIVATIONS, *LOSSES]


def passes(case):
    """The rows of a case, none of which fails."""
    found = rows(case)
    failing = [row for row in found if Verdict(row.verdict).fails]
    assert not failing, table(failing)[["symbol", "max_ulp", "worst_index", "candidate", "reference", "note"]].to_string()
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", ALL, ids=str)
@settings(max_examples=2)  # of more than two hundred records in four dtypes; the sweep and the drawn networks see more
@given(
    number=st.integers(1, 7), batch=st.integers(1, 9), extra=st.lists(st.integers(1, 3), max_size=2), seed=st.integers(0, 2**16)
)
def test_agrees_with_torch_alone(record, dtype, number, batch, extra, seed):
    between = axes(record) if record.extra_axes is not None else tuple(extra)
    passes(build(Alone((number, *between, batch), dtype, for_rows(record, number), "generic"), seed))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", ALL, ids=str)
def test_agrees_with_torch_or_is_right_at_the_ends_of_the_range(record, dtype):
    passes(build(Alone((3, *axes(record), 41), dtype, record, "extremes"), 1))


#: Options that no example has: of the other sign, at the end of what is allowed, and any numbers.
UNUSUAL = (
    CELU(alpha=-1.006),
    CELU(alpha=-0.242),
    CELU(alpha=1.3),
    ELU(alpha=-0.7),
    Hardshrink(lambd=-0.3),
    LeakyReLU(negative_slope=1.7),
    LeakyReLU(negative_slope=0.0),
    Softplus(beta=-1.3),
    Softplus(beta=3.7, threshold=2.5),
    SmoothL1Loss(beta=0.0),
    HuberLoss(delta=2.75),
    CrossEntropyLoss(weight=(0.3, 0.0, 2.9), ignore_index=-1, label_smoothing=0.37),
    NLLLoss(weight=(2.8, 0.5, 0.7), ignore_index=0),
    TripletMarginLoss(p=0.5, margin=0.2, eps=1e-4),
    TripletMarginLoss(p=np.inf, swap=True),
    MarginRankingLoss(margin=-0.6),
    MultiMarginLoss(p=2, margin=-0.4, weight=(0.4, 1.3, 2.2)),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", UNUSUAL, ids=str)
def test_options_that_no_example_has(record, dtype):
    for regime, seed in (("generic", 0), ("extremes", 1), ("extremes", 2)):
        passes(build(Alone((3, *axes(record), 41), dtype, record, regime), seed))


def test_torchs_reciprocal_of_alpha_is_noticed():
    found = rows(build(Alone((3, 41), "float64", CELU(alpha=1.3), "generic"), 0))
    (gradient,) = (row for row in found if row.symbol == "dC/dx")
    assert gradient.verdict == "reference"
    assert 1e-9 < gradient.max_rel < 1e-6
    assert {row.verdict for row in rows(build(Alone((3, 41), "float64", CELU(alpha=2.5), "generic"), 0))} == {"agree"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", [record for record in ALL if record.kinks], ids=str)
def test_a_kink_and_its_neighbours_are_torchs(record, dtype):
    found = passes(build(Alone((3, *axes(record), 41), dtype, record, "kinks"), 0))
    exact = isinstance(record, Elementwise) and not record.wide
    apart = [row.max_ulp for row in found if row.verdict == "agree"]  # elsewhere the referee has spoken
    assert max(apart, default=0) <= (0 if exact else 4)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("record", [record for record in ACTIVATIONS if record.kinks], ids=str)
def test_the_stated_derivative_at_a_kink_is_torchs(record, dtype):
    for kink in record.kinks:
        z = torch.full((1, 1), kink.at, dtype=getattr(torch, dtype), requires_grad=True)
        params = {
            name: torch.full(shape, record.centres[name], dtype=z.dtype) for name, shape in record.parameter_shapes().items()
        }
        if any(tensor.numel() > 1 for tensor in params.values()):
            continue  # for one row per channel the shared one speaks
        noise = record.noise((1, 1), KNOWN[dtype])
        call(record, params, z, *(() if noise is None else (to_torch(noise),))).backward()
        assert z.grad.item() == pytest.approx(kink.derivative, rel=1e-6, abs=0)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss.kinks and loss.reduction == "sum"], ids=str)
def test_the_stated_gradient_at_a_kink_is_torchs(loss):
    for kink in loss.kinks:
        count = 1 if loss.per_sample else len(kink.input) // len(loss.inputs)
        assert count == 1
        column = np.array(kink.input)[:, None]
        output = column if loss.per_sample else np.repeat(column, 3, axis=0)
        target = np.array(kink.target)[..., None] if loss.per_sample else np.full((3, 1), kink.target, float)
        value = to_torch(output).requires_grad_()
        call_loss(loss, {}, value, to_torch(target)).backward()
        wanted = kink.gradient if loss.per_sample else np.repeat(kink.gradient, 3)
        np.testing.assert_allclose(value.grad.numpy()[0], wanted, rtol=1e-12, atol=1e-15, err_msg=kink.where)


@pytest.mark.parametrize("record", ELEMENTWISE, ids=str)
def test_derivative_is_the_slope_of_the_value(record):
    """Against central differences of the value: torch has no part in this."""
    if record.parameter_shapes() or record.noise((1, 1), np.dtype("f8")) is not None:
        pytest.skip("its value takes more than z")
    kinks = np.array([kink.at for kink in record.kinks])
    z = np.linspace(-4, 4, 400)  # not 0, where a second derivative may jump
    if kinks.size:
        z = z[np.abs(z[:, None] - kinks).min(axis=1) > 1e-3]
    step = 1e-6
    slope = (record.value(z + step) - record.value(z - step)) / (2 * step)
    np.testing.assert_allclose(record.derivative(z), slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("record", ACTIVATIONS, ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_output_stays_in_the_stated_range(record):
    z = np.concatenate([np.linspace(-60, 60, 999), [-700.0, 700.0, 0.0]]).reshape(
        record.rows_in(3), *(1,) * (record.extra_axes or 0), -1
    )
    params = {name: np.full(shape, record.centres.get(name, 0.0)) for name, shape in record.parameter_shapes().items()}
    a, _ = record.forward(params, z)
    assert not record.range.outside(a).any()
    assert record.formula
    assert record.derivative_formula


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
@settings(max_examples=2)
@given(number=st.integers(1, 7), batch=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_loss_agrees_with_torch_behind_its_link(loss, dtype, number, batch, seed):
    passes(draw([link(loss)], loss, (3, number), batch, dtype, seed))


#: Losses whose value torch leaves unset for an empty batch: repeated calls give other numbers.
UNINITIALISED = {"MultiMarginLoss", "MultiLabelMarginLoss"}


@pytest.mark.parametrize("record", ALL, ids=str)
@pytest.mark.parametrize("shape", [(3, 0), (3, 1, 0), (3, 0, 2), (0, 4)], ids=str)
def test_empty_axes_give_what_torch_gives(record, shape):
    """Size 0 is refused where torch refuses it, and has torch's shape and value where not."""
    if record.extra_axes not in (None, len(shape) - 2):
        pytest.skip(f"takes {record.extra_axes} axes in between")
    is_activation = isinstance(record, Activation)
    if not is_activation and shape[0] == 0 and not isinstance(record.target_domain, Interval):
        pytest.skip("its targets are classes, and there is none")
    if not is_activation and shape[0] == 0 and record.per_sample:
        pytest.skip("an average over no features")
    if type(record).__name__ in UNINITIALISED:
        pytest.skip("torch 2.13 returns what lay in memory for an empty batch")
    blocks = record.rows_in(1) if is_activation else len(record.inputs)
    x = np.zeros((shape[0] * blocks, *shape[1:]))
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal(size) for name, size in record.parameter_shapes().items()}
    try:
        target = None if is_activation else record.target_domain.sample(rng, record.target_shape(x.shape), x.dtype)
        wide = to_torch(x).requires_grad_()
        tensors = {name: torch.from_numpy(value) for name, value in params.items()}
        noise = record.noise(x.shape, x.dtype) if is_activation else None
        extra = () if noise is None else (to_torch(noise),)
        wanted = call(record, tensors, wide, *extra) if is_activation else call_loss(record, tensors, wide, to_torch(target))
        wanted.sum().backward()
    except (RuntimeError, IndexError, ValueError) as error:
        pytest.skip(f"torch refuses it, or it has no target: {error}")
    with np.errstate(all="ignore"):
        if is_activation:
            found, residuals = record.forward(params, x)
            grad, _ = record.backward(params, residuals, np.ones(found.shape))
        else:
            found, residuals = record.forward(params, x, target)
            grad, _ = record.backward(params, residuals)
    expected = wanted.detach().numpy()
    assert np.shape(found) == (np.moveaxis(expected, 0, -1).shape if expected.ndim else ())
    if not expected.ndim:
        np.testing.assert_array_equal(found, expected)
    assert grad.shape == x.shape


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if isinstance(loss, ReducedLoss)], ids=str)
def test_unknown_reduction_is_refused(loss):
    with pytest.raises(ValueError, match=r"takes reduction 'mean' or 'sum' .*; got 'average'"):
        type(loss)(**{**loss.options(), "reduction": "average"})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_takes_arrays_of_any_rank(bias, dtype):
    rng = np.random.default_rng(0)
    layer = Linear(5, 3, bias)
    kind = KNOWN[dtype]
    params = {name: rng.standard_normal(shape).astype(kind) for name, shape in layer.parameter_shapes().items()}
    x, upstream = rng.standard_normal((5, 2, 4)).astype(kind), rng.standard_normal((3, 2, 4)).astype(kind)
    z, residuals = layer.forward(params, x)
    dx, grads = layer.backward(params, residuals, upstream)
    weight, bias_, wide, up = (array.astype("f8") for array in (params["weight"], params.get("bias", np.zeros(3)), x, upstream))
    near = {"rtol": 8 * float(torch.finfo(getattr(torch, dtype)).eps), "atol": 8 * float(torch.finfo(getattr(torch, dtype)).eps)}
    np.testing.assert_allclose(z.astype("f8"), np.einsum("ij,jkm->ikm", weight, wide) + bias_[:, None, None], **near)
    np.testing.assert_allclose(dx.astype("f8"), np.einsum("ij,ikm->jkm", weight, up), **near)
    np.testing.assert_allclose(grads["weight"].astype("f8"), np.einsum("ikm,jkm->ij", up, wide), **near)
    assert ("bias" in grads) == bias
    assert {z.dtype, dx.dtype, *(own.dtype for own in grads.values())} == {kind}


@pytest.mark.parametrize("record", ALL, ids=str)
def test_passes_change_nothing_and_repeat(record):
    case = build(Alone((3, *axes(record), 4), "float64", record, "generic"), 0)
    with np.errstate(all="ignore"):  # a log-probability of 0 is minus infinity
        change_nothing_and_repeat(record, case)


def change_nothing_and_repeat(record, case):
    params = case.params[0] if case.params else {}
    arrays = {"x": case.x, "target": case.target, **params}
    kept = {name: array.copy() for name, array in arrays.items()}
    if isinstance(record, Activation):
        upstream = case.target
        out, residuals = record.forward(params, case.x)
        again, _ = record.forward(params, case.x)
    else:
        upstream = case.grad_loss
        out, residuals = record.forward(params, case.x, case.target)
        again, _ = record.forward(params, case.x, case.target)
    np.testing.assert_array_equal(out, again)
    first, second = (record.backward(params, residuals, upstream) for _ in range(2))
    for one, other in zip((first[0], *first[1].values()), (second[0], *second[1].values()), strict=True):
        np.testing.assert_array_equal(one, other)
    zero, _ = record.backward(params, residuals, np.zeros_like(upstream))
    assert not zero.any()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, kept[name])


def test_numpy_and_torch_hold_the_same_bfloat16():
    bits = np.arange(65536, dtype=np.uint16).view(KNOWN["bfloat16"]).reshape(256, 256)
    back = np.moveaxis(to_numpy(to_torch(bits)), 0, -1)
    assert back.dtype == bits.dtype
    np.testing.assert_array_equal(back.view(np.uint16), bits.view(np.uint16))


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


@pytest.mark.parametrize(
    "softmax", [record for record in ACTIVATIONS if type(record).__name__ in ("Softmax", "Softmin", "LogSoftmax")], ids=str
)
@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("size", [np.inf, -np.inf, np.nan])
def test_an_infinite_upstream_gradient_goes_where_torch_lets_it_go(softmax, at, size):  # fmt: skip
    """Into every feature of its sample, or as NaN, and into no other sample; also where one feature has nearly all probability."""
    x, upstream = np.array([[0.0, 3.0], [0.5, 1.0], [1.0, -4.0]]), np.array([[1.0, 2.0], [-1.0, 0.5], [0.25, 1.5]])
    upstream[at] = size, 1.0
    given = to_torch(x).requires_grad_()
    call(softmax, {}, given).backward(to_torch(upstream))
    _, residuals = softmax.forward({}, x)
    with np.errstate(all="ignore"):
        found, _ = softmax.backward({}, residuals, upstream)
    np.testing.assert_allclose(found, given.grad.numpy().T, rtol=1e-13)
