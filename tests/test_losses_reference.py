"""The losses of regression, binary, margin and embedding problems, beside torch.nn itself: nothing of the oracle is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from manualbp.loss import ReducedLoss
from manualbp.losses import binary, embedding, likelihood, margin, regression
from manualbp.targets import NoTarget, Signs

MODULES = (binary, embedding, likelihood, margin, regression)
CLASSES = [
    cls
    for module in MODULES
    for cls in vars(module).values()
    if isinstance(cls, type)
    and cls.__module__ == module.__name__
    and issubclass(cls, ReducedLoss)
    and not cls.__name__.startswith("_")
]
LOSSES = [record for cls in CLASSES for record in cls.examples(4)]
EXTRA = [embedding.TripletMarginLoss(p=np.inf), embedding.TripletMarginLoss(p=1.5, swap=True, reduction="none")]
DTYPES = ["float64", "float32"]

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")


def layout(loss, array):
    """(features, *extra, m) as torch has it: (m, features, *extra), or (m, *extra, features)."""
    moved = np.moveaxis(array, -1, 0)
    return np.moveaxis(moved, 1, -1) if loss.features_last and moved.ndim > 2 else moved


def back(loss, array, ndim):
    """The way back, for an array of as many axes as the input has, or of one less where there is a term per sample."""
    moved = np.moveaxis(array, -1, 1) if loss.features_last and ndim > 2 and array.ndim == ndim else array
    return np.moveaxis(moved, 0, -1)


def by_torch(loss, output, target, upstream):
    """Value and gradient by torch.nn and torch.autograd, in manualbp's layout."""
    blocks = [torch.tensor(layout(loss, block).copy(), requires_grad=True) for block in np.split(output, len(loss.inputs))]
    y = torch.tensor(np.moveaxis(target, -1, 0).copy() if target.ndim < output.ndim else layout(loss, target).copy())
    options = {}
    for name, option in loss.twin_options().items():
        if isinstance(option, np.ndarray):  # in torch's layout the features are axis 1, unless they are last
            shape = (-1,) if loss.features_last else (-1, *(1,) * (output.ndim - 2))
            option = torch.tensor(option, dtype=blocks[0].dtype).reshape(shape)
        options[name] = option
    if options.get("distance_function") == "manhattan":
        options["distance_function"] = lambda x, y: (x - y).abs().sum(-1)
    arguments = [*blocks, y]
    if type(loss).__name__ == "GaussianNLLLoss":
        arguments = [blocks[0], y, blocks[1]]
    if isinstance(loss.target_domain, NoTarget):
        arguments = blocks
    value = getattr(torch.nn, type(loss).__name__)(**options)(*arguments)
    seed = upstream
    if loss.reduction == "none":
        seed = layout(loss, upstream) if upstream.ndim == output.ndim else np.moveaxis(upstream, -1, 0)
    grads = torch.autograd.grad(value, blocks, torch.tensor(seed.copy()))
    values = value.detach().numpy()
    if loss.reduction == "none":
        values = back(loss, values, output.ndim)
    return values, np.concatenate([back(loss, grad.numpy(), output.ndim) for grad in grads])


def by_hand(loss, output, target, upstream):
    with np.errstate(all="ignore"):
        value, residuals = loss.forward({}, output, target)
        return value, loss.backward({}, residuals, upstream)[0]


def draw(loss, dtype, shape, seed=0):
    """Output (a block of 4 rows for each input), target and a random upstream gradient."""
    rng = np.random.default_rng(seed)
    shape = (4 * len(loss.inputs), *shape)
    output = 2 * rng.standard_normal(shape)
    if loss.domain.high == 1:
        output = rng.uniform(0.02, 0.98, shape)
    elif loss.domain.low == 0:
        output = np.abs(output) + 0.1
    output = output.astype(dtype)
    target = loss.target_domain.sample(rng, loss.target_shape(shape), np.dtype(dtype))
    upstream = rng.uniform(0.5, 2, loss.terms_shape(shape) if loss.reduction == "none" else ()) * rng.choice([-1, 1])
    return output, target, np.asarray(upstream, dtype)


