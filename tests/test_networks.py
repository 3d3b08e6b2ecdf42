"""The chain: every width, depth and batch; what it refuses; what a step down the gradient does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manualbp import (
    BCELoss,
    CrossEntropyLoss,
    HalfSquaredError,
    Identity,
    Linear,
    MSELoss,
    Network,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    backpropagate,
    descend,
    init,
)
from oracle.check import rows, table
from oracle.verdict import Verdict
from support import ACTIVATIONS, DTYPES, LOSSES, draw, link


@st.composite
def cases(draw_from):
    loss = draw_from(st.sampled_from(LOSSES))
    fitting = [record for record in ACTIVATIONS if record.extra_axes is None]
    widths = draw_from(st.lists(st.integers(1, 8), min_size=2, max_size=6))
    hidden = draw_from(st.lists(st.sampled_from(fitting), min_size=len(widths) - 2, max_size=len(widths) - 2))
    return draw(
        [*hidden, link(loss)],
        loss,
        tuple(widths),
        draw_from(st.integers(1, 9)),
        draw_from(st.sampled_from(DTYPES)),
        draw_from(st.integers(0, 2**16)),
        draw_from(st.booleans()),
    )


@given(case=cases())
def test_any_network_agrees_with_autograd_and_keeps_its_dtype(case):
    found = rows(case)
    failing = [row for row in found if Verdict(row.verdict).fails]
    assert not failing, table(failing).to_string()
    assert {row.dtype for row in found} == {str(case.dtype)}
    trace = backpropagate(case.network, case.params, case.x, case.target, grad_loss=case.grad_loss)
    assert {array.dtype for array in trace.quantities().values()} == {case.dtype}


def test_a_layer_can_be_used_twice():
    layer, activation = Linear(3, 3), Tanh()
    network = Network((layer, activation, layer, activation), MSELoss())
    params = init(network, 4)
    rng = np.random.default_rng(0)
    trace = backpropagate(network, params, rng.standard_normal((3, 5)), rng.standard_normal((3, 5)))
    assert not np.allclose(trace["dC/dW[1]"], trace["dC/dW[2]"])


def test_symbols_are_the_notes_and_unique_for_any_chain():
    network = Network((Tanh(), Linear(3, 4), Linear(4, 2), ReLU(), Tanh()), MSELoss())
    trace = backpropagate(network, init(network), np.ones((3, 2)), np.zeros((2, 2)))
    symbols = [quantity.symbol for quantity in trace.quantities()]
    assert symbols == [
        "a[0]", "z[1]", "z[2]", "a[2]", "a'[2]", "C", "dC/da'[2]", "dC/da[2]", "delta[2]",
        "dC/dW[2]", "dC/db[2]", "delta[1]", "dC/dW[1]", "dC/db[1]", "dC/da[0]", "dC/dx",
    ]  # fmt: skip
    with pytest.raises(KeyError, match=r"has the quantities .*; got 'dC/dW\[3\]'"):
        trace["dC/dW[3]"]


def test_descend_lowers_the_loss_and_changes_nothing_in_place():
    case = draw([Tanh(), Identity()], MSELoss(), (3, 5, 2), 7)
    before = backpropagate(case.network, case.params, case.x, case.target)
    kept = case.params[0]["weight"].copy()
    params = descend(case.params, before.parameter_gradients, np.float64(0.1))
    assert backpropagate(case.network, params, case.x, case.target).loss < before.loss
    np.testing.assert_array_equal(case.params[0]["weight"], kept)
    np.testing.assert_array_equal(params[0]["weight"], kept - 0.1 * before.parameter_gradients[0]["weight"])


def test_descend_keeps_float32():
    case = draw([Tanh()], MSELoss(), (3, 2), 4, "float32")
    trace = backpropagate(case.network, case.params, case.x, case.target)
    params = descend(case.params, trace.parameter_gradients, np.float64(0.1))
    assert params[0]["weight"].dtype == np.float32


def test_descend_needs_every_gradient():
    case = draw([Tanh()], MSELoss(), (3, 2), 4)
    with pytest.raises(ValueError, match="one gradient for each parameter"):
        descend(case.params, ({"weight": np.zeros((2, 3))}, {}), 0.1)


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_not_finite_run_without_a_warning():
    case = draw([ReLU(), Softmax()], HalfSquaredError(), (3, 5, 2), 4)
    case.x[0, 1], case.x[1, 2] = np.nan, np.inf
    trace = backpropagate(case.network, case.params, case.x, case.target)
    assert np.isnan(trace.loss)
    assert np.isfinite(trace["a[2]"][:, [0, 3]]).all()


def square(**changes):
    """A fitting call of a 3-4-2 network, with some arguments changed."""
    network = changes.pop("network", Network.dense((3, 4, 2), Tanh(), Identity(), MSELoss()))
    arguments = {"params": init(network), "x": np.ones((3, 5)), "target": np.zeros((2, 5))} | changes
    return backpropagate(network, **arguments)


CLASSES = Network.dense((3, 4, 2), Tanh(), Identity(), CrossEntropyLoss())
CHANCES = Network.dense((3, 4, 2), Tanh(), Sigmoid(), BCELoss())


@pytest.mark.parametrize(
    ("error", "message", "changes"),
    [
        (ValueError, r"Linear\(3, 4\) takes \(3, m\) inputs, one column per sample; got 5 rows", {"x": np.ones((5, 3))}),
        (ValueError, r"shape \(features, m\), one column per sample; got \(3,\).*x\[:, None\]", {"x": np.ones(3)}),
        (ValueError, r"at least one sample; got an input of shape \(3, 0\)", {"x": np.ones((3, 0)), "target": np.zeros((2, 0))}),
        (TypeError, r"floating-point numbers; got dtype int64", {"x": np.ones((3, 5), dtype=int)}),
        (TypeError, r"target of the network's own dtype, float64; got float32", {"target": np.zeros((2, 5), "f")}),
        (ValueError, r"shape \(2, 5\); got \(5, 2\). Transpose it", {"target": np.zeros((5, 2))}),
        (ValueError, r"one dictionary per layer.*4 here; got 1", {"params": [{}]}),
        (ValueError, r"takes the parameters \['bias', 'weight'\]; got \[\]", {"params": [{}, {}, {}, {}]}),
        (TypeError, r"weight of the input's dtype, float32; got float64", {"x": np.ones((3, 5), "f")}),
        (ValueError, r"class indices from 0 to 1.*got 2 at \(4,\)", {"network": CLASSES, "target": np.array([0, 1, 0, 1, 2])}),
        (ValueError, r"class indices from 0 to 1.*got -1 at \(0,\)", {"network": CLASSES, "target": np.array([-1, 1, 0, 1, 1])}),
        (TypeError, r"integer class indices; got dtype float64", {"network": CLASSES, "target": np.zeros(5)}),
        (ValueError, r"one class index per sample, shape \(5,\); got \(2, 5\).*argmax", {"network": CLASSES, "target": np.zeros((2, 5), int)}),
        (ValueError, r"targets in \[0, 1\]; got 1.5 at \(0, 0\)", {"network": CHANCES, "target": np.full((2, 5), 1.5)}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_rule_and_the_fix(error, message, changes):
    with pytest.raises(error, match=message):
        square(**changes)


def test_wrong_parameter_shape_is_refused():
    params = init(Network.dense((3, 4, 2), Tanh(), Identity(), MSELoss()))
    params[0]["weight"] = params[0]["weight"].T
    with pytest.raises(ValueError, match=r"weight of shape \(4, 3\); got \(3, 4\)"):
        square(params=params)


@pytest.mark.parametrize(
    ("error", "message", "build"),
    [
        (ValueError, r"Linear\(5, 2\) takes \(5, m\) inputs.*got 4 rows", lambda: Network((Linear(3, 4), Linear(5, 2)), MSELoss())),
        (ValueError, r"takes inputs in \[0, 1\]; Tanh gives \[-1, 1\]", lambda: Network((Linear(3, 4), Tanh()), BCELoss())),
        (ValueError, r"takes inputs in \[0, 1\]; Linear\(3, 4\) gives \(-inf, inf\)", lambda: Network((Linear(3, 4),), BCELoss())),
        (TypeError, r"Is it a class, not yet called", lambda: Network((Linear(3, 4), Tanh), MSELoss())),
        (TypeError, r"Is it a class, not yet called", lambda: Network((Linear(3, 4),), MSELoss)),
        (ValueError, r"widths from 1; got Linear\(0, 2\)", lambda: Linear(0, 2)),
        (ValueError, r"at least two widths", lambda: Network.dense((3,), Tanh(), Tanh(), MSELoss())),
    ],
)  # fmt: skip
def test_a_network_that_cannot_work_is_refused_when_it_is_built(error, message, build):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_infinity_times_zero_is_nan_in_every_product(dtype):
    """Also in those of one column and one row, where a routine for vectors skips factors of 0."""
    x, upstream = np.zeros((1, 1), dtype), np.full((2, 1), np.inf, dtype)
    params = {"weight": np.full((2, 1), np.inf, dtype), "bias": np.zeros(2, dtype)}
    with np.errstate(invalid="ignore"):
        output, residuals = Linear(1, 2).forward(params, x)
        _, grads = Linear(1, 2).backward(params, residuals, upstream)
    assert np.isnan(output).all()
    assert np.isnan(grads["weight"]).all()
