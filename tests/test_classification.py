"""Softmax and its kin, and the losses on classes: against torch.nn itself, and against the true numbers."""

from itertools import product

import ml_dtypes
import numpy as np
import pytest
from flint import ctx

import manualbp as mb
from beside import DTYPES, compare_activation, compare_loss, exact, ulps

ACTIVATIONS = [mb.Softmax(), mb.Softmin(), mb.LogSoftmax(), mb.Softmax2d()]
HEADED = [*mb.LinearCrossEntropyLoss.examples(3), *mb.AdaptiveLogSoftmaxWithLoss.examples(3)]
SHAPES = [(3, 5), (1, 4), (0, 3), (4, 2, 3), (4, 2, 3, 6), (40, 2, 3, 700), (1000, 300), (3, 9000)]
INF, NAN = np.inf, np.nan


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("record", "shape"),
    [(record, shape) for record in ACTIVATIONS for shape in SHAPES if record.extra_axes in (None, len(shape) - 2)],
    ids=str,
)
def test_activation_is_torchs(record, shape, dtype):
    z = 3 * np.random.default_rng(0).standard_normal(shape)
    for array in (z, np.asfortranarray(z)):
        compare_activation(record, array, dtype, max(4.0, shape[0] / 20))  # torch adds the features up in one go


COLUMNS = [
    [0, -INF, 1],
    [-INF, -INF, -INF],
    [0, INF, 1],
    [INF, INF, 1],
    [NAN, 0, 1],
    [1e30, 0, 1],
    [3e38, -3e38, 0],
    [-1e38, -2e38, -2e38],
    [700, 0, 699],
    [0, 0, 0],
    [5, 5, -90],
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("column", COLUMNS, ids=str)
@pytest.mark.parametrize("record", ACTIVATIONS[:3], ids=str)
def test_activation_is_torchs_at_special_points(record, column, dtype):
    compare_activation(record, np.array(column)[:, None], dtype)
    beside = np.stack([column, [0.5, -1, 2]], axis=1)  # whatever a column holds, the one beside it does not notice
    compare_activation(record, beside, dtype)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("record", ACTIVATIONS[:3], ids=str)
def test_half_precisions_are_rounded_once(record, name):
    dtype = np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)
    rng = np.random.default_rng(0)
    z, g = rng.standard_normal((5, 40)).astype(dtype), rng.standard_normal((5, 40)).astype(dtype)
    a, residuals = record.forward({}, z)
    grad, _ = record.backward({}, residuals, g)
    wide, wide_residuals = record.forward({}, z.astype(np.float64))
    np.testing.assert_array_equal(a, wide.astype(dtype))
    np.testing.assert_array_equal(grad, record.backward({}, wide_residuals, g.astype(np.float64))[0].astype(dtype))
    assert a.dtype == grad.dtype == dtype


def targets(kind, classes, positions, ignored, rng):
    if kind == "probabilities":
        return np.moveaxis(rng.dirichlet(np.ones(classes), positions), -1, 0)
    drawn = rng.integers(0, classes, positions)
    part = {"indices": 0.3, "all ignored": 2.0}[kind]
    return np.where((rng.random(positions) < part) | (drawn == ignored), ignored, drawn)


