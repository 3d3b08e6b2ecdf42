"""Modules as people write them, with the mistakes they make: each is found, placed in its submodule and, nearly always, named.

None of it is made by the oracle's own catalogue of mistakes.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.func import functional_call
from torch.nn import functional

from oracle.doors.module import check_module

X = torch.from_numpy(np.random.default_rng(0).standard_normal((7, 4)))


def names(report):
    return {match["name"] for advice in report.diagnoses for match in advice.matches}


def lines(report):
    return "\n".join(text for advice in report.diagnoses for _, text in advice.lines)


def own_faults(report):
    """The submodules whose own rows fail."""
    failing = report.failing
    return {symbol.split(":")[0] for symbol in failing[failing["comparison"] == "layerwise"]["symbol"]}


def module_of(function):
    """A module around a function without parameters."""

    class Wrapped(nn.Module):
        def forward(self, z):
            return function(z)

    return Wrapped()


class Net(nn.Module):
    """Two hidden layers of one width, so that a transposed matrix fits."""

    def __init__(self, linear=nn.Linear, act=None):
        super().__init__()
        self.fc1 = linear(4, 5)
        self.act1 = act or nn.Tanh()
        self.fc2 = linear(5, 5)
        self.act2 = act or nn.Tanh()
        self.out = linear(5, 3)
        self.double()

    def forward(self, x):
        return self.out(self.act2(self.fc2(self.act1(self.fc1(x)))))


# torch's own tutorials, the right way round.


class LinearFunction(Function):
    """The tutorial's, with the context's needs_input_grad."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x @ weight.t() + bias

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight, grad.t() @ x, grad.sum(0)


class MyLinear(nn.Module):
    function = LinearFunction

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in).uniform_(-0.5, 0.5))
        self.bias = nn.Parameter(torch.empty(n_out).uniform_(-0.5, 0.5))

    def forward(self, x):
        return self.function.apply(x, self.weight, self.bias)


