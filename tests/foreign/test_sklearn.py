"""scikit-learn's MLPClassifier and MLPRegressor: as they are, and with mistakes written into them by hand."""

from itertools import product

import numpy as np
import pytest
from named import lines, names, wrong
from sklearn.neural_network import MLPClassifier, MLPRegressor, _multilayer_perceptron
from sklearn_mlp import backprop

import manualbp as mb
from oracle.doors.network import check_network

ACTIVATIONS = {"identity": mb.Identity(), "tanh": mb.Tanh(), "logistic": mb.Sigmoid(), "relu": mb.ReLU()}
#: By kind: outputs, the loss in front of which they are logits, and what scikit-learn's cost is multiplied by to be it.
LOSSES = {
    "binary": (1, mb.BCEWithLogitsLoss(), 1.0),
    "multiclass": (3, mb.CrossEntropyLoss(), 1.0),
    "squared": (1, mb.MSELoss(), 2.0),
    "poisson": (1, mb.PoissonNLLLoss(), 1.0),
}
ROWS = {"layout": "rows", "transposed": True}


def check(kind, activation, *, estimator=None, alpha=0.0, outputs=None, hidden=(5, 6), **options):
    one, loss, times = LOSSES[kind]
    network = mb.Network.dense((4, *hidden, outputs or one), ACTIVATIONS[activation], mb.Identity(), loss)
    with_loss = kind != "poisson"  # scikit-learn's has terms of y alone besides
    candidate = backprop(kind, activation, alpha, times, estimator, with_loss)
    return check_network(candidate, network, l2=lambda m: times * alpha / m, **ROWS, **options)


@pytest.mark.parametrize(("kind", "activation"), list(product(LOSSES, ACTIVATIONS)))
def test_as_it_is_it_agrees_with_its_l2_term(kind, activation):
    dtype = "float32" if (len(kind) + len(activation)) % 2 else "float64"
    report = check(kind, activation, alpha=0.1, dtype=dtype)
    assert report.ok, lines(report)


def test_the_l2_term_that_nobody_told_of_is_named_with_its_number():
    network = mb.Network.dense((4, 5, 3), mb.Tanh(), mb.Identity(), mb.CrossEntropyLoss())
    report = check_network(backprop("multiclass", "tanh", alpha=0.7), network, **ROWS)
    assert names(report) == {"weight decay added"}
    assert "0.1 W, or 0.7 / m" in lines(report)
    assert not check_network(backprop("multiclass", "tanh"), network, l2=0.1, **ROWS).ok


def test_a_regressor_of_several_outputs_has_the_gradient_of_another_cost():
    """Found by this check: the cost is a mean over the outputs, and its gradient is that of their sum (reports/foreign)."""
    report = check("squared", "tanh", outputs=3, hidden=(5,))
    assert not report.ok
    assert names(report) >= {"batchmean for mean"}
    assert "C" not in wrong(report)


class DecayUndivided(MLPClassifier):
    def _compute_loss_grad(self, layer, sw_sum, activations, deltas, coef_grads, intercept_grads):
        coef_grads[layer] = activations[layer].T @ deltas[layer] / sw_sum + self.alpha * self.coefs_[layer]
        intercept_grads[layer] = deltas[layer].sum(axis=0) / sw_sum


class DecayForgotten(DecayUndivided):
    def _compute_loss_grad(self, layer, sw_sum, *arrays):
        alpha, self.alpha = self.alpha, 0.0
        super()._compute_loss_grad(layer, sw_sum, *arrays)
        self.alpha = alpha


@pytest.mark.parametrize(
    ("estimator", "name"),
    [(DecayUndivided, "weight decay of another strength"), (DecayForgotten, "weight decay left out")],
)
def test_a_wrong_l2_term_is_named(estimator, name):
    report = check("multiclass", "tanh", estimator=estimator, alpha=0.1)
    assert names(report) == {name}


def spoilt(base, change):
    """The estimator whose gradients of a layer are changed by hand: change(self, layer, m, a, delta, dW, db)."""

    class Spoilt(base):
        def _compute_loss_grad(self, layer, sw_sum, activations, deltas, coef_grads, intercept_grads):
            super()._compute_loss_grad(layer, sw_sum, activations, deltas, coef_grads, intercept_grads)
            change(self, layer, sw_sum, activations, deltas, coef_grads, intercept_grads)

    return Spoilt


