"""Mistakes at one operation of a reference that nobody has described: each by hand in NumPy, each told by what was seen to run."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import oracle
from oracle.doors import slips
from oracle.doors.composites import _PARTS


def mlp_forward(x, W1, b1, W2, b2):
    z = x @ W1 + b1
    a = np.maximum(z, 0)
    return a @ W2 + b2, (x, W1, z, a, W2)


def mlp_backward(dout, cache, mistake=""):
    x, W1, z, a, W2 = cache
    da = dout @ (W2 if mistake == "W2 not transposed" else W2.T)
    dz = {
        "no derivative": da,
        "input for slope": da * z,
        "clips the gradient": np.maximum(da, 0),
    }.get(mistake, da * (z > 0))
    dW2 = (z if mistake == "z for a" else a).T @ dout
    dW1 = x.T @ (da if mistake == "da for dz" else dz)
    dx = dz @ (W1 if mistake == "W1 not transposed" else W1.T)
    return -dx if mistake == "sign" else dx, dW1, dz.sum(0), dW2, dout.sum(0)


def mlp(x, W1, b1, W2, b2):
    return torch.relu(x @ W1 + b1) @ W2 + b2


def told(backward, forward, reference, *shapes, **options):
    """The advice on the first failing case."""
    options = {"regimes": ["generic"], "upstreams": 1} | options
    report = oracle.check_backward(forward, backward, reference, *shapes, **options)
    assert not report.ok
    return "\n".join(line.text for line in report.diagnoses[0].lines)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("no derivative", "the derivative of relu(x @ W1 + b1) is left out"),
        ("input for slope", "the input of relu(x @ W1 + b1) stands in place of its derivative"),
        ("clips the gradient", "relu(x @ W1 + b1) itself is applied to what comes from behind"),
        ("z for a", "to W2 is made with x @ W1 + b1 in place of relu(x @ W1 + b1)"),
        ("da for dz", "to W1 is made with the gradient from further behind, that of relu(x @ W1 + b1)"),
        ("W1 not transposed", "to x is made with W1 transposed, or not transposed where it should be"),
        ("W2 not transposed", "to relu(x @ W1 + b1) is made with W2 transposed"),
    ],
)
def test_a_mistake_in_a_small_network_is_told_by_its_operation(mistake, said):
    dtype = "float32" if mistake in ("z for a", "no derivative") else "float64"
    shapes = ("4x5", "5x5", "5", "5x5", "5")
    text = told(lambda dout, cache: mlp_backward(dout, cache, mistake), mlp_forward, mlp, *shapes, dtype=dtype)
    assert said in text
    assert "nothing simple" not in text


def softmax_forward(x):
    e = np.exp(x - x.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    return p, p


def attention_forward(q, k, v):
    p, _ = softmax_forward(q @ k.T / np.sqrt(q.shape[1]))
    return p @ v, (q, k, v, p)


def attention_backward(dout, cache, mistake=""):
    q, k, v, p = cache
    dp = dout @ v.T
    ds = p * dp if mistake == "diagonal" else p * (dp - (p * dp).sum(1, keepdims=True))
    ds = ds if mistake == "scale" else ds / np.sqrt(q.shape[1])
    return ds @ k, ds.T @ q, p.T @ dout


def attention(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("diagonal", "nothing flows back from "),
        ("scale", "the derivative of q @ k.mT * 0.5774 is left out"),
    ],
)
def test_torchs_own_function_is_looked_into(mistake, said):
    text = told(lambda dout, cache: attention_backward(dout, cache, mistake), attention_forward, attention, "5x3", "6x3", "6x4")
    assert said in text, text


def test_an_operation_that_is_an_activation_has_the_mistakes_of_the_catalogue():
    def forward(x, W):
        return softmax_forward(np.tanh(x @ W))[0], (x, W)

    def backward(dout, cache):
        x, W = cache
        z = x @ W
        p, _ = softmax_forward(np.tanh(z))
        dz = p * (dout - (p * dout).sum(1, keepdims=True)) * (1 - z**2)  # of z, and not of tanh(z)
        return dz @ W.T, x.T @ dz

    text = told(backward, forward, lambda x, W: torch.softmax(torch.tanh(x @ W), 1), "5x4", "4x3")
    assert "tanh(x @ W) goes back with 'z for a in the derivative'" in text


def network_forward(x, W, y):
    s = 1 / (1 + np.exp(-x @ W))
    p, _ = softmax_forward(s)
    return -np.log(p[np.arange(len(y)), y]).mean(), (x, W, s, p, y)


def network_backward(dout, cache, mistake):
    x, W, s, p, y = cache
    ds = p.copy()
    if mistake != "target":
        ds[np.arange(len(y)), y] -= 1
    ds *= dout if mistake == "mean" else dout / len(y)
    dz = ds * (1 - s**2 if mistake == "slope" else s * (1 - s))
    return dz @ W.T, x.T @ dz


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("target", "nothing flows back from sigmoid(x @ W) - logsumexp(sigmoid(x @ W)) to sigmoid(x @ W)"),
        ("mean", "cross_entropy(sigmoid(x @ W), y) to sigmoid(x @ W) is 4 times too large: the size of axis 0 of the operand"),
        ("slope", "1 - a^2 of the output a stands in place of the derivative of sigmoid(x @ W)"),
    ],
)
def test_a_loss_behind_a_network_is_looked_into_too(mistake, said):
    def reference(x, W, y):
        return functional.cross_entropy(torch.sigmoid(x @ W), y)

    text = told(lambda d, cache: network_backward(d, cache, mistake), network_forward, reference, "4x5", "5x3", "4 labels 3")
    assert said in text, text


def test_one_of_two_outputs_is_left_out():
    def backward(dout, cache):
        x, y = cache
        first, _ = dout
        return first * y, first * x

    text = told(backward, lambda x, y: ((x * y, x + y), (x, y)), lambda x, y: (x * y, x + y), "4x5", "4x5")
    assert "the upstream gradient of output 2 is left out" in text


def test_two_things_left_out_are_told_together():
    def backward(dout, cache):
        x, _, z, a, W2 = cache
        return np.zeros_like(x), x.T @ (dout @ W2.T * (z > 0)), np.zeros(5), a.T @ dout, dout.sum(0) * 1.0

    question = {}

    def kept(asked, values, upstream):
        question["found"] = right(asked, values, upstream)
        return question["found"]

    right = slips.slipped
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oracle.doors.advising._looks", lambda *_: [])
        patch.setattr("oracle.doors.advising.slipped", kept)
        told(backward, mlp_forward, mlp, "4x3", "3x5", "5", "5x2", "2")
    names = [part.name for _, part in question["found"]]
    assert "nothing flows back from x @ W1 to x and nothing flows back from x @ W1 + b1 to b1" in names


def test_what_is_no_slip_is_not_called_one():
    def backward(dout, cache):
        dx, *others = mlp_backward(dout, cache)
        return dx * (1 + 0.1 * np.sin(np.arange(dx.size)).reshape(dx.shape)), *others

    assert "dC/dx looks like nothing simple" in told(backward, mlp_forward, mlp, "4x3", "3x5", "5", "5x2", "2")


def test_no_more_runs_than_allowed(monkeypatch):
    runs = []
    counted = slips._gradients
    monkeypatch.setattr(slips, "MOST", 7)
    monkeypatch.setattr(slips, "_gradients", lambda *given: runs.append(1) or counted(*given))
    text = told(lambda dout, cache: mlp_backward(dout, cache, "da for dz"), mlp_forward, mlp, "4x3", "3x5", "5", "5x2", "2")
    assert len(runs) == 1 + 9 + 7  # right; to see what depends on each of nine operands; what is allowed
    assert "nothing simple" in text


def test_a_reference_that_cannot_be_followed_is_no_error():
    class Stubborn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            if x.dtype != torch.float32:
                raise TypeError("float32 alone")
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad

    x = {"x": torch.randn(3, 4, requires_grad=True)}
    question = oracle.doors.question.ask("case", "module", Stubborn.apply, x, {}, 1, 0)
    assert slips.slipped(question, {}, 0) == []


def test_what_comes_after_a_function_keeps_its_number_where_that_goes_back_as_a_whole():
    x = {"x": torch.randn(3, 4, requires_grad=True)}
    question = oracle.doors.question.ask("case", "module", lambda x: torch.softmax(x, 1).exp() * 2, x, {}, 1, 0)
    _, operations = slips._gradients(question, 0, ())
    whole = next(each for each in operations if each.label.text.startswith("softmax"))
    _, again = slips._gradients(question, 0, [(whole, 0, slips.NOTHING)])
    assert [each.number for each in again] == [each.number for each in operations]


# What is written operation by operation is torch's own


def composites():
    x, w, b = torch.randn(6, 5), torch.randn(5), torch.randn(5)
    given = {
        functional.linear: (x, torch.randn(3, 5), torch.randn(3)),
        functional.layer_norm: (x, (5,), w, b),
        functional.batch_norm: (x, torch.zeros(5), torch.ones(5), w, b, True),
        functional.rms_norm: (x, (5,), w),
        functional.cross_entropy: (x, torch.tensor([0, 4, 1, 2, 3, 0])),
        functional.mse_loss: (x, torch.randn(6, 5)),
        functional.scaled_dot_product_attention: (x, torch.randn(4, 5), torch.randn(4, 3)),
        torch.var: (x, 1),
        torch.Tensor.var: (x, 1),
        torch.linalg.vector_norm: (x, 2, 1),
    }
    alone = (functional.silu, functional.gelu)
    return {function: given.get(function, (x,) if function in alone else (x, 1)) for function in _PARTS}


@pytest.mark.parametrize(("function", "given"), composites().items(), ids=lambda value: getattr(value, "__qualname__", ""))
def test_a_function_in_parts_gives_what_it_gives_whole(function, given):
    wide = [each.double() if isinstance(each, torch.Tensor) and each.is_floating_point() else each for each in given]
    torch.testing.assert_close(_PARTS[function](*wide), function(*wide), rtol=1e-12, atol=1e-12)
