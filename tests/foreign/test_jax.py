"""jax: its gradients of whole networks, rules of one's own that are wrong, and options that are not torch's."""

import numpy as np
import pytest
from named import lines, names, wrong

import manualbp as mb
from oracle.doors.network import check_network

jax = pytest.importorskip("jax", reason="jax is not installed")
import jax.numpy as jnp  # noqa: E402  # only where it is there

ACTIVATIONS = {
    "tanh": (jnp.tanh, mb.Tanh()),
    "relu": (jax.nn.relu, mb.ReLU()),
    "silu": (jax.nn.silu, mb.SiLU()),
    "gelu": (lambda z: jax.nn.gelu(z, approximate=False), mb.GELU()),
    "softplus": (jax.nn.softplus, mb.Softplus()),
    "elu": (jax.nn.elu, mb.ELU()),
}


def candidate(activation, wide):
    """candidate(params, x, y) by jax.grad; params are a list with a dictionary for each Linear layer, as jax's users keep them."""

    def cost(params, x, y):
        *hidden, last = params
        for layer in hidden:
            x = activation(x @ layer["w"] + layer["b"])
        logits = x @ last["w"] + last["b"]
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

    def gradients(params, x, y):
        with jax.enable_x64(wide):
            layers = [{"w": params[f"W{layer}"], "b": params[f"b{layer}"]} for layer in range(1, len(params) // 2 + 1)]
            return jax.value_and_grad(cost)(layers, x, y)

    return gradients


def check(activation, record, dtype="float64", **options):
    network = mb.Network.dense((4, 5, 3), record, mb.Identity(), mb.CrossEntropyLoss())
    return check_network(
        candidate(activation, dtype == "float64"), network, layout="rows", transposed=True, dtype=dtype, **options
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_as_it_is_it_agrees(name):
    report = check(*ACTIVATIONS[name], dtype="float32" if len(name) % 2 else "float64", degenerate=name == "tanh")
    assert report.ok, lines(report)


def test_its_gelu_is_the_tanh_one_unless_it_is_told():
    report = check(jax.nn.gelu, mb.GELU(), degenerate=False)
    assert wrong(report) >= {"C", "dC/dW[1]", "dC/db[1]"}
    assert "GELU(approximate='tanh') in place of GELU" in names(report), lines(report)
    assert check(jax.nn.gelu, mb.GELU(approximate="tanh"), degenerate=False).ok


def test_without_its_double_precision_the_dtype_is_named():
    network = mb.Network.dense((4, 5, 3), mb.Tanh(), mb.Identity(), mb.CrossEntropyLoss())
    report = check_network(candidate(jnp.tanh, False), network, layout="rows", transposed=True, degenerate=False)
    assert any("float32" in note for note in report.failing["note"])
    assert "float32" in lines(report)


def ruled(value, rule):
    """A function with a derivative rule written by hand: rule(input) gives the factor of the upstream gradient."""
    function = jax.custom_vjp(value)
    function.defvjp(lambda z: (value(z), z), lambda z, g: (g * rule(z),))
    return function


@pytest.mark.parametrize(
    ("value", "rule", "record", "expected"),
    [
        (jnp.tanh, lambda z: 1 - jnp.tanh(z) ** 2, mb.Tanh(), None),
        (jax.nn.silu, jax.nn.sigmoid, mb.SiLU(), "product rule, first term only"),
        (jax.nn.relu, lambda z: 1.0 * (z < 0), mb.ReLU(), "mask inverted"),
        (jax.nn.softplus, jax.nn.softplus, mb.Softplus(), "output for derivative"),
        (
            lambda z: jax.nn.gelu(z, approximate=False),
            lambda z: jax.vmap(jax.grad(jax.nn.gelu))(z.ravel()).reshape(z.shape),
            mb.GELU(),
            "the other GELU's derivative",
        ),
    ],
)
def test_a_rule_of_ones_own_is_placed_and_named(value, rule, record, expected):
    report = check(ruled(value, rule), record, degenerate=False)
    if expected is None:
        assert report.ok, lines(report)
        return
    assert wrong(report) == {"dC/dW[1]", "dC/db[1]"}
    assert expected in names(report), lines(report)


def far(scale):
    """Parameters and an input so large that functions reach their ends."""
    rng = np.random.default_rng(3)
    params = {"W1": rng.normal(size=(4, 5)), "b1": rng.normal(size=5), "W2": rng.normal(size=(5, 3)), "b2": rng.normal(size=3)}
    return {"params": params, "x": scale * rng.normal(size=(9, 4)), "y": rng.integers(0, 3, 9)}


def test_its_softplus_does_not_end_in_a_line_as_torchs_does():
    report = check(jax.nn.softplus, mb.Softplus(), **far(20))
    assert wrong(report) >= {"dC/dW[1]", "dC/db[1]"}
    assert report.failing["max_rel"].max() < 1e-8
    assert check(jax.nn.softplus, mb.Softplus(threshold=200.0), **far(20)).ok


def test_where_torch_is_the_one_that_is_wrong_it_is_said():
    """In float64 torch multiplies with a 1/6 of float32 on the way back of its Hardsigmoid."""
    report = check(jax.nn.hard_sigmoid, mb.Hardsigmoid(), **far(1))
    assert report.ok, lines(report)
    settled = report.table[report.table["verdict"] == "reference"]
    assert set(settled["symbol"]) == {"dC/dW[1]", "dC/db[1]"}
    assert settled["note"].str.contains("torch is").all()