@pytest.mark.parametrize("kind", ["indices", "all ignored", "probabilities"])
@pytest.mark.parametrize("smoothing", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("ignored", [-100, 0, 2])
@pytest.mark.parametrize(
    "weight", [None, (0.5, 2.0, 0.25, 1.5, 0.0, 3.0), (0.0,) * 6], ids=["unweighted", "weighted", "weightless"]
)
def test_every_combination_of_options_is_torchs(weight, ignored, smoothing, kind):
    rng = np.random.default_rng(1)
    losses = [mb.CrossEntropyLoss] if smoothing or kind == "probabilities" else [mb.CrossEntropyLoss, mb.NLLLoss]
    if kind == "probabilities" and ignored >= 0:
        with pytest.raises(TypeError, match="An ignore_index from 0 on needs indices"):
            mb.CrossEntropyLoss(ignore_index=ignored).target_domain.check(np.ones((2, 3)), (2, 3), np.dtype(float), "loss")
        return
    for loss, reduction, dtype, shape in product(
        losses, mb.NLLLoss.reductions, DTYPES, [(3, 5), (4, 2, 3), (6, 2, 3, 5), (1, 4)]
    ):
        options = {"reduction": reduction, "weight": weight and weight[: shape[0]], "ignore_index": ignored}
        options |= {"label_smoothing": smoothing} if smoothing else {}
        target = targets(kind, shape[0], shape[1:], ignored, rng)
        compare_loss(loss(**options), 3 * rng.standard_normal(shape), target, dtype)


@pytest.mark.parametrize("column", COLUMNS, ids=str)
@pytest.mark.parametrize(
    "target", [np.array([0]), np.array([1]), np.array([-100]), np.array([[0.2], [0.5], [0.3]]), np.array([[0], [1.0], [0]])]
)
def test_losses_are_torchs_at_special_points(column, target):
    for reduction, dtype in product(mb.NLLLoss.reductions, DTYPES):
        compare_loss(mb.CrossEntropyLoss(reduction=reduction), np.array(column)[:, None], target, dtype)
        if target.ndim == 1:
            compare_loss(mb.NLLLoss(reduction=reduction), np.array(column)[:, None], target, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("record", HEADED, ids=str)
def test_losses_with_parameters_are_torchs(record, dtype):
    rng = np.random.default_rng(2)
    for m in (1, 1, 5, 5, 8):
        params = {name: rng.standard_normal(shape).astype(dtype) for name, shape in record.parameter_shapes().items()}
        shape = record.target_shape((record.in_features, m))
        target = record.target_domain.sample(rng, shape, np.dtype(dtype))
        record.target_domain.check(target, shape, np.dtype(dtype), str(record))
        compare_loss(record, rng.standard_normal((record.in_features, m)), target, dtype, params)


# The truth: arb, 2400 bits


def shares(z):
    top = max(z)
    e = [(exact(x) - exact(top)).exp() for x in z]
    whole = sum(e[1:], e[0])
    return [x / whole for x in e], [exact(x) - exact(top) - whole.log() for x in z]


@pytest.fixture(autouse=True)
def _bits():
    before, ctx.prec = ctx.prec, 2400
    yield
    ctx.prec = before


def hard_columns():
    rng = np.random.default_rng(3)
    far = [[80, 0, -3], [40, 0, 0], [0, 36.04, 37], [1e300, 0, -1e300], [5, 5, 4.9], [1e4 + 0.3, 1e4, 9e3], [0.1, 0.1, -700]]
    drawn = [scale * rng.standard_normal(n) for n in (2, 3, 10) for scale in (0.1, 3, 30, 300, 1000)]
    return [*far, *drawn, rng.standard_normal(1000), 20 * rng.standard_normal(1000)]


@pytest.mark.parametrize("column", hard_columns(), ids=lambda column: f"{column[0]:.3g} {column[1]:.3g} of {len(column)}")
def test_values_and_gradients_are_right_to_the_last_bits(column):
    z = np.array(column, dtype=float)[:, None]
    p, log_p = shares(z[:, 0])
    n = len(z)
    for record, true in ((mb.Softmax(), p), (mb.LogSoftmax(), log_p)):
        a, residuals = record.forward({}, z)
        assert max(map(ulps, a[:, 0], true)) <= 4
        for right in {0, 1, n - 1}:  # with one upstream gradient alone nothing cancels in the truth
            g = np.zeros_like(z)
            g[right] = -1.3
            grad, _ = record.backward({}, residuals, g)
            if isinstance(record, mb.Softmax):
                own = [exact(-1.3) * p[i] * ((i == right) - p[right]) for i in range(n)]
            else:
                own = [exact(-1.3) * ((i == right) - p[i]) for i in range(n)]
            assert max(map(ulps, grad[:, 0], own)) <= 8
    for right in {0, 1, n - 1}:
        value, residuals = mb.CrossEntropyLoss().forward({}, z, np.array([right]))
        assert ulps(value, -log_p[right]) <= 4
        grad, _ = mb.CrossEntropyLoss().backward({}, residuals)
        assert max(map(ulps, grad[:, 0], [p[i] - (i == right) for i in range(n)])) <= 8


def test_equal_upstream_gradients_vanish_in_a_softmax():
    a, residuals = mb.Softmax().forward({}, np.random.default_rng(0).standard_normal((5, 30)))
    grad, _ = mb.Softmax().backward({}, residuals, np.full_like(a, 1e8 / 3))
    assert np.abs(grad).max() < 1e-20


# The comparisons can fail


def spoiled(record, method, spoil):
    """The same record with a method whose result is changed."""

    def wrong(self, *arguments):
        return spoil(getattr(super(cls, self), method)(*arguments), *arguments)

    cls = type(type(record).__name__, (type(record),), {method: wrong})
    return cls(**record.options())


def test_a_wrong_softmax_is_noticed():
    z = np.random.default_rng(0).standard_normal((3, 4))
    for record in ACTIVATIONS[:3]:
        for spoil in (lambda grads, p, g: p * g, lambda grads, p, g: -grads[0], lambda grads, p, g: grads[0] * (1 + 1e-12)):
            with pytest.raises(AssertionError):
                compare_activation(spoiled(record, "vjp", lambda *given, spoil=spoil: (spoil(*given),)), z)


@pytest.mark.parametrize("record", [*mb.NLLLoss.examples(3), *mb.CrossEntropyLoss.examples(3)], ids=str)
def test_a_wrong_loss_is_noticed(record):
    z, target = np.random.default_rng(0).standard_normal((3, 5)), np.array([0, 2, 0, 1, 2])
    compare_loss(record, z, target)
    for method, spoil in {
        "gradient": lambda grad, saved, scale: grad[::-1],
        "terms": lambda result, *arrays: (result[0] * (1 + 1e-12), result[1]),
        "count": lambda count, terms, saved: count + 1e-12,
    }.items():
        with pytest.raises(AssertionError):
            compare_loss(spoiled(record, method, spoil), z, target)


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mb.CrossEntropyLoss(label_smoothing=1.5), "takes a label_smoothing from 0 to 1; got 1.5"),
        (
            lambda: mb.NLLLoss(weight=(1.0, 2.0)).forward({}, np.zeros((3, 1)), np.array([0])),
            "one weight for each row of its input",
        ),
        (lambda: mb.NLLLoss("average"), "takes reduction 'mean' or 'sum' or 'none'; got 'average'"),
        (lambda: mb.CTCLoss(blank=-1), "takes a blank from 0 on"),
        (
            lambda: mb.LinearCrossEntropyLoss(in_features=3, num_classes=2, weight=(1.0,)),
            "one weight for each class, 2 here; got 1",
        ),
        (lambda: mb.LinearCrossEntropyLoss(in_features=0, num_classes=2), "takes widths from 1"),
        (lambda: mb.LinearCrossEntropyLoss(in_features=3, num_classes=2).target_shape((4, 1)), "got 4 rows"),
        (lambda: mb.AdaptiveLogSoftmaxWithLoss(3, 5, (3, 2)), "takes cutoffs that increase from 1 to n_classes - 1, 4; got"),
        (lambda: mb.AdaptiveLogSoftmaxWithLoss(3, 5, ()), "takes cutoffs"),
        (lambda: mb.Softmax2d().check_axes((3, 4)), "takes inputs of 4 axes"),
    ],
)
def test_options_that_are_none_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
