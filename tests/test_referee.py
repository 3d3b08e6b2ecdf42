"""The referee against mpmath (an arithmetic of its own), torch's forward passes and torch's autograd; and shown to notice errors."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import ml_dtypes
import mpmath
import numpy as np
import pytest
import torch
from flint import arb
from mpmath import mpf

import manualbp as mb
from oracle.case import Case
from oracle.referee import DEFINITIONS, NoDefinition, Undecided, elementwise, features, loss, network, ulp_error
from oracle.referee.balls import constant, precision, series, settle, sigmoid
from oracle.referee.registry import define, definition
from oracle.torch_run import torch_run

INF, NAN = float("inf"), float("nan")


def record(name, **options):
    """A stand-in for a record: a name and options are all the referee asks for."""
    members = {"twin": classmethod(lambda cls: name), "options": lambda self: options}
    if name == "HalfSquaredError":
        members["reduction"] = "sum"
    return type(name, (), members)()


def module(name, options, weights=("weight", "pos_weight")):
    """torch.nn's own, in float64; tuples become tensors."""
    given = {
        key: torch.tensor(value, dtype=torch.float64) if key in weights and value is not None else value
        for key, value in options.items()
    }
    return getattr(torch.nn, name)(**given)


def of(kind):
    return [name for name, found in DEFINITIONS.items() if found.kind == kind]


# Elementwise: definitions written a second time, in mpmath


def _mp_gelu(z, approximate="none"):
    if approximate == "none":
        return z * mpmath.ncdf(z)
    return z / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + mpf("0.044715") * z**3)))


def _mp_selu(z):
    alpha, scale = mpf("1.6732632423543772848170429916717"), mpf("1.0507009873554804934193349852946")
    return scale * (max(0, z) + min(0, alpha * (mpmath.exp(z) - 1)))


MP = {
    "Identity": [({}, lambda z: z)],
    "ReLU": [({}, lambda z: max(z, 0))],
    "ReLU6": [({}, lambda z: min(max(z, 0), 6))],
    "LeakyReLU": [({"negative_slope": s}, lambda z, s=s: max(z, 0) + mpf(s) * min(z, 0)) for s in (0.01, 0.3)],
    "PReLU": [({}, lambda z: max(z, 0) + mpf(0.25) * min(z, 0))],
    "RReLU": [({"lower": 0.125, "upper": 0.3}, lambda z: max(z, 0) + (mpf(0.125) + mpf(0.3)) / 2 * min(z, 0))],
    "Hardtanh": [
        ({"min_val": a, "max_val": b}, lambda z, a=a, b=b: max(mpf(a), min(mpf(b), z))) for a, b in ((-1.0, 1.0), (-0.5, 2.0))
    ],
    "Hardsigmoid": [({}, lambda z: max(0, min(1, z / 6 + mpf(1) / 2)))],
    "Hardswish": [({}, lambda z: z * max(0, min(6, z + 3)) / 6)],
    "Hardshrink": [({"lambd": c}, lambda z, c=c: z if abs(z) > c else mpf(0)) for c in (0.5, 1.5)],
    "Softshrink": [({"lambd": c}, lambda z, c=c: mpmath.sign(z) * max(abs(z) - mpf(c), 0)) for c in (0.5, 1.5)],
    "Threshold": [({"threshold": 0.1, "value": 20.0}, lambda z: z if z > mpf(0.1) else mpf(20))],
    "ELU": [({"alpha": a}, lambda z, a=a: z if z > 0 else mpf(a) * (mpmath.exp(z) - 1)) for a in (1.0, 0.7, -0.4)],
    "CELU": [({"alpha": a}, lambda z, a=a: max(0, z) + min(0, mpf(a) * (mpmath.exp(z / mpf(a)) - 1))) for a in (1.0, 0.7)],
    "SELU": [({}, _mp_selu)],
    "Sigmoid": [({}, lambda z: 1 / (1 + mpmath.exp(-z)))],
    "LogSigmoid": [({}, lambda z: mpmath.log(1 / (1 + mpmath.exp(-z))))],
    "SiLU": [({}, lambda z: z / (1 + mpmath.exp(-z)))],
    "Mish": [({}, lambda z: z * mpmath.tanh(mpmath.log(1 + mpmath.exp(z))))],
    "Tanh": [({}, mpmath.tanh)],
    "Tanhshrink": [({}, lambda z: z - mpmath.tanh(z))],
    "Softsign": [({}, lambda z: z / (1 + abs(z)))],
    "Softplus": [
        (
            {"beta": b, "threshold": t},
            lambda z, b=b, t=t: z if z * mpf(b) > t else mpmath.log(1 + mpmath.exp(mpf(b) * z)) / mpf(b),
        )
        for b, t in ((1.0, 20.0), (3.0, 1.0))
    ],
    "GELU": [({"approximate": how}, partial(_mp_gelu, approximate=how)) for how in ("none", "tanh")],
}
ELEMENTWISE = [pytest.param(name, options, f, id=f"{name}-{options}") for name, entries in MP.items() for options, f in entries]
PARAMS = {"PReLU": {"weight": np.array([0.25])}}