def averaged_twice(self, layer, m, a, delta, dW, db):
    dW[layer] /= m
    db[layer] /= m


def bias_averaged_twice(self, layer, m, a, delta, dW, db):
    db[layer] = db[layer] / m


def undivided(self, layer, m, a, delta, dW, db):
    dW[layer] *= m
    db[layer] *= m


def sign(self, layer, m, a, delta, dW, db):
    dW[layer], db[layer] = -dW[layer], -db[layer]


def own_output(self, layer, m, a, delta, dW, db):
    if layer == 1:
        dW[layer] = a[layer + 1].T @ delta[layer] / m


def first_sample(self, layer, m, a, delta, dW, db):
    if layer == 1:
        db[layer] = delta[layer][0] / m


def transposed(self, layer, m, a, delta, dW, db):
    if layer == 1:
        dW[layer] = dW[layer].T


def first_layer_forgotten(self, layer, m, a, delta, dW, db):
    if layer == 0:
        dW[layer], db[layer] = 0 * dW[layer], 0 * db[layer]


@pytest.mark.parametrize(
    ("kind", "base", "change", "expected", "where"),
    [
        ("multiclass", MLPClassifier, averaged_twice, {"every gradient averaged", "mean taken twice", "1/m twice"}, "W[1] b[1] W[2] b[2] W[3] b[3]"),
        ("multiclass", MLPClassifier, bias_averaged_twice, {"db averaged"}, "b[1] b[2] b[3]"),
        ("multiclass", MLPClassifier, undivided, {"sum for mean"}, "W[1] b[1] W[2] b[2] W[3] b[3]"),
        ("squared", MLPRegressor, sign, {"every gradient's sign"}, "W[1] b[1] W[2] b[2] W[3] b[3]"),
        ("binary", MLPClassifier, own_output, {"a[l] for a[l-1] in dW"}, "W[2]"),
        ("multiclass", MLPClassifier, first_sample, {"first column for db"}, "b[2]"),
        ("multiclass", MLPClassifier, transposed, {"dW transposed"}, "W[2]"),
        ("poisson", MLPRegressor, first_layer_forgotten, {"loop stops one too early"}, "W[1] b[1]"),
    ],
)  # fmt: skip
def test_gradients_changed_by_hand_are_placed_and_named(kind, base, change, expected, where):
    report = check(kind, "tanh", estimator=spoilt(base, change), hidden=(5, 5))
    assert wrong(report) == {f"dC/d{symbol}" for symbol in where.split()}
    assert names(report) & expected, (names(report), lines(report))


def tanh_without_square(Z, delta):
    delta *= 1 - Z


def sigmoid_half(Z, delta):
    delta *= Z


def relu_inverted(Z, delta):
    delta[Z != 0] = 0


def forgotten(Z, delta):
    pass


@pytest.mark.parametrize(
    ("activation", "derivative", "expected"),
    [
        ("tanh", tanh_without_square, "square forgotten"),
        ("logistic", sigmoid_half, "output for derivative"),
        ("relu", relu_inverted, "mask inverted"),
        ("tanh", forgotten, "derivative forgotten"),
    ],
)
def test_a_wrong_derivative_is_placed_and_named(monkeypatch, activation, derivative, expected):
    monkeypatch.setitem(_multilayer_perceptron.DERIVATIVES, activation, derivative)
    report = check("multiclass", activation, hidden=(5,))
    assert wrong(report) == {"dC/dW[1]", "dC/db[1]"}
    assert expected in names(report), (names(report), lines(report))


def test_far_from_zero_too():
    """Logits of hundreds: scikit-learn cuts its probabilities at the roundoff in the cost and not in the gradient."""
    network = mb.Network.dense((4, 5, 3), mb.Tanh(), mb.Identity(), mb.CrossEntropyLoss())
    rng = np.random.default_rng(0)
    params = {
        "W1": rng.normal(size=(4, 5)),
        "b1": rng.normal(size=5),
        "W2": 300 * rng.normal(size=(5, 3)),
        "b2": rng.normal(size=3),
    }
    x, y = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    report = check_network(backprop("multiclass", "tanh"), network, params=params, x=x, y=y, **ROWS)
    assert wrong(report) == {"C"}, lines(report)
