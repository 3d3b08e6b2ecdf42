"""The notes' forms against each other, against the general chain, and against autograd."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import manualbp as mb
from manualbp.textbook import functions, joined, notes333, version1, version2
from oracle.case import SHAPES, Case
from oracle.torch_run import torch_run

COSTS = {
    "half squared error": (functions.half_squared_error, version2.half_squared_error, mb.HalfSquaredError()),
    "cross entropy": (functions.cross_entropy, version2.cross_entropy, mb.BCELoss(reduction="sum")),
}
ACTIVATIONS = {
    "sigmoid": (functions.sigmoid, mb.Sigmoid()),
    "tanh": (functions.tanh, mb.Tanh()),
    "relu": (functions.relu, mb.ReLU()),
    "identity": (functions.identity, mb.Identity()),
}


def close(found, wanted, what):
    """Normwise within 1e-13: the largest difference against the largest element."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape, what
    assert np.abs(found - wanted).max() <= 1e-13 * np.abs(wanted).max(), what


def numbers(widths, batch, seed, gain=0.7):
    rng = np.random.default_rng(seed)
    layers = range(1, len(widths))
    W = {l: gain * rng.standard_normal((widths[l], widths[l - 1])) / np.sqrt(widths[l - 1]) for l in layers}
    b = {l: 0.2 * rng.standard_normal(widths[l]) for l in layers}
    return W, b, rng.standard_normal((widths[0], batch)), rng.uniform(0.05, 0.95, (widths[-1], batch))


def general_case(W, b, activations, loss, x, y):
    layers, params = [], []
    for l in W:
        layers += [mb.Linear(W[l].shape[1], W[l].shape[0]), activations[l]]
        params += [{"weight": W[l], "bias": b[l]}, {}]
    return Case("textbook", mb.Network(tuple(layers), loss), tuple(params), x, y)


def nodes_of(W, b):
    """Weights and biases by node number, as Version 2 takes them."""
    widths = [W[1].shape[1], *(W[l].shape[0] for l in W)]
    layers = version2.number_nodes(widths)
    w = {(j, i): float(W[l][r, c]) for l in W for r, i in enumerate(layers[l]) for c, j in enumerate(layers[l - 1])}
    return widths, layers, w, {i: float(b[l][r]) for l in W for r, i in enumerate(layers[l])}


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=str)
def test_all_forms_agree_with_each_other_and_with_autograd(shape, cost):
    in_matrices, by_node, loss = COSTS[cost]
    W, b, x, y = numbers(shape.widths, shape.batch, 11)
    sigmoid, general = ACTIVATIONS["sigmoid"]
    g = dict.fromkeys(W, sigmoid)

    one = version1.backpropagate(W, b, g, x, y, in_matrices)
    C, dC_dW, dC_db = joined.backpropagate(W, b, g, x, y, in_matrices)
    widths, layers, w, biases = nodes_of(W, b)
    samples = [(list(map(float, x[:, s])), list(map(float, y[:, s]))) for s in range(shape.batch)]
    two = version2.backpropagate(widths, w, biases, samples, by_node)
    case = general_case(W, b, dict.fromkeys(W, general), loss, x, y)
    chain, autograd = mb.backpropagate(case.network, case.params, case.x, case.target), torch_run(case)

    for value in (C, two.C, chain.loss, autograd.loss):
        close(value, one.C, "C")
    for l in W:
        from_nodes = np.array([[two.dC_dw[j, i] for j in layers[l - 1]] for i in layers[l]])
        for name, found in {"joined": dC_dW[l], "version 2": from_nodes, "chain": chain[f"dC/dW[{l}]"]}.items():
            close(found, autograd[f"dC/dW[{l}]"], f"{name} dC/dW[{l}]")
        close(one.dC_dW[l], autograd[f"dC/dW[{l}]"], f"version 1 dC/dW[{l}]")
        from_nodes = np.array([two.dC_db[i] for i in layers[l]])
        for name, found in {"joined": dC_db[l], "version 2": from_nodes, "chain": chain[f"dC/db[{l}]"]}.items():
            close(found, autograd[f"dC/db[{l}]"], f"{name} dC/db[{l}]")
        close(one.dC_db[l], autograd[f"dC/db[{l}]"], f"version 1 dC/db[{l}]")
        errors = np.array([two.error[i] for i in layers[l]])
        close(errors, autograd[f"delta[{l}]"], f"version 2 delta[{l}]")
        close(one.delta[l], autograd[f"delta[{l}]"], f"version 1 delta[{l}]")
        close(one.dC_da[l], autograd[f"dC/da[{l}]"], f"version 1 dC/da[{l}]")
    close(one.dC_da[0], autograd["dC/dx"], "dC/dx")


