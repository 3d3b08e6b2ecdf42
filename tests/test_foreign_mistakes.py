"""Mistakes as a student or the author of a kernel makes them, written out by hand: each is found, and named."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

import oracle

rng = np.random.default_rng(7)


def draw(*shapes):
    return [rng.standard_normal(shape) for shape in shapes]


# An affine layer in the layout of the courses: x (samples, in), w (in, out).


def affine_forward(x, w, b):
    return x @ w + b, (x, w, b)


def affine(x, w, b):
    return x @ w + b


def affine_backward(dout, cache):
    x, w, _ = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def affine_db_averaged(dout, cache):
    x, w, _ = cache
    return dout @ w.T, x.T @ dout, dout.mean(axis=0)


def affine_first_row(dout, cache):
    x, w, _ = cache
    return dout @ w.T, x.T @ dout, dout[0]


def affine_dw_transposed(dout, cache):
    x, w, _ = cache
    return dout @ w.T, dout.T @ x, dout.sum(axis=0)


def affine_not_transposed(dout, cache):
    x, w, _ = cache
    return dout @ w, x.T @ dout, dout.sum(axis=0)


def affine_averaged(dout, cache):
    x, w, _ = cache
    return dout @ w.T, x.T @ dout / len(x), dout.sum(axis=0) / len(x)


def affine_minus(dout, cache):
    x, w, _ = cache
    return -(dout @ w.T), x.T @ dout, dout.sum(axis=0)


def affine_not_summed(dout, cache):
    x, w, _ = cache
    return dout @ w.T, x.T @ dout, dout


def affine_without_db(dout, cache):
    x, w, _ = cache
    return dout @ w.T, x.T @ dout


def affine_half(dout, cache):
    x, w, _ = cache
    return dout @ w.T, (x.astype(np.float32).T @ dout.astype(np.float32)).astype(np.float64), dout.sum(axis=0)


# Activations.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_forward(x):
    a = sigmoid(x)
    return a, a


def sigmoid_backward(dout, a):
    return dout * a * (1 - a)


def sigmoid_of_a(dout, a):
    return dout * sigmoid(a) * (1 - sigmoid(a))


def sigmoid_forgotten(dout, a):
    return dout


def tanh_forward(x):
    a = np.tanh(x)
    return a, a


def tanh_backward(dout, a):
    return dout * (1 - a**2)


def tanh_without_square(dout, a):
    return dout * (1 - a)


def tanh_not_used(dout, a):
    return 1 - a**2


def relu_forward(x):
    return np.maximum(x, 0), x


def relu_backward(dout, x):
    return dout * (x > 0)


def relu_of_upstream(dout, x):
    return dout * (dout > 0)


def relu_in_place(dout, x):
    dout[x <= 0] = 0
    return dout


def relu_inverted(dout, x):
    return dout * (x <= 0)


# Losses and softmax: one row per sample.


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_forward(x):
    p = softmax(x)
    return p, p


def softmax_backward(dout, p):
    return p * (dout - (dout * p).sum(axis=1, keepdims=True))


def softmax_diagonal(dout, p):
    return dout * p * (1 - p)


def cross_entropy_forward(x, y):
    p = softmax(x)
    return -np.log(p[np.arange(len(x)), y]).mean(), (p, y)


def cross_entropy_backward(dout, cache):
    p, y = cache
    dx = p.copy()
    dx[np.arange(len(y)), y] -= 1
    return dout * dx / len(y)


def cross_entropy_not_divided(dout, cache):
    return cross_entropy_backward(dout, cache) * len(cache[1])


def cross_entropy_without_one_hot(dout, cache):
    p, y = cache
    return dout * p / len(y)


def cross_entropy_in_cache(dout, cache):
    p, y = cache
    p[np.arange(len(y)), y] -= 1
    return dout * p / len(y)


def cross_entropy_ones(dout, cache):
    return cross_entropy_backward(1.0, cache)


def mse_forward(x, y):
    return ((x - y) ** 2).mean(), (x, y)


def mse_backward(dout, cache):
    x, y = cache
    return dout * 2 * (x - y) / x.size, dout * 2 * (y - x) / x.size


def mse_without_two(dout, cache):
    x, y = cache
    return dout * (x - y) / x.size, dout * (y - x) / x.size


def mse_divided_by_batch(dout, cache):
    x, y = cache
    return dout * 2 * (x - y) / len(x), dout * 2 * (y - x) / len(x)


# A normalisation that manualbp has no record of.


def norm_forward(x, gamma):
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    hat = (x - mean) / np.sqrt(var + 1e-5)
    return gamma * hat, (hat, gamma, 1 / np.sqrt(var + 1e-5))


def norm(x, gamma):
    return functional.layer_norm(x, x.shape[1:], gamma)


def norm_backward(dout, cache):
    hat, gamma, r = cache
    g = dout * gamma
    return r * (g - g.mean(axis=1, keepdims=True) - hat * (g * hat).mean(axis=1, keepdims=True)), (dout * hat).sum(axis=0)


def norm_without_mean(dout, cache):
    hat, gamma, r = cache
    g = dout * gamma
    return r * (g - hat * (g * hat).mean(axis=1, keepdims=True)), (dout * hat).sum(axis=0)


def norm_not_summed(dout, cache):
    return norm_backward(dout, cache)[0], dout * cache[0]


def batch_norm_forward(x, gamma):
    hat, cache = norm_forward(x.T, 1.0)
    return gamma * hat.T, (hat.T, gamma, cache[2].T)


def batch_norm(x, gamma):
    return functional.batch_norm(x, None, None, gamma, training=True)


def batch_norm_without_variance(dout, cache):
    hat, gamma, r = cache
    g = dout * gamma
    return r * (g - g.mean(axis=0)), (dout * hat).sum(axis=0)


AFFINE = (affine_forward, affine, draw((4, 5), (5, 3), (3,)))
SQUARE = (affine_forward, affine, draw((4, 3), (3, 3), (3,)))
SIGMOID = (sigmoid_forward, torch.sigmoid, draw((4, 5)))
TANH = (tanh_forward, torch.tanh, draw((4, 5)))
RELU = (relu_forward, torch.relu, draw((6, 5)))
SOFTMAX = (softmax_forward, lambda x: torch.softmax(x, 1), draw((4, 5)))
LABELS = (cross_entropy_forward, functional.cross_entropy, [*draw((4, 5)), np.array([0, 4, 2, 1])])
MSE = (mse_forward, functional.mse_loss, draw((4, 5), (4, 5)))
NORM = (norm_forward, norm, draw((4, 5), (5,)))
BATCH_NORM = (batch_norm_forward, batch_norm, draw((8, 5), (5,)))

RIGHT = [
    (affine_backward, AFFINE),
    (sigmoid_backward, SIGMOID),
    (tanh_backward, TANH),
    (relu_backward, RELU),
    (softmax_backward, SOFTMAX),
    (cross_entropy_backward, LABELS),
    (mse_backward, MSE),
    (norm_backward, NORM),
]
#: Each with what the diagnosis has to say of it.
WRONG = [
    (affine_db_averaged, AFFINE, "db averaged"),
    (affine_first_row, AFFINE, "first column for db"),
    (affine_dw_transposed, AFFINE, "transposed"),
    (affine_not_transposed, SQUARE, "W not transposed"),
    (affine_averaged, AFFINE, "averaged"),
    (affine_minus, AFFINE, "sign"),
    (affine_not_summed, AFFINE, "not summed"),
    (affine_without_db, AFFINE, "does not give it"),
    (affine_half, AFFINE, "float32"),
    (sigmoid_of_a, SIGMOID, "g'(a) for g'(z)"),
    (sigmoid_forgotten, SIGMOID, "derivative forgotten"),
    (tanh_without_square, TANH, "1 - a for 1 - a^2"),
    (tanh_not_used, TANH, "upstream gradient is not used"),
    (relu_of_upstream, RELU, "upstream"),
    (relu_in_place, RELU, "upstream gradient is changed in place"),
    (relu_inverted, RELU, "inverted"),
    (softmax_diagonal, SOFTMAX, "diagonal"),
    (cross_entropy_not_divided, LABELS, "sum for mean"),
    (cross_entropy_without_one_hot, LABELS, "one-hot"),
    (cross_entropy_in_cache, LABELS, "cache"),
    (cross_entropy_ones, LABELS, "upstream gradient"),
    (mse_without_two, MSE, "2"),
    (mse_divided_by_batch, MSE, "batch"),
    (norm_without_mean, NORM, "the same in all its columns"),
    (norm_not_summed, NORM, "not summed"),
    (batch_norm_without_variance, BATCH_NORM, "along its rows, a multiple of x and a constant"),
]


@pytest.mark.parametrize(("backward", "given"), RIGHT, ids=lambda each: getattr(each, "__name__", ""))
def test_right_ones_agree(backward, given):
    forward, reference, inputs = given
    report = oracle.check_backward(forward, backward, reference, *inputs)
    assert report.ok, report.explain()
    assert report.diagnosis == ""
    report.raise_if_failed()


@pytest.mark.parametrize(("backward", "given", "said"), WRONG, ids=lambda each: getattr(each, "__name__", ""))
def test_wrong_ones_are_found_and_named(backward, given, said):
    forward, reference, inputs = given
    report = oracle.check_backward(forward, backward, reference, *inputs)
    assert not report.ok
    assert said in report.diagnosis, report.explain()
    with pytest.raises(oracle.GradientError, match=backward.__name__):
        report.raise_if_failed()


# Kernels: autograd.Functions.


class Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        density = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return grad * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density)


class GeluOfTanh(Gelu):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        return grad * (0.5 * (1 + torch.tanh(inner)) + 0.5 * x * slope / torch.cosh(inner) ** 2)


class GeluFirstTerm(Gelu):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


class GeluOfRawMemory(Gelu):
    """As a kernel does that takes a pointer and a length."""

    @staticmethod
    def backward(ctx, grad):
        flat = (
            torch.as_strided(grad, (grad.numel(),), (1,)).view(grad.shape)
            if grad.storage_offset() == 0 and max(grad.stride()) > 0
            else grad
        )
        return Gelu.backward(ctx, flat)


class GeluInPlace(Gelu):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        slope = Gelu.backward(ctx, torch.ones_like(grad))
        x.data.add_(1e-3)
        return grad * slope


class LeakyRelu(torch.autograd.Function):
    SLOPE = 0.1

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, 0.01 * x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, grad, 0.1 * grad)


class Linear(torch.autograd.Function):
    """The one of torch's own tutorial."""

    @staticmethod
    def forward(ctx, input, weight, bias):
        ctx.save_for_backward(input, weight, bias)
        return input.mm(weight.t()) + bias

    @staticmethod
    def backward(ctx, grad):
        x, weight, _ = ctx.saved_tensors
        return grad.mm(weight), grad.t().mm(x), grad.sum(0)


