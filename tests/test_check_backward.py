"""check_backward: the forms that a pair may have, what it owes, what is refused. Each check is shown to fail."""

import numpy as np
import pytest
import torch

import oracle

rng = np.random.default_rng(11)
X, W, B = rng.standard_normal((4, 5)), rng.standard_normal((5, 3)), rng.standard_normal(3)


def forward(x, w, b):
    return x @ w + b, (x, w, b)


def backward(dout, cache):
    x, w, _ = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def reference(x, w, b):
    return x @ w + b


def check(forward=forward, backward=backward, reference=reference, inputs=(X, W, B), **options):
    return oracle.check_backward(forward, backward, reference, *inputs, **options)


def failing(*arguments, **options):
    report = check(*arguments, **options)
    assert not report.ok, report.explain()
    return set(report.failing["quantity"]), report


def cross_entropy(x, y):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return -np.log(p[np.arange(len(y)), y]).mean(), (p, y)


def of_the_sum(dout, cache):
    p, y = cache
    found = p.copy()
    found[np.arange(len(y)), y] -= 1
    return dout * found  # not divided by the number of samples


def test_far_out_where_losses_are_alike_the_right_one_is_recognised():
    report = failing(cross_entropy, of_the_sum, torch.nn.functional.cross_entropy, ("6x5", "6 labels 5"), regimes=["extremes"])[1]
    assert "The reference computes what manualbp's CrossEntropyLoss does" in report.diagnosis
    assert "'sum for mean'" in report.diagnosis


@pytest.mark.parametrize(
    "form",
    [
        lambda dx, dw, db: (dx, dw, db),
        lambda dx, dw, db: [dx, dw, db],
        lambda dx, dw, db: {"dx": dx, "dw": dw, "db": db},
        lambda dx, dw, db: {"x": dx, "w": dw, "b": db},
        lambda dx, dw, db: {"grad_x": dx, "dC/dw": dw, "d_b": db},
    ],
)
def test_gradients_come_in_every_form(form):
    report = check(backward=lambda dout, cache: form(*backward(dout, cache)))
    assert report.ok, report.explain()
    assert {"dC/dx", "dC/dw", "dC/db"} <= set(report.table["quantity"])
    assert failing(backward=lambda dout, cache: form(*(2 * each for each in backward(dout, cache))))[0] >= {
        "dC/dx",
        "dC/dw",
        "dC/db",
    }


def test_one_array_one_number_and_labels():
    def tanh_forward(x):
        return np.tanh(x), np.tanh(x)

    assert check(tanh_forward, lambda dout, a: dout * (1 - a * a), torch.tanh, [X]).ok

    def loss_forward(x, y):
        return float(-x[np.arange(4), y].sum()), (x.shape, y)

    def loss_backward(dout, cache):
        dx = np.zeros(cache[0])
        dx[np.arange(4), cache[1]] = -dout
        return dx

    labels = np.array([0, 3, 1, 1])
    loss = lambda x, y: -x[torch.arange(4), y].sum()  # noqa: E731
    assert check(loss_forward, loss_backward, loss, [X, labels]).ok
    assert check(loss_forward, lambda dout, cache: (loss_backward(dout, cache), None), loss, [X, labels]).ok
    assert check(loss_forward, loss_backward, loss, ["4x5", "4 labels 5"], regimes=["generic"]).ok


def test_several_outputs_have_several_upstream_gradients():
    def pair(x):
        return (np.sin(x), np.cos(x)), x

    def back(dout, x):
        return dout[0] * np.cos(x) - dout[1] * np.sin(x)

    assert check(pair, back, lambda x: (x.sin(), x.cos()), [X]).ok
    assert failing(pair, lambda dout, x: dout[0] * np.cos(x), lambda x: (x.sin(), x.cos()), [X])[0] >= {"dC/dx"}


@pytest.mark.parametrize("dtype", ["float32", np.float64])
def test_in_both_dtypes_and_from_descriptions(dtype):
    assert check(inputs=("4x5", "5x3", "3"), dtype=dtype).ok


def test_another_dtype_is_told():
    def widened(dout, cache):
        return tuple(each.astype(np.float64) for each in backward(dout, cache))

    inputs = [each.astype(np.float32) for each in (X, W, B)]
    quantities, report = failing(backward=widened, inputs=inputs)
    assert quantities >= {"dC/dx", "dC/dw", "dC/db"}
    assert "dtype float64" in report.failing["note"].iloc[0]


# What a pair owes.


def into_upstream(dout, cache):
    found = backward(dout, cache)
    dout *= 2
    return found


def into_input(dout, cache):
    found = backward(dout, cache)
    cache[1][0] += 1
    return found


def into_cache(dout, cache):
    found = backward(dout, (cache["x"], cache["w"], None))
    cache["mask"][:] = 0
    return found


def kept_forward(x, w, b):
    return x @ w + b, {"x": x, "w": w, "mask": np.ones(3)}


class Keeps:
    """The cache of the last call, whoever made it."""

    def __init__(self):
        self.total = 0

    def backward(self, dout, cache):
        dx, dw, db = backward(dout, cache)
        self.total = self.total + db
        return dx, dw, self.total


def fortran(dout, cache):
    """Reads the upstream gradient as it lies in memory."""
    x, w, _ = cache
    dout = dout.ravel(order="K").reshape(dout.shape)
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