def distances(got, wanted, terms, count):
    """How far value and gradient are from torch's, in units of eps times the largest number that goes into them.

    An element is made of a few roundings of numbers no larger than the largest of its array, and a mean or a sum rounds
    numbers no larger than the sum of the terms' sizes.
    """
    (value, grad), (torch_value, torch_grad) = got, wanted
    assert value.shape == torch_value.shape
    assert grad.shape == torch_grad.shape
    assert value.dtype == grad.dtype == torch_value.dtype == torch_grad.dtype
    eps = float(np.finfo(value.dtype).eps)
    size = np.abs(terms).max() if value.shape else np.abs(terms).sum() / count
    return (
        float(np.max(np.abs(value - torch_value)) / (eps * size)),
        float(np.max(np.abs(grad - torch_grad)) / (eps * np.abs(torch_grad).max())),
    )


#: What torch's own rounding may take, in these units. Over 200 seeds the worst was 14, where a margin less a distance cancels.
ALLOWED = 32
CASES = [(loss, shape) for loss in (*LOSSES, *EXTRA) for shape in [(7,), (2, 3, 5)][: 1 if loss.extra_axes == 0 else 2]]


def worst(loss, dtype, shape, seed, spoil=lambda grad: grad):
    output, target, upstream = draw(loss, dtype, shape, seed)
    terms, _ = replace(loss, reduction="none").forward({}, output, target)
    count = loss.forward({}, output, target)[1][1]
    value, grad = by_hand(loss, output, target, upstream)
    return distances((value, spoil(grad)), by_torch(loss, output, target, upstream), terms, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "shape"), CASES, ids=[f"{loss}-{len(shape) + 1}d" for loss, shape in CASES])
def test_value_and_gradient_are_torchs(loss, shape, dtype):
    for seed in range(5):
        of_value, of_grad = worst(loss, dtype, shape, seed)
        assert of_value <= ALLOWED
        assert of_grad <= ALLOWED


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_same_comparison_notices_a_wrong_gradient(loss, dtype):
    """One element is wrong by so many units in the last place that no rounding explains it."""

    def spoil(grad):
        at = np.unravel_index(np.argmax(np.abs(grad)), grad.shape)
        grad[at] *= 1 + 128 * np.finfo(grad.dtype).eps
        return grad

    for seed in range(3):
        assert not worst(loss, dtype, (7,), seed, spoil)[1] <= ALLOWED


KINKS = [(loss, kink) for cls in CLASSES for loss in cls.examples() if loss.reduction == "none" for kink in loss.kinks]


def columns(loss, kink, dtype):
    """The kink's input and its neighbours, one float up and down in every number, as columns; and the target for each."""
    at = np.array(kink.input, dtype)
    moved = [at]
    for row in range(at.size):
        for end in (-np.inf, np.inf):
            near = at.copy()
            near[row] = np.nextafter(at[row], dtype(end))
            moved.append(near)
    output = np.stack(moved, axis=1)
    if isinstance(loss.target_domain, NoTarget):
        return output, np.empty(0, dtype)
    target = np.array(kink.target, None if np.array(kink.target).dtype.kind == "i" else dtype)
    each = (*np.broadcast_shapes(target.shape, () if loss.per_sample else (1,)), output.shape[1])
    return output, np.broadcast_to(target[..., None], each).copy()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("loss", "kink"), KINKS, ids=[f"{loss}-{kink.where}" for loss, kink in KINKS])
def test_kink_and_its_neighbours_are_torchs(loss, kink, dtype):
    output, target = columns(loss, kink, dtype)
    value, grad = by_hand(loss, output, target, np.ones(loss.terms_shape(output.shape), dtype))
    torch_value, torch_grad = by_torch(loss, output, target, np.ones(loss.terms_shape(output.shape), dtype))
    np.testing.assert_array_equal(value, torch_value)
    np.testing.assert_array_equal(grad, torch_grad)
    np.testing.assert_array_equal(grad[:, 0], np.array(kink.gradient, dtype))