class LinearWithoutBias(Linear):
    @staticmethod
    def backward(ctx, grad):
        return (*Linear.backward(ctx, grad)[:2], None)


class Keeps(Linear):
    """Adds to what is left of the call before."""

    kept = 0

    @staticmethod
    def backward(ctx, grad):
        Keeps.kept = Keeps.kept + grad.t().mm(ctx.saved_tensors[0])
        dx, _, db = Linear.backward(ctx, grad)
        return dx, Keeps.kept[: grad.shape[1]].clone(), db


def tensors(*shapes):
    draws = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=draws) for shape in shapes]


@pytest.mark.parametrize(
    ("function", "reference", "shapes"),
    [(Gelu, functional.gelu, [(5, 7)]), (Linear, functional.linear, [(4, 5), (3, 5), (3,)])],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_right_kernels_agree(function, reference, shapes):
    report = oracle.check_function(function.apply, reference, *tensors(*shapes))
    assert report.ok, report.explain()
    described = oracle.check_function(function.apply, reference, *("x".join(map(str, shape)) for shape in shapes))
    assert described.ok, described.explain()


@pytest.mark.parametrize(
    ("function", "reference", "shapes", "said"),
    [
        (GeluOfTanh, functional.gelu, [(5, 7)], "tanh"),
        (GeluFirstTerm, functional.gelu, [(5, 7)], "product rule"),
        (GeluOfRawMemory, functional.gelu, [(5, 7)], "non-contiguous"),
        (GeluInPlace, functional.gelu, [(5, 7)], "x is changed in place"),
        (LeakyRelu, lambda x: functional.leaky_relu(x, 0.01), [(5, 7)], "slope"),
        (LinearWithoutBias, functional.linear, [(4, 5), (3, 5), (3,)], "does not give it"),
        (Keeps, functional.linear, [(4, 5), (3, 5), (3,)], "second call"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_wrong_kernels_are_found_and_named(function, reference, shapes, said):
    report = oracle.check_function(function.apply, reference, *tensors(*shapes))
    assert not report.ok
    assert said in report.diagnosis, report.explain()