def points(count=24):
    """Doubles of moderate size, none of them at a kink."""
    rng = np.random.default_rng(7)
    return np.concatenate([rng.uniform(-8, 8, count), rng.uniform(-1, 1, count) * 10.0 ** rng.integers(-4, 0, count)])


def close_to_mpmath(name, options, f):
    """Value and slope to 80 bits; the slope is mpmath's difference quotient at 150 digits."""
    z = points()
    truth = elementwise(record(name, **options), z, PARAMS.get(name))
    with mpmath.workdps(150):
        for k, x in enumerate(z.tolist()):
            for found, wanted in ((truth.value, f(mpf(x))), (truth.derivative, mpmath.diff(f, mpf(x), h=mpf("1e-60")))):
                got = mpf(float(found.hi[k])) + mpf(float(found.lo[k]))
                assert abs(got - wanted) <= mpf(2) ** -80 * abs(wanted), (name, options, x, got, wanted)
                assert float(found.hi[k]) == float(wanted)


def test_every_elementwise_definition_has_a_second_one_here():
    assert set(MP) == set(of("elementwise"))


@pytest.mark.parametrize(("name", "options", "f"), ELEMENTWISE)
def test_elementwise_value_and_series_derivative_are_mpmaths(name, options, f):
    close_to_mpmath(name, options, f)


@pytest.mark.parametrize(("name", "options", "f"), ELEMENTWISE)
def test_elementwise_value_is_torchs(name, options, f):
    z = points(200)
    wanted = module(name, options).double().eval()(torch.from_numpy(z)).detach().numpy()
    np.testing.assert_allclose(elementwise(record(name, **options), z, PARAMS.get(name)).value.hi, wanted, rtol=1e-13, atol=1e-15)


def test_a_wrong_definition_is_noticed_by_the_same_check(monkeypatch):
    good = DEFINITIONS["GELU"]
    try:

        @define("GELU")
        def wrong(z, approximate="none"):
            u = (z + z * z * z * constant("0.04")) * (2 / arb.pi()).sqrt()
            return z * sigmoid(2 * u)

        with pytest.raises(AssertionError, match="GELU"):
            close_to_mpmath("GELU", {"approximate": "tanh"}, partial(_mp_gelu, approximate="tanh"))
    finally:
        DEFINITIONS["GELU"] = good
    close_to_mpmath("GELU", {"approximate": "tanh"}, partial(_mp_gelu, approximate="tanh"))


def test_known_constants():
    with mpmath.workdps(50):
        far = mpmath.exp(-40) / (1 + mpmath.exp(-40)) ** 2
        square = 1 / mpmath.cosh(20) ** 2
        tail = float(-30 * mpmath.erfc(30 / mpmath.sqrt(2)) / 2)
    assert elementwise(mb.Sigmoid(), [40.0]).derivative.hi[0] == float(far) == 4.248354255291589e-18
    assert elementwise(mb.Tanh(), [20.0]).derivative.hi[0] == float(square) == 1.6993417021166356e-17
    assert elementwise(mb.GELU(), [0.0]).derivative.hi[0] == 0.5
    assert elementwise(mb.GELU(), [-30.0]).value.hi[0] == tail < 0
    assert elementwise(mb.Tanh(), [5e-324]).value.hi[0] == 5e-324


@pytest.mark.parametrize("name", of("elementwise"))
def test_any_double_gets_an_answer(name):
    rng = np.random.default_rng(3)
    z = np.ldexp(rng.uniform(-1, 1, 200), rng.integers(-1074, 1024, 200))
    z[:4] = np.finfo(np.float64).max, -np.finfo(np.float64).max, 5e-324, -5e-324
    options = {"threshold": 0.1, "value": 20.0} if name == "Threshold" else {}
    z[:2] /= 2
    truth = elementwise(record(name, **options), z, PARAMS.get(name))
    for found in truth:
        assert np.isfinite(found.hi).all()
        assert (np.abs(found.lo) <= np.spacing(np.abs(found.hi)) / 2).all()


