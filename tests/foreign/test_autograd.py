"""HIPS autograd: its gradients of whole networks, and derivative rules of one's own that are wrong."""

import numpy as np
import pytest
from named import lines, names, wrong

import manualbp as mb
from oracle.doors.network import check_network

autograd = pytest.importorskip("autograd", reason="HIPS autograd is not installed")
anp = pytest.importorskip("autograd.numpy")
from autograd.extend import defvjp, primitive  # noqa: E402  # only where it is there
from autograd.scipy.special import expit, logsumexp  # noqa: E402


def sigmoid(z):
    return expit(z)


def relu(z):
    return anp.maximum(z, 0)


def cross_entropy(z, y):
    return anp.mean(logsumexp(z, axis=0) - z[y, np.arange(len(y))])


def squared(z, y):
    return anp.mean((z - y) ** 2)


def gradients(activation, loss):
    """candidate(params, x, y) for a chain of affine maps with this activation between them."""

    def cost(params, x, y):
        a, depth = x, len(params) // 2
        for layer in range(1, depth + 1):
            z = anp.dot(params[f"W{layer}"], a) + params[f"b{layer}"]
            a = activation(z) if layer < depth else z
        return loss(a, y)

    return autograd.grad(cost)


NETWORKS = {
    "tanh": (anp.tanh, mb.Tanh()),
    "sigmoid": (sigmoid, mb.Sigmoid()),
    "relu": (relu, mb.ReLU()),
    "softplus": (lambda z: anp.logaddexp(0, z), mb.Softplus()),
}
LOSSES = {"cross entropy": (cross_entropy, mb.CrossEntropyLoss()), "squared": (squared, mb.MSELoss())}


def check(activation, record, loss="cross entropy", **options):
    function, cost = LOSSES[loss]
    network = mb.Network.dense((4, 5, 6, 3), record, mb.Identity(), cost)
    return check_network(gradients(activation, function), network, bias="column", **options)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", NETWORKS)
def test_as_it_is_it_agrees(activation, loss):
    function, record = NETWORKS[activation]
    report = check(function, record, loss)
    assert report.ok, lines(report)


def ruled(value, rule):
    """A function with a derivative rule written by hand: rule(output, input) gives the factor of the upstream gradient."""
    function = primitive(value)
    defvjp(function, lambda a, z: lambda g: g * rule(a, z))
    return function


@pytest.mark.parametrize(
    ("value", "rule", "record", "expected"),
    [
        (np.tanh, lambda a, z: 1 - a**2, mb.Tanh(), None),
        (np.tanh, lambda a, z: 1 - np.tanh(a) ** 2, mb.Tanh(), "activations changed in place"),
        (np.tanh, lambda a, z: 1 - a, mb.Tanh(), "square forgotten"),
        (expit.fun, lambda a, z: z * (1 - z), mb.Sigmoid(), "z for a in the derivative"),
        (lambda z: np.maximum(z, 0), lambda a, z: z < 0, mb.ReLU(), "mask inverted"),
        (lambda z: np.maximum(z, 0), lambda a, z: 1.0, mb.ReLU(), "derivative forgotten"),
        (lambda z: np.where(z > 0, z, 0.01 * z), lambda a, z: np.where(z > 0, 1, 0.1), mb.LeakyReLU(), "slope ten times too large"),
    ],
)  # fmt: skip
def test_a_rule_of_ones_own_is_placed_and_named(value, rule, record, expected):
    report = check(ruled(value, rule), record)
    if expected is None:
        assert report.ok, lines(report)
        return
    assert wrong(report) == {"dC/dW[1]", "dC/db[1]", "dC/dW[2]", "dC/db[2]"}
    assert expected in names(report), lines(report)


def test_a_loss_with_a_rule_of_its_own():
    value = primitive(lambda z, y: np.mean(logsumexp.fun(z, axis=0) - z[y, np.arange(len(y))]))

    def rule(ans, z, y):
        p = np.exp(z - z.max(0)) / np.exp(z - z.max(0)).sum(0)
        return lambda g: g * p / len(y)

    defvjp(value, rule, None)
    network = mb.Network.dense((4, 5, 3), mb.Tanh(), mb.Identity(), mb.CrossEntropyLoss())
    report = check_network(gradients(anp.tanh, value), network, bias="column")
    assert names(report) >= {"one-hot not subtracted"}, lines(report)


def test_both_branches_of_where_are_differentiated():
    """exp overflows where its branch is not taken, and 0 times infinity is NaN: right values, and no gradient."""
    rng = np.random.default_rng(3)
    shapes = {"W1": (5, 4), "b1": (5, 1), "W2": (3, 5), "b2": (3, 1)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    given = {"params": params, "x": 300 * rng.normal(size=(4, 9)), "y": rng.integers(0, 3, 9), "bias": "column"}
    network = mb.Network.dense((4, 5, 3), mb.ELU(), mb.Identity(), mb.CrossEntropyLoss())
    report = check_network(gradients(lambda z: anp.where(z > 0, z, anp.exp(z) - 1), cross_entropy), network, **given)
    assert wrong(report) == {"dC/dW[1]", "dC/db[1]"}
    assert set(report.failing["verdict"]) == {"nonfinite"}
    careful = gradients(lambda z: anp.where(z > 0, z, anp.expm1(anp.minimum(z, 0))), cross_entropy)
    assert check_network(careful, network, **given).ok