@given(
    names=st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=1, max_size=4),
    batch=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_version1_and_joined_take_any_activations(names, batch, seed):
    widths = (5, 4, 3, 6, 2)[: len(names) + 1]
    W, b, x, y = numbers(widths, batch, seed)
    g = {l: ACTIVATIONS[name][0] for l, name in enumerate(names, 1)}
    case = general_case(W, b, {l: ACTIVATIONS[name][1] for l, name in enumerate(names, 1)}, mb.HalfSquaredError(), x, y)
    one = version1.backpropagate(W, b, g, x, y, functions.half_squared_error)
    C, dC_dW, dC_db = joined.backpropagate(W, b, g, x, y, functions.half_squared_error)
    autograd = torch_run(case)
    np.testing.assert_allclose([one.C, C], autograd.loss, rtol=1e-12)
    for l in W:
        close(one.dC_dW[l], dC_dW[l], f"dC/dW[{l}]")
        scale = np.abs(autograd[f"dC/dW[{l}]"]).max() + np.abs(autograd[f"delta[{l}]"]).max()
        assert np.abs(one.dC_dW[l] - autograd[f"dC/dW[{l}]"]).max() <= 1e-13 * scale
        assert np.abs(dC_db[l] - autograd[f"dC/db[{l}]"]).max() <= 1e-12 * scale


@pytest.mark.parametrize("cost", COSTS)
def test_w47_and_b7_can_be_looked_up(cost):
    in_matrices, by_node, _ = COSTS[cost]
    found = notes333.backpropagate(by_node)
    W, b = notes333.matrices()
    x, y = np.array(notes333.X)[:, None], np.array(notes333.Y)[:, None]
    one = version1.backpropagate(W, b, dict.fromkeys(W, functions.sigmoid), x, y, in_matrices)
    assert found["w47"] == found.error[7][0] * found.a[4][0]
    assert found["b7"] == found.error[7][0]
    close(found["w47"], one.dC_dW[2][0, 0], "w47: from node 4 to node 7 is row 0, column 0 of W[2]")
    close(found["w69"], one.dC_dW[2][2, 2], "w69")
    close(found["w15"], one.dC_dW[1][1, 0], "w15")
    close(found["b7"], one.dC_db[2][0], "b7")
    with pytest.raises(KeyError, match="has the gradients w14"):
        found["w17"]


def test_names_above_nine_are_kept_apart():
    assert version2.edge_name((4, 7)) == "w47"
    assert version2.edge_name((9, 12)) == "w9_12"


def test_the_two_steps_and_the_update():
    W, b, x, y = numbers((3, 4, 2), 5, 3)
    g = dict.fromkeys(W, functions.tanh)
    one = version1.backpropagate(W, b, g, x, y, functions.half_squared_error)
    dC_da = joined.propagate_through_weights(W[2], one.delta[2])
    close(dC_da, one.dC_da[1], "step 1")
    close(joined.pass_through_activation(dC_da, one.z[1], functions.tanh), one.delta[1], "step 2")
    new_W, new_b = joined.update(W, b, one.dC_dW, one.dC_db, 0.1)
    after = version1.backpropagate(new_W, new_b, g, x, y, functions.half_squared_error)
    assert after.C < one.C