@pytest.mark.parametrize(
    ("ahead", "back", "quantity"),
    [
        (forward, into_upstream, "upstream gradient unchanged"),
        (forward, into_input, "w unchanged"),
        (kept_forward, into_cache, "cache, array 2 unchanged"),
        (forward, Keeps().backward, "called twice"),
        (forward, lambda dout, cache: (*backward(dout, cache)[:2], np.ones(3)), "scaled upstream gradient"),
        (forward, lambda dout, cache: (*backward(dout, cache)[:2], dout.sum(axis=0) + 1e-300), "no upstream gradient"),
        (lambda x, w, b: (x.ravel(order="K").reshape(x.shape) @ w + b, (x, w, b)), backward, "transposed input"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_not_kept_is_a_row_that_fails(ahead, back, quantity):
    quantities, report = failing(ahead, back)
    assert quantity in quantities, report.explain()
    row = report.failing.set_index("quantity").loc[quantity]
    assert row["comparison"] == "contract"
    assert row["note"]


# Pairs that give nothing, or something else.


@pytest.mark.parametrize(
    ("ahead", "back", "said"),
    [
        (forward, lambda dout, cache: backward(dout, cache)[:2], "does not give it"),
        (forward, lambda dout, cache: None, "does not give it"),
        (forward, lambda dout, cache: (*backward(dout, cache), 1, 2), "in this order; got 5 of them"),
        (forward, lambda dout, cache: {"dy": dout}, "as keys dx or x; got dy"),
        (
            forward,
            lambda dout, cache: (backward(dout, cache)[0], W, "text"),
            "the gradient of b is an array of numbers; the candidate gives str",
        ),
        (forward, lambda dout, cache: cache.no, "AttributeError"),
        (lambda x, w, b: x @ w + b, backward, "forward returns (output, cache)"),
        (lambda x, w, b: (x @ w, (x, w, b)), backward, ""),
        (forward, lambda dout: dout, "takes 1 positional argument"),
    ],
)
def test_what_is_missing_or_of_another_form_fails_and_says_so(ahead, back, said):
    report = failing(ahead, back)[1]
    assert said in " ".join(report.failing["note"])
    assert said.partition(";")[0] in report.diagnosis


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((forward, 3, reference, X), {}, "backward takes something to call"),
        ((None, backward, reference, X), {}, "forward takes something to call"),
        ((forward, backward, "sin", X), {}, "reference takes something to call"),
        ((forward, backward, reference), {}, "takes inputs"),
        ((forward, backward, reference, X, W), {}, "the reference takes other arguments"),
        ((forward, backward, reference, X.astype(int), W.astype(int), B.astype(int)), {}, "Convert an input to float64"),
        ((forward, backward, reference, X, W[:4], B), {}, "the reference raises RuntimeError"),
        ((forward, backward, reference, X, W, B), {"dtype": "longdouble"}, "unknown dtype"),
        ((forward, backward, reference, X.astype(np.longdouble), W, B), {}, "longdouble|float128"),
    ],
)
def test_a_wrong_call_is_refused_before_any_work(arguments, options, message):
    with pytest.raises(oracle.DoorError, match=message):
        oracle.check_backward(*arguments, **options)


def test_what_an_input_is_changed_to_is_not_what_is_compared():
    """The reference is asked at the numbers that were meant, also where the candidate writes over them."""

    def forward(x):
        x *= 2
        return x * 1, None

    report = oracle.check_backward(forward, lambda dout, cache: 3 * dout, lambda x: 2 * x, "4x5", regimes=["generic"])
    assert "dC/dx is the right gradient times a constant, 1.5" in report.diagnosis
    assert "x is changed in place; work on a copy" in report.diagnosis
    assert "output" not in set(report.failing["quantity"])


def test_a_layer_that_is_an_object_keeps_the_numbers_of_one_call():
    class Sine:
        def forward(self, x):
            self.x = x
            return np.sin(x)

        def backward(self, dout):
            return dout * np.cos(self.x)

    layer, kept = Sine(), {}
    assert oracle.check_backward(lambda x: (layer.forward(x), None), lambda d, _: layer.backward(d), torch.sin, "4x5").ok

    def forward(x):
        kept["x"] = x
        return np.sin(x), (x.shape,)

    report = oracle.check_backward(forward, lambda dout, cache: dout * np.cos(kept["x"]), torch.sin, "4x5")
    assert set(report.failing["quantity"]) == {"another call in between"}


def test_a_key_that_is_no_input_s_is_not_dropped_in_silence():
    def misspelt(dout, cache):
        dx, dw, db = backward(dout, cache)
        return {"dx": dx, "dweight": dw, "db": db}

    report = failing(backward=misspelt)[1]
    assert "backward returns gradients of x, w, b, as keys dx or x; got dx, dweight, db" in report.diagnosis


def test_what_follows_from_a_change_in_place_is_told_after_it():
    def backward(dout, cache):
        dout *= 2
        return dout / 2 * np.cos(cache)

    report = oracle.check_backward(lambda x: (np.sin(x), x), backward, torch.sin, "4x5", regimes=["generic"])
    lines = report.diagnosis.splitlines()
    (cause,) = (line for line in lines if "upstream gradient is changed in place; work on a copy" in line)
    (rest,) = (line for line in lines if "Nor, which may follow from that:" in line)
    assert lines.index(cause) < lines.index(rest)
    assert "expanded upstream gradient" in rest
    assert set(report.failing["quantity"]) == {"upstream gradient unchanged", "expanded upstream gradient"}
    assert len(lines) <= 5
    assert "?." not in report.diagnosis
