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


def norm_forward(x, g, b):
    centred = x - x.mean(1, keepdims=True)
    s = 1 / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    return centred * s * g + b, (x, g, centred * s, s)


def norm_backward(dout, cache, mistake=""):
    x, g, n, s = cache
    dn = dout * g
    dx = s * (dn - dn.mean(1, keepdims=True) - n * (dn * n).mean(1, keepdims=True))
    dg = (dout * (x if mistake == "x for n" else n)).sum(0)
    db = dout[:-1].sum(0) if mistake == "last sample" else dout.sum(0)
    return dx / s if mistake == "no 1/sigma" else dx, dg, db


def plain_norm(x, g, b):
    centred = x - x.mean(1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-5) * g + b


@pytest.mark.parametrize("reference", [plain_norm, lambda x, g, b: functional.layer_norm(x, x.shape[1:], g, b)])
@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("x for n", "* g to g is made with x in place of"),
        ("last sample", "dC/db is equal to the right gradient without the last row of the upstream gradient"),
        ("no 1/sigma", "times a number of its own in each of its rows, about the standard deviation of x there"),
    ],
)
def test_mistakes_in_a_norm(mistake, said, reference):
    shapes = ("4x7", "7", "7")
    assert oracle.check_backward(norm_forward, norm_backward, reference, *shapes, regimes=["generic"]).ok
    text = told(lambda dout, cache: norm_backward(dout, cache, mistake), norm_forward, reference, *shapes)
    assert said in text


def test_a_derivative_that_is_taken_at_another_number():
    def forward(x, y):
        return np.sin(x) * y + np.cos(y), (x, y)

    def backward(dout, cache):
        x, y = cache
        return dout * y * np.cos(y), dout * (np.sin(x) - np.sin(y))  # cos(x) is meant

    text = told(backward, forward, lambda x, y: torch.sin(x) * y + torch.cos(y), "4x5", "4x5")
    assert "the derivative of sin(x) is taken at y" in text


@pytest.mark.parametrize("reference", [lambda E, i: functional.embedding(i, E), lambda E, i: E[i]])
def test_rows_that_are_used_several_times(reference):
    def backward(dout, cache, *, add=False):
        E, i = cache
        found = np.zeros_like(E)
        if add:
            np.add.at(found, i, dout)
        else:
            found[i] = dout
        return found

    def forward(E, i):
        return E[i], (E, i)

    shapes = ("4x5", "9 labels 4")
    right = oracle.check_backward(forward, lambda *given: backward(*given, add=True), reference, *shapes)
    assert right.ok
    text = told(backward, forward, reference, *shapes)
    assert "to E each number gets only the last share" in text


def test_a_kernel_that_is_not_turned():
    def forward(x, w):
        starts = range(x.shape[1] - len(w) + 1)
        return np.stack([(x[:, at : at + len(w)] * w).sum(axis=1) for at in starts], axis=1), (x, w)

    def backward(dout, cache, kernel=lambda w: w[::-1]):
        x, w = cache
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for at in range(dout.shape[1]):
            dx[:, at : at + len(w)] += dout[:, at : at + 1] * kernel(w)
            dw += (x[:, at : at + len(w)] * dout[:, at : at + 1]).sum(axis=0)
        return dx, dw

    def reference(x, w):
        return functional.conv1d(x[:, None], w[None, None])[:, 0]

    assert oracle.check_backward(forward, lambda *given: backward(*given, lambda w: w), reference, "4x9", "3").ok
    assert "in reverse order" in told(backward, forward, reference, "4x9", "3")


def test_attention_has_its_softmax():
    def forward(q, k, v):
        e = np.exp(q @ k.T / np.sqrt(q.shape[1]))
        p = e / e.sum(axis=1, keepdims=True)
        return p @ v, (q, k, v, p)

    def backward(dout, cache):
        q, k, v, p = cache
        ds = p * (1 - p) * (dout @ v.T) / np.sqrt(q.shape[1])  # the diagonal alone
        return ds @ k, ds.T @ q, p.T @ dout

    text = told(backward, forward, functional.scaled_dot_product_attention, "4x5", "6x5", "6x3")
    assert "a (1 - a) of the output a stands in place of the derivative of softmax" in text