#: Points where torch cuts, clamps, or takes a convention: the loss, a row for each input, the targets.
SPECIAL = [
    (regression.SmoothL1Loss("none"), [[-1, 0, 1, 2]], [0, 0, 0, 0]),
    (regression.SmoothL1Loss("none", 0.25), [[-0.25, 0, 0.25, 2]], [0, 0, 0, 0]),
    (regression.HuberLoss("none"), [[-1, 0, 1, 2]], [0, 0, 0, 0]),
    (regression.HuberLoss("none", 0.25), [[-0.25, 0, 0.25, 2]], [0, 0, 0, 0]),
    (likelihood.GaussianNLLLoss("none", eps=0.5), [[1, 1, 1, 0], [0, 0.25, 0.5, 0.5]], [0, 0, 0, 0]),
    (likelihood.PoissonNLLLoss("none", full=True), [[0, 0, 0]], [0, 0.5, 1]),
    (likelihood.KLDivLoss("none"), [[-1, -2, 0]], [0, 1, 1]),
    (margin.MarginRankingLoss("none"), [[0, 2, 3], [0, 2, 3]], [1, -1, 1]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output", "target"), SPECIAL, ids=[str(case[0]) for case in SPECIAL])
def test_special_points_are_exactly_torchs(loss, output, target, dtype):
    output, target = np.array(output, dtype), np.array([target], dtype)
    ones = np.ones(target.shape, dtype)
    for ours, theirs in zip(by_hand(loss, output, target, ones), by_torch(loss, output, target, ones), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_certain_predictions_have_the_slope_of_what_they_cost(dtype):
    """The value is torch's, whose logarithms are cut at -100; its gradient is that of no function: -1e12, and 0 for -1."""
    loss = binary.BCELoss("none")
    output, target = np.array([[0, 0, 1e-20, 1, 1, 0.5]], dtype), np.array([[0, 1, 1, 0, 1, 1]], dtype)
    ones = np.ones(target.shape, dtype)
    (value, grad), (torch_value, torch_grad) = by_hand(loss, output, target, ones), by_torch(loss, output, target, ones)
    np.testing.assert_allclose(value, torch_value, rtol=1e-6)
    np.testing.assert_allclose(grad, [[1, 0, -1e20, 0, -1, -2]], rtol=1e-6)
    np.testing.assert_allclose(torch_grad, [[0, -1e12, -1e12, 1e12, 0, -2]], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_orthogonal_vectors_are_pushed_apart_as_in_torch(dtype):
    """cos = margin = 0. It is no entry of `kinks`: beside it torch's sum over features rounds in float32, and ours does not."""
    loss, target = embedding.CosineEmbeddingLoss("none"), np.array([-1], dtype)
    output = np.array([[1], [0], [0], [1]], dtype)  # u = (1, 0), v = (0, 1)
    ones = np.ones(1, dtype)
    (value, grad), (torch_value, torch_grad) = by_hand(loss, output, target, ones), by_torch(loss, output, target, ones)
    assert value == torch_value == 0
    np.testing.assert_array_equal(grad, torch_grad)
    np.testing.assert_allclose(grad[:, 0], [0, 1, 1, 0], rtol=2e-12 if dtype == "float64" else 0)


#: Triplets a, p, n of one feature each: a tie of D(a, n) and D(p, n), a distance of 0, the edge of the margin.
TRIPLETS = np.array([[0, 0.25, 0.125], [0, 0, 1], [0, 0, 0], [0, 1, 2], [0, 1, 0.5]], float).T


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [1.0, 2.0, np.inf])
@pytest.mark.parametrize("swap", [False, True])
def test_triplet_ties_and_zero_distances_are_torchs(swap, p, dtype):
    loss, output = embedding.TripletMarginLoss("none", swap=swap, p=p, eps=0.0), TRIPLETS.astype(dtype)
    ones, target = np.ones(output.shape[1], dtype), np.empty(0, dtype)
    for ours, theirs in zip(by_hand(loss, output, target, ones), by_torch(loss, output, target, ones), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def one(loss, output, target, dtype=np.float64):
    """Value and gradient of one sample."""
    target = np.array(target)
    if target.dtype.kind == "f":
        target = target.astype(dtype)
    value, grad = by_hand(loss, np.array(output, dtype)[:, None], target[..., None], 1.0)
    return float(value), grad[:, 0].astype(float)


#: Where torch 2.13 loses the answer, and mathematics gives it: loss, input, target, value, gradient.
TAILS = [
    (binary.BCEWithLogitsLoss("sum"), [80.0], [1.0], np.exp(-80.0), [-np.exp(-80.0)]),
    (binary.BCEWithLogitsLoss("sum"), [-80.0], [0.0], np.exp(-80.0), [np.exp(-80.0)]),
    (binary.BCEWithLogitsLoss("sum"), [np.inf], [1.0], 0.0, [0.0]),
    (binary.BCEWithLogitsLoss("sum"), [1e-30], [0.5], np.log(2), [2.5e-31]),
    (binary.SoftMarginLoss("sum"), [-800.0], [1.0], 800.0, [-1.0]),
    (binary.SoftMarginLoss("sum"), [80.0], [1.0], np.exp(-80.0), [-np.exp(-80.0)]),
    (likelihood.PoissonNLLLoss("sum", log_input=False), [1e6], [1e6], 1e6 * (1 - np.log(1e6)), [1e-8 / (1e6 + 1e-8)]),
    (likelihood.PoissonNLLLoss("sum"), [1e-20], [1.0], 1.0, [1e-20]),
    (margin.MultiMarginLoss("sum"), [1e17, 1e17, 1e17], 0, 2 / 3, [-2 / 3, 1 / 3, 1 / 3]),
    (margin.MultiMarginLoss("sum", p=2), [1.0, 2.0**-1074, -9.0], 0, 0.0, [-(2.0**-1074), 2.0**-1074, 0.0]),
    (margin.MultiLabelMarginLoss("sum"), [1e17, 1e17, 1e17], [0, -1, -1], 2 / 3, [-2 / 3, 1 / 3, 1 / 3]),
    (embedding.CosineEmbeddingLoss("sum"), [3e200, 4e200, 4.0, 3.0], 1.0, 0.04, [-4.48e-202, 3.36e-202, 0.0336, -0.0448]),
    (embedding.CosineEmbeddingLoss("sum"), [3.0, 4.0, 3.0, 4.0], 1.0, 4e-14, [-4.8e-15, -6.4e-15, -4.8e-15, -6.4e-15]),
]


@pytest.mark.parametrize(("loss", "output", "target", "value", "grad"), TAILS, ids=[f"{case[0]}-{case[1][0]}" for case in TAILS])
def test_tails_have_all_their_digits(loss, output, target, value, grad):
    got, slope = one(loss, output, target)
    close = 1e-8 if isinstance(loss, embedding.CosineEmbeddingLoss) else 2e-15  # its 1e-12 is a float32
    np.testing.assert_allclose(got, value, rtol=close, atol=0)
    np.testing.assert_allclose(slope, grad, rtol=close, atol=0)


@pytest.mark.parametrize("loss", [loss for loss in (*LOSSES, *EXTRA) if loss.reduction == "none"], ids=str)
def test_nan_shows_in_the_value_and_in_the_gradient(loss):
    output, target, upstream = draw(loss, "float64", (7,))
    output[0, 0] = np.nan
    if isinstance(loss.target_domain, Signs) and not loss.target_domain.per_sample:
        target[0, 0] = -1  # for 1 the gradient of HingeEmbeddingLoss is 1 wherever the input lies
    value, grad = by_hand(loss, output, target, upstream)
    assert np.isnan(value[(0,) * value.ndim])
    assert np.isnan(grad[0, 0]) or isinstance(loss, likelihood.KLDivLoss)  # its gradient does not depend on the input


WRONG = [
    (regression.L1Loss, {"reduction": "batchmean"}, "reduction"),
    (regression.SmoothL1Loss, {"beta": -1.0}, "beta"),
    (regression.HuberLoss, {"delta": 0.0}, "delta"),
    (binary.BCELoss, {"weight": ()}, "weight"),
    (binary.BCEWithLogitsLoss, {"pos_weight": (1.0, np.nan)}, "pos_weight"),
    (likelihood.PoissonNLLLoss, {"eps": -1.0}, "eps"),
    (likelihood.GaussianNLLLoss, {"eps": 0.0}, "eps"),
    (margin.MultiMarginLoss, {"p": 3}, "p 1 or 2"),
    (embedding.TripletMarginLoss, {"p": 0.0}, "positive p"),
    (embedding.TripletMarginLoss, {"margin": 0.0}, "margin"),
    (embedding.TripletMarginWithDistanceLoss, {"margin": 0.0}, "margin"),
]


@pytest.mark.parametrize(("cls", "options", "words"), WRONG, ids=[f"{cls.__name__}-{words}" for cls, _, words in WRONG])
def test_invalid_options_are_refused_by_name(cls, options, words):
    with pytest.raises(ValueError, match=f"{cls.__name__} takes .*{words}.*; got"):
        cls(**options)


def test_weights_have_to_fit_the_rows():
    with pytest.raises(ValueError, match="one weight for each row of its input; got 2 for 3 rows"):
        binary.BCELoss(weight=(1.0, 2.0)).forward({}, np.full((3, 4), 0.5), np.zeros((3, 4)))