LIMITS = [
    ("Sigmoid", -INF, 0, 0), ("Sigmoid", INF, 1, 0), ("GELU", -INF, 0, 0), ("GELU", INF, INF, 1), ("SiLU", INF, INF, 1),
    ("SiLU", -INF, 0, 0), ("Hardswish", INF, INF, 1), ("Hardswish", -INF, 0, 0), ("LogSigmoid", -INF, -INF, 1), ("ELU", -INF, -1, 0),
    ("Softsign", -INF, -1, 0), ("Tanhshrink", INF, INF, 1), ("Tanh", INF, 1, 0), ("Mish", -INF, 0, 0), ("Softplus", INF, INF, 1),
    ("Softplus", -INF, 0, 0), ("ReLU", -INF, 0, 0), ("Hardtanh", INF, 1, 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "z", "value", "slope"), LIMITS)
def test_an_infinite_input_means_the_limit(name, z, value, slope):
    truth = elementwise(record(name), [z])
    assert (truth.value.hi[0], truth.derivative.hi[0]) == (value, slope)


@pytest.mark.parametrize("name", of("elementwise"))
def test_nan_gives_nan(name):
    options = {"threshold": 0.1, "value": 20.0} if name == "Threshold" else {}
    truth = elementwise(record(name, **options), [NAN], PARAMS.get(name))
    assert np.isnan(truth.value.hi[0])
    assert np.isnan(truth.derivative.hi[0]) or name == "Identity"


KINKS = [
    ("ReLU", {}, 0.0, 0, 1), ("ReLU6", {}, 6.0, 0, 1), ("LeakyReLU", {"negative_slope": 0.25}, 0.0, 0.25, 1),
    ("Hardtanh", {}, -1.0, 0, 1), ("Hardsigmoid", {}, 3.0, 0, 1 / 6), ("Hardswish", {}, 3.0, 1, 1.5), ("Hardswish", {}, -3.0, -0.5, 0),
    ("Hardshrink", {}, 0.5, 0, 1), ("Softshrink", {}, -0.5, 0, 1), ("ELU", {"alpha": 1.5}, 0.0, 1, 1.5),
    ("Softplus", {"beta": 2.0, "threshold": 1.0}, 0.5, 1 / (1 + np.exp(-1)), 1), ("Threshold", {"threshold": 0.5, "value": 3.0}, 0.5, 0, 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "z", "low", "high"), KINKS)
def test_at_a_kink_the_answer_is_all_slopes_between_the_one_sided_ones(name, options, z, low, high):
    truth = elementwise(record(name, **options), [z, np.nextafter(z, INF), np.nextafter(z, -INF)]).derivative
    assert truth.at_kink.tolist() == [True, False, False]
    np.testing.assert_allclose((truth.low[0], truth.high[0]), (low, high), rtol=1e-15)
    assert sorted(truth.hi[1:]) == pytest.approx([low, high], rel=1e-15)
    wanted = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    module(name, options)(wanted).backward()
    assert ulp_error(wanted.grad.numpy(), type(truth)(*(part[:1] for part in truth)), np.float64) == 0 or name == "Softplus"


@pytest.mark.parametrize(
    ("name", "options"), [("CELU", {"alpha": 0.7}), ("ELU", {}), ("Softsign", {}), ("Hardshrink", {"lambd": 0.0})]
)
def test_pieces_that_meet_with_one_slope_are_no_kink(name, options):
    truth = elementwise(record(name, **options), [0.0]).derivative
    assert truth.hi[0] == 1
    assert not truth.at_kink[0]


def test_parameters_of_an_elementwise_function():
    z = np.array([[-1.0, -2.0, 3.0], [-4.0, 0.5, -0.25]])
    weight = np.array([0.5, 0.125])
    truth = elementwise(record("PReLU", num_parameters=2), z, {"weight": weight}, wrt="weight")
    np.testing.assert_array_equal(truth.value.hi, np.where(z > 0, z, weight[:, None] * z))
    np.testing.assert_array_equal(truth.derivative.hi, np.minimum(z, 0))
    slopes = np.array([[0.125, 0.2, 0.3], [0.15, 0.25, 0.3]])
    drawn = elementwise(record("RReLU"), z, {"slope": slopes})
    np.testing.assert_array_equal(drawn.derivative.hi, np.where(z > 0, 1, slopes))


def test_the_derivative_times_an_upstream_gradient_is_rounded_once():
    z, upstream = points(), np.random.default_rng(1).standard_normal(points().shape)
    truth = elementwise(mb.GELU(), z, grad_output=upstream).derivative
    slope = elementwise(mb.GELU(), z).derivative
    with mpmath.workdps(50):
        wanted = [
            (mpf(h) + mpf(low)) * mpf(g)
            for h, low, g in zip(slope.hi.tolist(), slope.lo.tolist(), upstream.tolist(), strict=True)
        ]
        assert truth.hi.tolist() == [float(w) for w in wanted]
    kink = elementwise(mb.ReLU(), [0.0, 0.0], grad_output=[-2.0, 0.0]).derivative
    assert (kink.low.tolist(), kink.high.tolist()) == ([-2, 0], [0, 0])