class LegendrePolynomial3(Function):
    """P3(x) = (5 x^3 - 3 x) / 2."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * (5 * x**3 - 3 * x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 1.5 * (5 * x**2 - 1)


class Exp(Function):
    @staticmethod
    def forward(ctx, x):
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        return grad * result


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (Exp.apply, torch.exp),
        (LegendrePolynomial3.apply, lambda x: 0.5 * (5 * x**3 - 3 * x)),
    ],
)
def test_the_tutorials_functions_inside_a_module_agree(function, plain):
    candidate, reference = Net(MyLinear, module_of(function)), Net(act=module_of(plain))
    report = check_module(candidate, reference, X)
    assert report.ok, lines(report)
    layerwise = report.table[report.table["comparison"] == "layerwise"]
    assert {symbol.split(":")[0] for symbol in layerwise["symbol"]} == {"fc1", "act1", "fc2", "act1 (call 2)", "out"}


def linear(backward):
    """MyLinear with another way back."""
    spoilt = type("Spoilt", (LinearFunction,), {"backward": staticmethod(backward)})
    return type("SpoiltLinear", (MyLinear,), {"function": spoilt})


def not_transposed(ctx, grad):
    x, weight = ctx.saved_tensors
    back = grad @ (weight.t() if weight.shape[0] == weight.shape[1] else weight)
    return back, grad.t() @ x, grad.sum(0)


def bias_averaged(ctx, grad):
    x, weight = ctx.saved_tensors
    return grad @ weight, grad.t() @ x, grad.mean(0)


def bias_of_one_sample(ctx, grad):
    x, weight = ctx.saved_tensors
    return grad @ weight, grad.t() @ x, grad[0]


def weight_averaged(ctx, grad):
    x, weight = ctx.saved_tensors
    return grad @ weight, grad.t() @ x / len(x), grad.sum(0) / len(x)


def no_way_back(ctx, grad):
    x, _ = ctx.saved_tensors
    return torch.zeros_like(x), grad.t() @ x, grad.sum(0)


def upstream_ignored(ctx, grad):
    x, weight = ctx.saved_tensors
    ones = torch.ones_like(grad)
    return ones @ weight, ones.t() @ x, ones.sum(0)


def weight_forgotten(ctx, grad):
    _, weight = ctx.saved_tensors
    return grad @ weight, None, grad.sum(0)


def decayed(ctx, grad):
    x, weight = ctx.saved_tensors
    return grad @ weight, grad.t() @ x + 0.01 * weight, grad.sum(0)


@pytest.mark.parametrize(
    ("backward", "where", "expected"),
    [
        (not_transposed, {"fc2"}, "W not transposed"),
        (bias_averaged, {"fc1", "fc2", "out"}, "db averaged"),
        (bias_of_one_sample, {"fc1", "fc2", "out"}, "first column for db"),
        (weight_averaged, {"fc1", "fc2", "out"}, "dW and db averaged"),
        (no_way_back, {"fc1", "fc2", "out"}, "nothing goes further back"),
        (
            upstream_ignored,
            {"fc1", "fc2", "out"},
            "equal to the right gradient for an upstream gradient of 1 everywhere",
        ),
        (weight_forgotten, {"fc1", "fc2", "out"}, "not given"),
        (decayed, {"fc1", "fc2", "out"}, "weight decay in dW"),
    ],
)
def test_a_linear_module_with_a_mistake(backward, where, expected):
    report = check_module(Net(linear(backward)), Net(), X)
    assert own_faults(report) == where, lines(report)
    assert expected in names(report), (names(report), lines(report))


def rule(value, derivative):
    """A module with a derivative rule by hand, of the input."""

    class Ruled(Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return value(z)

        @staticmethod
        def backward(ctx, grad):
            (z,) = ctx.saved_tensors
            return grad * derivative(z)

    return module_of(Ruled.apply)


def phi(z):
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(
    ("candidate", "plain", "expected"),
    [
        (rule(torch.tanh, lambda z: 1 - torch.tanh(z)), nn.Tanh(), "square forgotten"),
        (rule(torch.sigmoid, lambda z: z * (1 - z)), nn.Sigmoid(), "z for a in the derivative"),
        (rule(torch.relu, lambda z: 1.0 * (z < 0)), nn.ReLU(), "mask inverted"),
        (rule(functional.silu, torch.sigmoid), nn.SiLU(), "product rule, first term only"),
        (rule(functional.gelu, lambda z: z * phi(z)), nn.GELU(), "product rule, second term only"),
        (
            rule(functional.leaky_relu, lambda z: torch.where(z > 0, 1.0, 0.1 * torch.ones_like(z))),
            nn.LeakyReLU(),
            "slope ten times too large",
        ),
        (rule(functional.softplus, lambda z: torch.ones_like(z)), nn.Softplus(), "derivative forgotten"),
    ],
)
def test_an_activation_with_a_mistake(candidate, plain, expected):
    report = check_module(Net(act=candidate), Net(act=plain), X)
    assert own_faults(report) == {"act1"} or own_faults(report) == {"act1", "act1 (call 2)"}, lines(report)
    assert expected in names(report), (names(report), lines(report))


def test_a_softmax_with_the_diagonal_of_its_jacobian_alone():
    class Diagonal(Function):
        @staticmethod
        def forward(ctx, z):
            p = z.softmax(-1)
            ctx.save_for_backward(p)
            return p

        @staticmethod
        def backward(ctx, grad):
            (p,) = ctx.saved_tensors
            return grad * p * (1 - p)

    report = check_module(Net(act=module_of(Diagonal.apply)), Net(act=nn.Softmax(-1)), X)
    assert names(report) == {"the Jacobian's diagonal only"}, lines(report)


class LayerNorm(nn.Module):
    """A normalisation whose way back takes mean and variance for constants."""

    def __init__(self, size):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x):
        mean, variance = x.mean(-1, keepdim=True).detach(), x.var(-1, correction=0, keepdim=True).detach()
        return (x - mean) / torch.sqrt(variance + 1e-5) * self.weight + self.bias


class Normed(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.fc, self.norm, self.out = nn.Linear(4, 6), norm, nn.Linear(6, 2)
        self.double()

    def forward(self, x):
        return self.out(self.norm(self.fc(x)).tanh())


def test_a_layer_norm_that_takes_its_statistics_for_constants():
    report = check_module(Normed(LayerNorm(6)), Normed(nn.LayerNorm(6)), X)
    assert own_faults(report) == {"norm"}
    assert report.diagnoses[0].location.startswith("norm, LayerNorm: dC/dinput")


# Every submodule is right, and they are put together wrongly.


class Shared(nn.Module):
    """One matrix that is used twice, and a way around the second use."""

    def __init__(self, cut="", act=None):
        super().__init__()
        self.cut, self.inner, self.act, self.out = cut, nn.Linear(5, 5), act or nn.Tanh(), nn.Linear(5, 2)
        self.enter = nn.Linear(4, 5)
        self.double()

    def forward(self, x):
        a = self.enter(x)
        constants = {name: value.detach() for name, value in self.inner.named_parameters()}
        first = self.act(functional_call(self.inner, constants, a) if self.cut == "first use" else self.inner(a))
        around = first.detach() if self.cut == "around" else first
        through = first.detach() if self.cut == "through" else first
        if self.cut == "no way around":
            around = 0
        return self.out(around + self.act(self.inner(through)))


@pytest.mark.parametrize(
    ("cut", "symbol", "expected"),
    [
        ("around", "dC/d act", "equal to what inner (call 2) gives alone: the rest is lost"),
        ("through", "dC/d act", "equal to the right gradient without what inner (call 2) gives"),
        ("first use", "dC/d inner.weight", "equal to what call 2 of inner gives alone: the rest is lost"),
        ("no way around", "out", "equal to the value of act (call 2)"),
    ],
)
def test_a_way_back_that_is_cut_between_submodules(cut, symbol, expected):
    report = check_module(Shared(cut), Shared(), X)
    assert own_faults(report) == set(), lines(report)
    assert not report.ok
    assert report.diagnoses[0].location.startswith(f"Every submodule is right, and they are put together wrongly: {symbol} at")
    assert expected in names(report), (names(report), lines(report))


def test_an_activation_that_is_not_called():
    class Forgetful(Net):
        def forward(self, x):
            return self.out(self.fc2(self.act1(self.fc1(x))))

    report = check_module(Forgetful(), Net(), X)
    assert own_faults(report) == set()
    assert "equal to the value of fc2" in names(report), lines(report)
    assert "the input of out" in lines(report)