# Over the features

FEATURES = {"GEGLU": [{}, {"approximate": "tanh"}]}
GATES = {"SwiGLU": torch.nn.functional.silu, "ReGLU": torch.nn.functional.relu}


def torch_features(name, options, x):
    if name == "GLU":
        return torch.nn.functional.glu(x, dim=0)
    a, b = x.chunk(2) if "GLU" in name else (x, x)
    if name == "GEGLU":
        return torch.nn.functional.gelu(a, **options) * b
    if name in GATES:
        return GATES[name](a) * b
    return {"LogSoftmax": torch.log_softmax, "Softmin": torch.nn.functional.softmin}.get(name, torch.softmax)(x, 0)


@pytest.mark.parametrize("shape", [(4, 3), (6, 2, 3)])
@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name in of("features") for options in FEATURES.get(name, [{}])]
)
def test_features_and_their_vjp_are_torchs(name, options, shape):
    rng = np.random.default_rng(1)
    x = torch.from_numpy(2 * rng.standard_normal(shape)).requires_grad_()
    wanted = torch_features(name, options, x)
    upstream = rng.standard_normal(tuple(wanted.shape))
    wanted.backward(torch.from_numpy(upstream))
    truth = features(record(name, **options), x.detach().numpy(), upstream)
    np.testing.assert_allclose(truth.value.hi, wanted.detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(truth.derivative.hi, x.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_softmax_where_it_saturates_masks_or_has_no_limit():
    x = np.array([[40.0, 0.0, INF, 1.0], [0.0, -INF, INF, NAN]])
    truth = features(record("Softmax"), x, np.tile([[0.0], [1.0]], 4))
    assert truth.derivative.hi[:, 0].tolist() == [-4.248354255291589e-18, 4.248354255291589e-18]
    assert truth.value.hi[:, 1].tolist() == [1, 0]
    assert np.isnan(truth.value.hi[:, 2:]).all()
    constant_upstream = features(record("Softmax"), np.array([[0.3], [0.7]]), np.ones((2, 1)))
    assert constant_upstream.derivative.hi.tolist() == [[0], [0]]


# Losses


def _numbers(rng, shape, dims=1):
    return 2 * rng.standard_normal(shape), 2 * rng.standard_normal(shape)


def _unit(rng, shape):
    return rng.uniform(0.01, 0.99, shape), rng.uniform(0, 1, shape)


def _logits(rng, shape):
    return 2 * rng.standard_normal(shape), rng.uniform(0, 1, shape)


def _signs(rng, shape):
    return 2 * rng.standard_normal(shape), rng.choice([-1.0, 1.0], shape)


def _classes(rng, shape):
    return 2 * rng.standard_normal(shape), rng.integers(0, shape[0], shape[1:])


def _probabilities(rng, shape):
    drawn = rng.gamma(1.0, size=shape)
    return 2 * rng.standard_normal(shape), drawn / drawn.sum(axis=0)


def _counts(rng, shape):
    return rng.uniform(0.1, 3, shape), rng.uniform(0, 5, shape)


def _half_signs(rng, shape):
    return 2 * rng.standard_normal(shape), rng.choice([-1.0, 1.0], (shape[0] // 2, *shape[1:]))


def _gaussian(rng, shape):
    x = rng.standard_normal(shape)
    x[shape[0] // 2 :] = rng.uniform(0.2, 2, x[shape[0] // 2 :].shape)
    return x, rng.standard_normal((shape[0] // 2, *shape[1:]))


def _sample_signs(rng, shape):
    return rng.standard_normal(shape), rng.choice([-1.0, 1.0], shape[-1])


def _sets(rng, shape):
    x, labels = rng.standard_normal(shape), np.argsort(rng.standard_normal(shape), axis=0)
    return x, np.where(np.arange(shape[0])[:, None] < rng.integers(0, shape[0], shape[1]), labels, -1)


def _none(rng, shape):
    return rng.standard_normal(shape), None


def _log(drawn):
    return lambda rng, shape: (drawn(rng, shape)[0], np.log(drawn(rng, shape)[1]))


FLAT, DEEP = (6, 5), (6, 2, 3)
SIX, NONE_MEAN_SUM = (0.5, 1.0, 2.0, 0.25, 1.5, 0.75), ("none", "mean", "sum")
#: (options, how to draw, shapes, reductions)
LOSSES = {
    "L1Loss": [({}, _numbers, [FLAT, DEEP])],
    "MSELoss": [({}, _numbers, [FLAT, DEEP])],
    "HalfSquaredError": [({}, _numbers, [FLAT, DEEP], ("sum",))],
    "SmoothL1Loss": [({"beta": beta}, _numbers, [FLAT, DEEP]) for beta in (1.0, 0.3, 0.0)],
    "HuberLoss": [({"delta": delta}, _numbers, [FLAT, DEEP]) for delta in (1.0, 0.3)],
    "CrossEntropyLoss": [
        ({"weight": weight, "label_smoothing": smoothing} | ignored, draw, [FLAT, DEEP])
        for weight in (None, SIX)
        for smoothing in (0.0, 0.1)
        for draw, ignored in ((_classes, {}), (_classes, {"ignore_index": 2}), (_probabilities, {}))
    ],
    "NLLLoss": [
        ({"weight": weight, "ignore_index": ignored}, _classes, [FLAT, DEEP]) for weight in (None, SIX) for ignored in (-100, 2)
    ],
    "LinearCrossEntropyLoss": [({"in_features": 6, "num_classes": 4, "bias": True, "label_smoothing": 0.1}, _classes, [FLAT])],
    "PoissonNLLLoss": [
        ({"log_input": log_input, "full": full, "eps": 1e-3}, _counts, [FLAT, DEEP])
        for log_input in (True, False)
        for full in (True, False)
    ],
    "GaussianNLLLoss": [({"full": full, "eps": eps}, _gaussian, [FLAT, DEEP]) for full in (True, False) for eps in (1e-6, 1.0)],
    "KLDivLoss": [
        ({"log_target": log_target}, draw, [FLAT, DEEP], (*NONE_MEAN_SUM, "batchmean"))
        for log_target, draw in ((False, _probabilities), (True, _log(_probabilities)))
    ],
    "BCELoss": [({"weight": weight}, _unit, [FLAT]) for weight in (None, SIX)],
    "BCEWithLogitsLoss": [
        ({"weight": weight, "pos_weight": pos}, _logits, [FLAT]) for weight in (None, SIX) for pos in (None, SIX)
    ],
    "HingeEmbeddingLoss": [({"margin": margin}, _signs, [FLAT, DEEP]) for margin in (1.0, 0.3)],
    "SoftMarginLoss": [({}, _signs, [FLAT, DEEP])],
    "MultiMarginLoss": [({"p": p, "margin": 0.7, "weight": weight}, _classes, [FLAT]) for p in (1, 2) for weight in (None, SIX)],
    "MultiLabelMarginLoss": [({}, _sets, [FLAT])],
    "MultiLabelSoftMarginLoss": [({"weight": weight}, _logits, [FLAT]) for weight in (None, SIX)],
    "MarginRankingLoss": [({"margin": margin}, _half_signs, [FLAT, DEEP]) for margin in (0.0, 0.3)],
    "CosineEmbeddingLoss": [({"margin": margin}, _sample_signs, [FLAT]) for margin in (0.0, 0.3)],
    "TripletMarginLoss": [
        ({"margin": 0.8, "p": p, "swap": swap}, _none, [FLAT]) for p in (1.0, 2.0, 3.0, INF) for swap in (False, True)
    ],
    "TripletMarginWithDistanceLoss": [({"margin": 0.8, "swap": swap}, _none, [FLAT]) for swap in (False, True)],
    "CTCLoss": [],  # below: its layout is its own
}
LOSS_CASES = [
    pytest.param(
        name, options | {"reduction": reduction}, draw, shape, id=f"{name}-{options}-{draw.__name__}-{shape}-{reduction}"
    )
    for name, entries in LOSSES.items()
    for options, draw, shapes, *reductions in entries
    for shape in shapes
    for reduction in (reductions[0] if reductions else NONE_MEAN_SUM)
]


def batch_first(array, blocks=1):
    """The blocks of (features, *extra, m) as torch takes them."""
    return [torch.from_numpy(np.ascontiguousarray(np.moveaxis(part, -1, 0))) for part in np.split(array, blocks)]


def batch_last(tensor):
    return np.moveaxis(tensor.detach().numpy(), 0, -1) if tensor.ndim else tensor.detach().numpy()


def torch_loss(name, options, x, target, params):
    """Value, gradient and upstream gradient, in the project's layout."""
    inputs = [part.requires_grad_() for part in batch_first(x, DEFINITIONS[name].blocks)]
    targets = [] if target is None else batch_first(target)
    if name == "HalfSquaredError":
        value = ((inputs[0] - targets[0]) ** 2).sum() / 2
    else:
        twin = module(name, options).double()
        twin.load_state_dict({key: torch.from_numpy(array) for key, array in params.items()}, strict=False)
        arguments = (inputs[0], targets[0], inputs[1]) if name == "GaussianNLLLoss" else (*inputs, *targets)
        value = twin(*arguments)
    upstream = torch.from_numpy(np.random.default_rng(5).uniform(0.5, 2, tuple(value.shape)))
    gradients = torch.autograd.grad(value, inputs, upstream)
    return batch_last(value), np.concatenate([batch_last(gradient) for gradient in gradients]), batch_last(upstream)


def test_every_loss_is_in_the_table():
    elsewhere = {"AdaptiveLogSoftmaxWithLoss", "_Upstream"}  # in whole networks: tests/test_chain.py
    assert set(LOSSES) == set(of("loss")) - elsewhere


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")  # torch's advice against KLDivLoss's mean
@pytest.mark.parametrize(("name", "options", "draw", "shape"), LOSS_CASES)
def test_loss_and_gradient_are_torchs(name, options, draw, shape):
    rng = np.random.default_rng(11)
    x, target = draw(rng, shape)
    params = {}
    if name == "LinearCrossEntropyLoss":
        target = target % 4
        params = {"linear.weight": rng.standard_normal((4, 6)), "linear.bias": rng.standard_normal(4)}
    wanted, gradient, upstream = torch_loss(name, options, x, target, params)
    found, slope = loss(record(name, **options), params, x, target, upstream)
    np.testing.assert_allclose(found.hi, wanted, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(slope.hi, gradient, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("wrt", ["linear.weight", "linear.bias"])
def test_gradient_of_a_losss_own_parameter(wrt):
    rng = np.random.default_rng(3)
    x, target = rng.standard_normal((3, 5)), rng.integers(0, 4, 5)
    params = {"linear.weight": rng.standard_normal((4, 3)), "linear.bias": rng.standard_normal(4)}
    options = {"in_features": 3, "num_classes": 4, "bias": True}
    twin = module("LinearCrossEntropyLoss", options).double()
    twin.load_state_dict({key: torch.from_numpy(array) for key, array in params.items()})
    twin(*batch_first(x), torch.from_numpy(target)).backward()
    _, slope = loss(record("LinearCrossEntropyLoss", **options), params, x, target, wrt=wrt)
    np.testing.assert_allclose(slope.hi, twin.get_parameter(wrt).grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("reduction", NONE_MEAN_SUM)
@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_is_torchs(reduction, blank):
    rng = np.random.default_rng(2)
    classes, steps, samples = 4, 6, 4
    logits = torch.from_numpy(rng.standard_normal((steps, samples, classes))).requires_grad_()
    labels = [label for label in range(classes) if label != blank]
    target = np.vstack([[6, 5, 6, 4], [2, 3, 0, 2], rng.choice(labels, (3, samples))])
    target[2:4, 0] = labels[0]  # a repeated label
    scores = logits.log_softmax(2)
    wanted = torch.nn.CTCLoss(blank, reduction)(
        scores, torch.from_numpy(target[2:].T.copy()), *map(torch.from_numpy, target[:2].copy())
    )
    upstream = np.random.default_rng(5).uniform(0.5, 2, tuple(wanted.shape))
    wanted.backward(torch.from_numpy(upstream))
    x = np.moveaxis(scores.detach().numpy(), (2, 0, 1), (0, 1, 2))
    found, slope = loss(record("CTCLoss", blank=blank, reduction=reduction), {}, x, target, upstream)
    np.testing.assert_allclose(found.hi, wanted.detach().numpy(), rtol=1e-13)
    through = slope.hi - np.exp(x) * slope.hi.sum(axis=0)  # torch's own gradient is right only behind a log-softmax
    np.testing.assert_allclose(np.moveaxis(through, (0, 1, 2), (2, 0, 1)), logits.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("zero_infinity", "value"), [(False, INF), (True, 0.0)])
def test_ctc_without_a_path(zero_infinity, value):
    x = np.log(np.full((3, 2, 1), 1 / 3))
    target = np.array([[2], [2], [1], [1]])
    found, slope = loss(record("CTCLoss", zero_infinity=zero_infinity, reduction="sum"), {}, x, target)
    assert found.hi == value
    assert (slope.hi == 0).all() if zero_infinity else np.isnan(slope.hi).all()


def test_losses_at_their_edges():
    bce, slope = loss(record("BCELoss", reduction="sum"), {}, [[0.0]], np.array([[1.0]]))
    assert (bce.hi, slope.hi[0, 0]) == (100, 0)  # the documented cut: constant there
    far, slope = loss(record("CrossEntropyLoss"), {}, [[40.0], [0.0]], np.array([0]))
    assert slope.hi.ravel().tolist() == [-4.248354255291589e-18, 4.248354255291589e-18]
    assert far.hi == pytest.approx(4.248354255291589e-18, rel=1e-15)
    ignored = loss(record("CrossEntropyLoss", ignore_index=0), {}, [[1.0], [2.0]], np.array([0]))
    assert np.isnan(ignored.value.hi)
    kink = loss(record("L1Loss", reduction="sum"), {}, [[1.0], [3.0]], np.array([[1.0], [1.0]]), 2.0).derivative
    assert kink.at_kink.tolist() == [[True], [False]]
    assert (kink.low[0, 0], kink.high[0, 0]) == pytest.approx((-2, 2), rel=1e-8)
    same = loss(record("TripletMarginLoss", eps=0.0), None, [[1.0], [1.0], [1.5]], None).derivative
    assert same.at_kink[0, 0]
    overflow = loss(record("MSELoss"), {}, [[1e300]], np.array([[0.0]]))
    assert (overflow.value.hi, overflow.derivative.hi[0, 0]) == (INF, 2e300)
    with pytest.raises(ValueError, match="1 and -1"):
        loss(record("HingeEmbeddingLoss"), {}, [[1.0]], np.array([[0.0]]))
    with pytest.raises(ValueError, match="2 equal blocks"):
        loss(record("MarginRankingLoss"), {}, [[1.0]], np.array([[1.0]]))


# Networks


def small_case(dtype="float64", hidden=None, output=None, cost=None, widths=(3, 4, 2), extra=()):
    layers = mb.Network.dense(widths, hidden or mb.GELU(), output or mb.LogSoftmax(), cost or mb.NLLLoss())
    rng = np.random.default_rng(4)
    x = rng.standard_normal((widths[0], *extra, 5)).astype(dtype)
    target = layers.loss.target_domain.sample(rng, layers.loss.target_shape((widths[-1], *extra, 5)), np.dtype(dtype))
    return Case("small", layers, mb.init(layers, rng, dtype=dtype), x, target, 1.37)


NETWORKS = {
    "log-likelihood": {},
    "cross entropy of probabilities": {"hidden": mb.Tanh(), "output": mb.Sigmoid(), "cost": mb.BCELoss(reduction="sum")},
    "half squared error": {"cost": mb.HalfSquaredError()},
    "not reduced, extra axes": {"output": mb.Identity(), "cost": mb.CrossEntropyLoss(reduction="none"), "extra": (2,)},
    "not reduced, per element": {"output": mb.Softplus(), "cost": mb.MSELoss(reduction="none")},
    "learned slopes": {"hidden": mb.PReLU(4), "output": mb.SiLU(), "cost": mb.SmoothL1Loss()},
    "drawn slopes": {"hidden": mb.RReLU(training=True, seed=3), "output": mb.Identity(), "cost": mb.HuberLoss()},
    "two blocks": {"output": mb.Identity(), "cost": mb.MarginRankingLoss(margin=0.4)},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_element_of_every_quantity_of_a_network_is_autograds(name):
    case = small_case(**NETWORKS[name])
    shape = np.shape(torch_run(case).loss)
    case = replace(case, grad_loss=np.random.default_rng(8).uniform(0.5, 2, shape) if shape else 1.37)
    reference = torch_run(case).quantities()
    assert len(reference) >= 14
    for quantity, array in reference.items():
        for index in np.ndindex(np.shape(array)):
            found = network(case, quantity, index)
            assert not found.at_kink
            assert float(found.ball) == pytest.approx(float(np.asarray(array)[index]), rel=1e-11, abs=1e-15), (
                quantity.symbol,
                index,
            )
            assert found.ball.rel_accuracy_bits() >= 80
            assert ulp_error(np.asarray(array)[index], found.doubles(), np.float64) < 1e5


def test_a_network_in_float32_is_enclosed_from_the_float32_numbers():
    case = small_case("float32")
    for quantity, array in torch_run(case).quantities().items():
        index = (0,) * np.ndim(array)
        assert float(network(case, quantity, index).ball) == pytest.approx(float(np.asarray(array)[index]), rel=1e-4)


def test_a_kink_inside_a_network_gives_the_hull():
    case = small_case(hidden=mb.ReLU(), output=mb.Identity(), cost=mb.MSELoss())
    case.params[0]["weight"][0] = 0
    case.params[0]["bias"][0] = 0
    quantities = {quantity.symbol: quantity for quantity in torch_run(case).quantities()}
    found = network(case, quantities["dC/db[1]"], (0,))
    assert found.at_kink
    assert 0 in found.ball
    assert not network(case, quantities["dC/db[1]"], (1,)).at_kink


def test_what_the_referee_does_not_know_is_said():
    with pytest.raises(NoDefinition, match="got Bilinear"):
        elementwise(record("Bilinear"), [1.0])
    with pytest.raises(NoDefinition, match="wobble"):
        elementwise(record("Tanh", wobble=1), [1.0])
    with pytest.raises(NoDefinition, match="kind loss"):
        elementwise(record("MSELoss"), [1.0])
    case = small_case()
    with pytest.raises(KeyError, match=r"dC/dW\[1\]"):
        network(case, mb.Quantity(9, 9, "z", "z[9]"), (0, 0))
    quantity = next(iter(torch_run(case).quantities()))
    with pytest.raises(IndexError):
        network(case, quantity, (7, 0))
    with pytest.raises(IndexError):
        network(case, quantity, (0,))


RECORDS = [record for base in (mb.Activation, mb.Loss) for cls in mb.catalogue(base).values() for record in cls.examples(6)]


@pytest.mark.parametrize("known", RECORDS, ids=str)
def test_every_record_of_the_catalogue_has_a_definition_with_its_options(known):
    found = definition(known)
    assert callable(found.bind(known.options()))
    assert len({found.parameter(name) for name in known.parameter_shapes()}) == len(known.parameter_shapes())


# The arithmetic and the measure


def test_an_enclosure_widened_on_purpose_is_undecided():
    def widened():
        found = sigmoid(series(arb(0.3), 1))
        return type(found)([found[0] + arb(0, 2.0**-60), found[1]])

    with pytest.raises(Undecided, match="16384 bits"):
        settle(widened)
    assert float(settle(lambda: sigmoid(series(arb(0.3), 1))).value) == pytest.approx(1 / (1 + np.exp(-0.3)))


def test_what_grows_beyond_all_balls_hides_no_other_number():
    """exp(-z / 0.7) at minus infinity has an exponent that no ball holds."""
    z = np.array([-np.inf, -3.0, np.nan])
    found = elementwise(mb.CELU(alpha=-0.7), z)
    assert np.isnan(found.derivative.hi).tolist() == [True, False, True]
    assert found.derivative.hi[1] == pytest.approx(np.exp(3 / 0.7), rel=1e-15)


def test_an_undecided_enclosure_is_told_in_short():
    with pytest.raises(Undecided) as told:
        settle(lambda: series(arb(0, 2.0**-60) * arb(2) ** (10**300), 1))
    assert len(str(told.value)) < 300


def test_a_tie_that_arithmetic_cannot_prove_is_undecided():
    from oracle.referee.balls import absolute

    with pytest.raises(Undecided, match="tie"):
        settle(lambda: absolute(series(arb(2).sqrt() * arb(2).sqrt() - 2, 1)))


def test_precision_restores_flints_settings():
    from flint import ctx

    before = ctx.prec, ctx.cap
    with pytest.raises(ZeroDivisionError), precision(300):
        raise ZeroDivisionError
    assert (ctx.prec, ctx.cap) == before


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_ulp_error_counts_ulps_of_the_dtype(dtype):
    info = ml_dtypes.finfo(dtype)
    ulp, tiny, top = float(info.eps), float(info.smallest_subnormal), float(info.max)
    found = np.array([1 + 3 * ulp, 1.0, tiny, INF, -INF, NAN, 1.0, NAN, top]).astype(dtype)
    hi = np.array([1.0, 1.0, 0.0, INF, INF, 1.0, NAN, NAN, top])
    lo = np.array([0.0, ulp / 4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert ulp_error(found, (hi, lo), dtype).tolist() == [3, 0.25, 1, 0, INF, INF, INF, 0, 0]
    below = ulp_error(np.array([1.0]).astype(dtype), (np.array([1.0]), np.array([-ulp / 8])), dtype)
    assert below.tolist() == [0.25]  # the truth is below 1, where an ulp is half as wide


def test_ulp_error_knows_what_rounds_to_infinity():
    inf = np.array([INF], np.float32)
    assert ulp_error(inf, ([3.5e38], [0.0]), np.float32)[0] == 0
    assert ulp_error(inf, ([3.4e38], [0.0]), np.float32)[0] == INF
    assert ulp_error(np.array([1.0]), ([INF], [0.0]), np.float64)[0] == INF


def test_ulp_error_at_a_kink():
    truth = elementwise(mb.ReLU(), [0.0, 0.0, 0.0]).derivative
    assert ulp_error(np.array([0.0, 0.5, 1 + 2.0**-52]), truth, np.float64).tolist() == [0, 0, 1]


@pytest.mark.parametrize(("statement", "package"), [("import oracle", "flint"), ("import oracle.referee", "torch")])
def test_flint_is_imported_only_with_the_referee_and_torch_not_even_then(statement, package):
    code = f"{statement}\nimport sys\nprint({package!r} in sys.modules, 'flint' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(statement == "import oracle.referee")]
