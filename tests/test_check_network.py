"""The door for a network's gradient: every form it may come in, every way in which it may be wrong, and what is refused."""

import contextlib
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import manualbp as mb
from oracle.diagnosis.evidence import named_slots
from oracle.doors.drawing import setup
from oracle.doors.errors import DoorError
from oracle.doors.forms import BIASES, LAYOUTS, Form, Place
from oracle.doors.network import check_network
from oracle.doors.reading import Reader
from oracle.manual_run import manual_run
from oracle.mistakes import planted
from support import ACTIVATIONS, LOSSES, for_rows, link

sys.path.insert(0, str(Path(__file__).parent / "foreign"))
from named import lines, names, wrong  # shared with the tests beside it

NETWORK = mb.Network.dense((4, 5, 3), mb.Tanh(), mb.Identity(), mb.CrossEntropyLoss())
SQUARE = mb.Network.dense((4, 4, 4, 4), mb.Sigmoid(), mb.Sigmoid(), mb.HalfSquaredError())


def softmax(z):
    e = np.exp(z - z.max(axis=0))
    return e / e.sum(axis=0)


def course(params, x, y):
    """Columns are samples; W1, b1, W2, b2 as a course writes them."""
    W1, b1, W2, b2 = params["W1"], params["b1"], params["W2"], params["b2"]
    a1 = np.tanh(W1 @ x + b1[:, None])
    p = softmax(W2 @ a1 + b2[:, None])
    m = x.shape[1]
    right = np.arange(m)
    dz2 = p.copy()
    dz2[y, right] -= 1
    dz2 /= m
    dz1 = (W2.T @ dz2) * (1 - a1**2)
    found = {"dW1": dz1 @ x.T, "db1": dz1.sum(axis=1), "dW2": dz2 @ a1.T, "db2": dz2.sum(axis=1)}
    return found | {"loss": -np.log(p[y, right]).mean(), "dx": W1.T @ dz1, "a1": a1, "dz2": dz2, "cache": (x, a1)}


def gradients(params, x, y):
    found = course(params, x, y)
    return [found[name] for name in ("dW1", "db1", "dW2", "db2")]


FORMS = {
    "symbols": lambda W1, b1, W2, b2: {"W1": W1, "b1": b1, "W2": W2, "b2": b2},
    "notes": lambda W1, b1, W2, b2: {"dC/dW[1]": W1, "dC/db[1]": b1, "dC/dW[2]": W2, "dC/db[2]": b2},
    "torch's names": lambda W1, b1, W2, b2: {"0.weight": W1, "0.bias": b1, "2.weight": W2, "2.bias": b2},
    "lists by name": lambda W1, b1, W2, b2: {"dW": [W1, W2], "db": [b1, b2]},
    "dictionaries": lambda W1, b1, W2, b2: [{"weight": W1, "bias": b1}, {"weight": W2, "bias": b2}],
    "one for every layer": lambda W1, b1, W2, b2: [{"W": W1, "b": b1}, {}, {"W": W2, "b": b2}, {}],
    "by layer": lambda W1, b1, W2, b2: {"layer1": {"w": W1, "b": b1}, "layer2": {"w": W2, "b": b2}},
    "inside": lambda W1, b1, W2, b2: {"grads": {"W1": W1, "b1": b1, "W2": W2, "b2": b2}},
    "pairs": lambda W1, b1, W2, b2: [(W1, b1), (W2, b2)],
    "pairs, bias first": lambda W1, b1, W2, b2: [(b1, W1), (b2, W2)],
    "lists": lambda W1, b1, W2, b2: ([W1, W2], [b1, b2]),
    "Nielsen's": lambda W1, b1, W2, b2: ([b1, b2], [W1, W2]),
    "flat": lambda W1, b1, W2, b2: [W1, b1, W2, b2],
    "numbers": lambda W1, b1, W2, b2: [[W1.tolist(), b1.tolist()], [W2.tolist(), b2.tolist()]],
    "loss first": lambda W1, b1, W2, b2: (0.5, {"W1": W1, "b1": b1, "W2": W2, "b2": b2}),
    "tensors": lambda W1, b1, W2, b2: tuple(map(torch.tensor, (W1, b1, W2, b2))),
}


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_read_in_every_form(form):
    def candidate(params, x, y):
        return FORMS[form](*gradients(params, x, y))

    def spoilt(params, x, y):
        W1, b1, W2, b2 = gradients(params, x, y)
        return FORMS[form](W1, 2 * b1, W2, b2)

    report = check_network(candidate, NETWORK, degenerate=False)
    fails = {"C"} if form == "loss first" else set()  # which is no loss of these numbers
    assert wrong(report) == fails, lines(report)
    assert wrong(check_network(spoilt, NETWORK, degenerate=False)) == {"dC/db[1]", *fails}


@pytest.mark.parametrize("bias", ["flat", "column", "row"])
@pytest.mark.parametrize("layout", ["columns", "rows"])
@pytest.mark.parametrize("transposed", [False, True])
def test_every_layout(layout, transposed, bias):
    def candidate(params, x, y):
        shape = {"flat": (-1,), "column": (-1, 1), "row": (1, -1)}[bias]
        assert params["b1"].shape == np.zeros(5).reshape(shape).shape
        assert params["W1"].shape == ((4, 5) if transposed else (5, 4))
        turned = {name: own.T if transposed and name[0] == "W" else own for name, own in params.items()}
        own = {name: array.reshape(-1) if name[0] == "b" else array for name, array in turned.items()}
        found = course(own, x.T if layout == "rows" else x, y)
        for name in ("dW1", "dW2"):
            found[name] = found[name].T if transposed else found[name]
        for name in ("db1", "db2"):
            found[name] = found[name].reshape(shape)
        for name in ("dx", "a1", "dz2"):
            found[name] = found[name].T if layout == "rows" else found[name]
        return found

    report = check_network(candidate, NETWORK, layout=layout, transposed=transposed, bias=bias, degenerate=False)
    assert report.ok, lines(report)
    assert {"dC/dx", "a[1]", "delta[2]", "C"} <= set(report.table["symbol"])


def test_what_is_not_claimed_is_not_asked_for():
    report = check_network(gradients, NETWORK)
    assert report.ok
    compared = report.table[report.table["comparison"] == "end to end"]
    assert set(compared["symbol"]) == {"dC/dW[1]", "dC/db[1]", "dC/dW[2]", "dC/db[2]"}
    assert set(report.table["case"]) == {"network/4-5-3x7", "network/4-5-3x1", "network/4-1-3x7"}


def test_numbers_that_are_given_are_used_and_given_back_in_their_form():
    rng = np.random.default_rng(0)
    params = [(rng.normal(size=(5, 4)), rng.normal(size=5)), (rng.normal(size=(3, 5)), rng.normal(size=3))]
    x, y = rng.normal(size=(4, 6)), rng.integers(0, 3, 6)

    def candidate(given, *data):
        assert [tuple(map(np.shape, pair)) for pair in given] == [((5, 4), (5,)), ((3, 5), (3,))]
        assert given is not params
        assert np.array_equal(data[0], x)
        (W1, b1), (W2, b2) = given
        return gradients({"W1": W1, "b1": b1, "W2": W2, "b2": b2}, *data)

    report = check_network(candidate, NETWORK, params=params, x=x, y=y)
    assert report.ok, lines(report)
    assert list(report.cases) == ["network/4-5-3x6"]


def test_a_chain_of_torch_with_its_own_parameters():
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(5, 3)))

    def candidate(params, x, y):
        assert np.array_equal(params["W1"], model[0].weight.detach().numpy())
        return gradients(params, x.T, y)

    report = check_network(candidate, model, loss=torch.nn.CrossEntropyLoss())
    assert report.ok, lines(report)
    assert set(report.table["dtype"]) >= {"float32"}


def in_course(**changes):
    """The course's code with some of its results replaced."""

    def candidate(params, x, y):
        found = course(params, x, y)
        return {name: found[name] for name in ("dW1", "db1", "dW2", "db2")} | {
            name: change(found, params, x) for name, change in changes.items()
        }

    return candidate


@pytest.mark.parametrize(
    ("changes", "where", "expected"),
    [
        ({"dW2": lambda f, p, x: f["dz2"] @ (f["a1"] ** 2).T}, {"dC/dW[2]"}, None),
        ({"db2": lambda f, p, x: f["dz2"].mean(axis=1)}, {"dC/db[2]"}, "db averaged"),
        ({"db2": lambda f, p, x: f["dz2"][:, -1]}, {"dC/db[2]"}, "last column for db"),
        ({"dW2": lambda f, p, x: -f["dW2"]}, {"dC/dW[2]"}, "dW without the sign"),
        ({"dW1": lambda f, p, x: f["dW1"] * x.shape[1]}, {"dC/dW[1]"}, "dW and db times m"),
        ({"dW1": lambda f, p, x: f["dW1"].T}, {"dC/dW[1]"}, "the right gradient, transposed"),
        ({"db1": lambda f, p, x: 0 * f["db1"]}, {"dC/db[1]"}, "db zero"),
        ({"dW1": lambda f, p, x: None}, {"dC/dW[1]"}, "not given"),
        ({"dW1": lambda f, p, x: f["dW1"].astype(np.float16).astype(float)}, {"dC/dW[1]"}, "rounded to float16"),
    ],
)
def test_a_wrong_parameter_gradient_is_placed_and_named(changes, where, expected):
    report = check_network(in_course(**changes), NETWORK, degenerate=False)
    assert wrong(report) == where
    assert expected is None or any(expected in name for name in names(report)), (names(report), lines(report))
    assert next(iter(where)).removeprefix("dC/d")[2] in report.diagnoses[0].location


def textbook(params, x, y, *, wrong=""):
    """Three sigmoid layers of one width and the notes' cost; mistakes that a square W lets pass."""
    a, values = x, [x]
    for layer in (1, 2, 3):
        a = 1 / (1 + np.exp(-(params[f"W{layer}"] @ a + params[f"b{layer}"][:, None])))
        values.append(a)
    found, delta = {}, None
    for layer in (3, 2, 1):
        slope = values[layer] * (1 - values[layer])
        if layer == 3:
            delta = (values[3] - y) * (1 if wrong == "output derivative" else slope)
        else:
            W = params[f"W{layer + 1}"] if wrong != "own W" else params[f"W{layer}"]
            back = W if wrong == "not transposed" else W.T
            delta = back @ (delta * slope) if wrong == "g' before W" else (back @ delta) * slope
        found[f"dW{layer}"] = delta @ (values[layer] if wrong == "own a" else values[layer - 1]).T
        found[f"db{layer}"] = delta.sum(axis=1)
    if wrong == "decay":
        return {name: own + 0.02 * params[name[1:]] if "W" in name else own for name, own in found.items()}
    if wrong == "reversed":
        return {f"{name[:2]}{4 - int(name[2])}": own for name, own in found.items()}
    return found


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        ("", None),
        ("not transposed", "W not transposed"),
        ("own W", "W of another layer"),
        ("own a", "a[l] for a[l-1] in dW"),
        ("g' before W", "derivative before W^T"),
        ("output derivative", "derivative forgotten"),
        ("decay", "weight decay added"),
        ("reversed", "layers in reverse order"),
    ],
)
def test_the_recursion_of_a_square_network(mistake, expected):
    report = check_network(partial(textbook, wrong=mistake), SQUARE, degenerate=False)
    if not mistake:
        assert report.ok, lines(report)
        return
    assert not report.ok
    assert expected in names(report), (names(report), lines(report))


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (mb.Network.dense((4, 5, 3), mb.Sigmoid(), mb.Identity(), mb.CrossEntropyLoss()), "Tanh in place of Sigmoid"),
        (mb.Network.dense((4, 5, 3), mb.Tanh(), mb.Identity(), mb.CrossEntropyLoss(label_smoothing=0.1)), "CrossEntropyLoss in place of CrossEntropyLoss(label_smoothing=0.1)"),
    ],
)  # fmt: skip
def test_a_candidate_that_is_right_for_another_network_is_told_which(network, expected):
    report = check_network(lambda params, x, y: course(params, x, y) | {"a1": None}, network)
    assert not report.ok
    assert expected in names(report), lines(report)


def test_a_fault_of_one_sample_or_one_node_alone_is_found():
    def squeezed(params, x, y):
        found = course(params, x, y)
        return found | {"db1": found["db1"] * (1 if x.shape[1] > 1 else 0.5)}

    def wide_only(params, x, y):
        found = course(params, x, y)
        return found | {"dW2": found["dW2"] * (1 if len(params["b1"]) > 1 else -1)}

    for candidate, case in ((squeezed, "network/4-5-3x1"), (wide_only, "network/4-1-3x7")):
        report = check_network(candidate, NETWORK)
        assert set(report.failing["case"]) == {case}
        assert check_network(candidate, NETWORK, degenerate=False).ok


class Accumulating:
    """Adds to the gradients of the call before."""

    def __init__(self):
        self.held = {}

    def __call__(self, params, x, y):
        for name, array in course(params, x, y).items():
            if name.startswith("d") and name != "dx":
                before = self.held.get((x.shape, name), 0)
                self.held[x.shape, name] = before + array
        return {name: array for (shape, name), array in self.held.items() if shape == x.shape}


def steps(params, x, y):
    found = course(params, x, y)
    params["W1"] -= 0.1 * found["dW1"]
    return found


def taken(params, x, y):
    found = course(params, x, y)
    del params["b2"]
    return found


def normalised(params, x, y):
    x -= x.mean()
    return course(params, x + 0, y) | {"dW1": None}


def noisy(params, x, y):
    return course(params, x * np.random.default_rng().uniform(0.9, 1.1), y)


def by_memory(params, x, y):
    return course(params, np.ravel(x, order="K").reshape(x.shape), y)


def unsettled(params, x, y):
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    return course(params, x, y)


@pytest.mark.parametrize(
    ("candidate", "duty", "said"),
    [
        (Accumulating(), "called twice", "still there"),
        (steps, "params unchanged", "work on a copy"),
        (taken, "params unchanged", "work on a copy"),
        (normalised, "x unchanged", "work on a copy"),
        (noisy, "called twice", "random"),
        (by_memory, "another order of memory", "lie in memory"),
        (unsettled, "settings unchanged", "default dtype"),
    ],
)
def test_the_contract(candidate, duty, said):
    report = check_network(candidate, NETWORK, degenerate=False)
    assert duty in wrong(report)
    assert said in report.failing[report.failing["symbol"] == duty]["note"].iloc[0]
    assert said in lines(report)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def raising(params, x, y):
    raise ZeroDivisionError("by hand")


def endless(params, x, y):
    while True:
        time.sleep(0.01)


def talking(params, x, y):
    sys.stdout.write("loss 0.25\n")
    return course(params, x, y) | {"db2": 0 * params["b2"]}


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (raising, "ZeroDivisionError: by hand"),
        (endless, "did not end within 0.3 seconds"),
        (lambda params, x, y: None, "returned NoneType and no gradient in it"),
        (lambda params, x, y: {"dw_first": 1}, "no gradient in it"),
        (lambda params, x, y: sys.exit(3), "SystemExit"),
        (lambda params, x, y: {name: np.round(array).astype(int) for name, array in course(params, x, y).items() if name[0] == "d"}, "dtype int64"),
        (lambda params, x, y: {name: array.astype("f4") for name, array in course(params, x, y).items() if name[0] == "d"}, "dtype float32"),
        (lambda params, x, y: gradients(params, x, y)[:3], "does not give it"),
        (lambda params, x, y: course(params, x, y) | {"dW1": np.full((5, 4), np.nan)}, "not finite"),
    ],
)  # fmt: skip
def test_a_candidate_that_fails_is_a_failing_row_that_says_why(candidate, said):
    report = check_network(candidate, NETWORK, timeout=0.3, degenerate=False)
    assert not report.ok
    assert said in lines(report) or report.failing["note"].str.contains(said, regex=False).any(), lines(report)


def test_what_is_printed_is_told_in_every_form():
    report = check_network(talking, NETWORK, degenerate=False)
    for text in (report.explain(), report.to_markdown(), report.to_html(), report.to_json()):
        assert "it printed: loss 0.25" in text
    assert "it printed" not in check_network(course, NETWORK, degenerate=False).explain()


def straight_through(params, x, y):
    """The derivative of ReLU is forgotten."""
    W1, b1, W2, b2 = (params[name] for name in ("W1", "b1", "W2", "b2"))
    a1 = np.maximum(W1 @ x + b1[:, None], 0)
    dz2 = 2 * (W2 @ a1 + b2[:, None] - y) / y.size
    da1 = W2.T @ dz2
    return {"W1": da1 @ x.T, "b1": da1.sum(axis=1), "W2": dz2 @ a1.T, "b2": dz2.sum(axis=1)}


def test_wrong_numbers_that_round_otherwise_are_no_matter_of_memory():
    """Where no node is active the right gradient is exactly 0, and so is its rounding; that of a wrong one is not."""
    network = mb.Network.dense((4, 5, 3), mb.ReLU(), mb.Identity(), mb.MSELoss())
    reports = [check_network(straight_through, network, seed=seed) for seed in range(12)]
    failing = {quantity for report in reports for quantity in report.failing["quantity"]}
    assert failing == {"dC/dW", "dC/db"}


def columns(params, x, y):
    """The course's, with biases (n, 1)."""
    found = course(params | {name: params[name][:, 0] for name in ("b1", "b2") if params[name].ndim > 1}, x, y)
    if params["b1"].ndim == 1:
        raise ValueError("b1 has one axis")
    return {name: found[name][:, None] if name in ("db1", "db2") else found[name] for name in ("dW1", "db1", "dW2", "db2")}


def test_pythons_own_numbers_have_no_dtype():
    def lists(params, x, y):
        return {name: array.tolist() for name, array in course(params, x, y).items() if name[0] == "d"}

    assert check_network(lists, NETWORK, dtype="float32").ok
    wide = check_network(lambda *given: {n: np.array(a) for n, a in lists(*given).items()}, NETWORK, dtype="float32")
    assert "the right numbers in another dtype" in wide.diagnosis
    assert "explanations" not in wide.diagnosis


def test_a_gradient_that_is_kept_from_the_first_call_shows_at_other_numbers():
    kept = {}

    def candidate(params, x, y):
        return kept.setdefault(x.shape, course(params, x, y))

    report = check_network(candidate, NETWORK, degenerate=False)
    assert set(report.failing["quantity"]) == {"other numbers"}
    assert "kept from the first call" in report.diagnosis


def test_what_is_put_into_params_is_told():
    def candidate(params, x, y):
        found = course(params, x, y)
        params["cache"] = 1
        return found

    report = check_network(candidate, NETWORK, degenerate=False)
    assert "The candidate puts cache into params" in report.diagnosis


def test_tensors_come_back_as_tensors():
    numbers = {"params": {"W1": torch.randn(5, 4), "b1": torch.randn(5), "W2": torch.randn(3, 5), "b2": torch.randn(3)}}
    numbers |= {"x": torch.randn(4, 6), "y": torch.tensor([0, 1, 2, 0, 1, 2])}

    def candidate(params, x, y):
        values = {name: value.clone().requires_grad_() for name, value in params.items()}
        hidden = torch.tanh(values["W1"] @ x + values["b1"][:, None])
        torch.nn.functional.cross_entropy((values["W2"] @ hidden + values["b2"][:, None]).T, y).backward()
        return {name: value.grad for name, value in values.items()}

    assert check_network(candidate, NETWORK, **numbers).ok


class MuteError(Exception):
    def __str__(self):
        raise ValueError


def itself(params, x, y):
    found = []
    found.append(found)
    return found


def mute(params, x, y):
    raise MuteError


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (itself, "something that cannot be read: RecursionError"),
        (mute, "raised MuteError: its text raises another"),
        (lambda params, x, y: {"W1": torch.ones(5, 4).to_sparse()}, "something that cannot be read: RuntimeError"),
        (lambda params, x, y: {"W1": torch.ones(5, 4, device="meta")}, "something that cannot be read"),
    ],
)
def test_whatever_comes_back_is_no_error_of_ours(candidate, said):
    assert said in check_network(candidate, NETWORK, degenerate=False).diagnosis


def test_a_small_error_is_not_called_a_mistake_that_changes_nothing():
    def candidate(params, x, y):
        found = course(params, x, y)
        found["dW2"][0] *= np.float32(1 + 5e-6)
        return found

    for seed in range(6):
        report = check_network(candidate, NETWORK, dtype="float32", degenerate=False, seed=seed)
        assert not any(name.startswith(("dW clipped", "all gradients", "db summed")) for name in names(report)), names(report)


def test_a_form_in_which_it_fits_is_told_once():
    report = check_network(columns, NETWORK)
    assert len(report.diagnoses) == 1
    assert "It fits with bias='column'" in report.diagnosis
    assert check_network(columns, NETWORK, bias="column").ok
    rows = check_network(lambda params, x, y: course(params, x.T, y), NETWORK)
    assert "It fits with layout='rows'" in rows.diagnosis
    assert "It fits" not in check_network(raising, NETWORK).diagnosis


def test_an_array_under_a_name_that_is_not_known_is_told():
    def misspelt(params, x, y):
        found = course(params, x, y)
        return {"dW1": found["dW1"], "db1": found["db1"], "dWeight_last": found["dW2"], "db2": found["db2"]}

    assert "Not read, since no parameter has such a name: dWeight_last." in check_network(misspelt, NETWORK).diagnosis


def test_another_thread_can_be_interrupted_too():
    from threading import Thread

    found = []
    thread = Thread(target=lambda: found.append(check_network(endless, NETWORK, timeout=0.3, degenerate=False)))
    thread.start()
    thread.join(20)
    assert "did not end" in lines(found[0])


CHAIN = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU())
X, Y = np.ones((4, 6)), np.zeros(6, int)


@pytest.mark.parametrize(
    ("network", "options", "said"),
    [
        (mb.Tanh(), {}, "takes a manualbp.Network"),
        (CHAIN, {}, "takes a loss beside it"),
        (torch.nn.Sequential(torch.nn.Conv1d(1, 1, 1)), {"loss": torch.nn.MSELoss()}, "oracle.check_module"),
        (CHAIN, {"loss": torch.nn.Tanh()}, "takes a chain of"),
        (NETWORK, {"loss": mb.MSELoss()}, "holds its loss"),
        (mb.Network.dense((4, 3), mb.Tanh(), mb.Identity(), mb.MSELoss("none")), {}, "a loss that is one number"),
        (NETWORK, {"y": Y}, "pass x with y"),
        (NETWORK, {"x": X.T, "y": Y}, "Transpose the input"),
        (NETWORK, {"x": X, "y": Y + 3}, "class indices from 0 to 2"),
        (NETWORK, {"x": "one", "y": Y}, "takes an array of numbers"),
        (NETWORK, {"x": X.astype(int), "y": Y}, "one of float64"),
        (NETWORK, {"x": X, "dtype": "float32"}, "take one dtype"),
        (NETWORK, {"params": {"W1": np.ones((5, 4))}}, "takes b[1] of shape (5,); got nothing there"),
        (NETWORK, {"params": [np.ones((4, 5)), np.ones(5), np.ones((5, 3)), np.ones(3)]}, "transposed=True"),
        (NETWORK, {"layout": "row"}, "layout takes 'columns' or 'rows'"),
        (NETWORK, {"bias": "col"}, "bias takes"),
        (NETWORK, {"l2": "much"}, "l2 takes a number"),
        (NETWORK, {"l2": lambda: 0.1}, "it raises TypeError"),
        (NETWORK, {"transposed": "no"}, "transposed takes True or False; got 'no'"),
        (NETWORK, {"dtype": "f32"}, "unknown dtype 'f32'. Did you mean float32?"),
        (torch.nn.Sequential(torch.nn.Linear(4, 3)), {"loss": "MSELoss"}, "loss takes a loss of torch.nn or of manualbp"),
        (NETWORK, {"timeout": 0}, "timeout takes seconds"),
        (mb.Network((mb.Tanh(),), mb.MSELoss()), {}, "pass x"),
    ],
)  # fmt: skip
def test_a_call_that_is_wrong_is_refused_before_any_work(network, options, said):
    def candidate(*_):
        pytest.fail("called")

    with pytest.raises(DoorError, match=r".") as raised:
        check_network(candidate, network, **options)
    assert said in str(raised.value)


def test_a_candidate_is_a_function_and_returns_no_more_than_there_is():
    with pytest.raises(DoorError, match="takes a function"):
        check_network(5, NETWORK)
    report = check_network(lambda p, x, y: [*gradients(p, x, y), np.zeros(3)], NETWORK)
    assert "got 5 arrays" in report.diagnosis


def test_another_convention_at_a_kink_is_one():
    def candidate(params, x, y):
        (W1, b1), (W2, b2) = params
        z = W1 @ x + b1[:, None]
        delta = 2 * (W2 @ np.maximum(z, 0) + b2[:, None] - y) / y.size
        back = (W2.T @ delta) * (z >= 0)  # torch takes 0 at 0
        return [(back @ x.T, back.sum(axis=1)), (delta @ np.maximum(z, 0).T, delta.sum(axis=1))]

    rng = np.random.default_rng(0)
    given = {"params": [(np.zeros((5, 4)), np.zeros(5)), (rng.normal(size=(2, 5)), np.zeros(2))]}
    data = {"x": rng.normal(size=(4, 6)), "y": rng.normal(size=(2, 6))}
    report = check_network(candidate, mb.Network.dense((4, 5, 2), mb.ReLU(), mb.Identity(), mb.MSELoss()), **given, **data)
    assert report.ok, lines(report)
    assert set(report.table["symbol"][report.table["verdict"] == "kink"]) == {"dC/dW[1]", "dC/db[1]"}


def test_the_same_seed_gives_the_same_table():
    first, second = (check_network(gradients, NETWORK, seed=seed).table for seed in (1, 1))
    assert first.equals(second)
    assert not first.equals(check_network(gradients, NETWORK, seed=2).table)


class ByHand:
    """manualbp's own backpropagation behind the door, with every quantity that there is, in somebody's layout."""

    def __init__(self, network, **form):
        self.form = Form(network, **form)

    def __call__(self, params, x, y):
        form = self.form
        trace = mb.backpropagate(form.network, Reader(form).parameters(params), form.data_in(x), form.data_in(y))
        found = {}
        for slot, quantity in named_slots(form.network).items():
            array = slot.of(trace)
            if slot.what == "parameter":
                array = form.parameter_out(Place(slot.at, slot.name), array)
            found[quantity.symbol] = form.data_out(array) if slot.what != "parameter" and np.ndim(array) else array
        return found


EVERY = [*((record, mb.CrossEntropyLoss()) for record in ACTIVATIONS), *((mb.Tanh(), loss) for loss in LOSSES if loss.reduction == "mean")]  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_every_activation_and_loss_goes_through_the_door(part):
    for number, (hidden, loss) in list(enumerate(EVERY))[part::4]:
        hidden, loss = for_rows(hidden, 5), for_rows(loss, 3)
        network = mb.Network.dense((4, 5, 3 * len(loss.inputs)), hidden, link(loss), loss)
        form = {"layout": LAYOUTS[number % 2], "transposed": part > 1, "bias": list(BIASES)[number % 3]}
        report = check_network(ByHand(network, **form), network, dtype=("float64", "float32")[part % 2], degenerate=False, **form)
        assert report.ok, (hidden, loss, lines(report))


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(width=32)
    | st.text(max_size=3)
    | st.sampled_from(
        [np.zeros(()), np.ones(3), np.ones((5, 4)), np.array(["a"]), np.ones(2, complex), torch.ones(5), object, {1}]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["W1", "dW1", "b1", "dW", "db", "loss", "grads", "a1", "dx", "", 3]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=30)
@given(JUNK)
def test_whatever_is_returned_is_judged_or_refused(junk):
    with contextlib.suppress(DoorError):  # more arrays than there are parameters
        report = check_network(lambda params, x, y: junk, NETWORK, degenerate=False)
        assert not report.ok
        assert lines(report)


@pytest.mark.parametrize(
    "network",
    [
        mb.Network.dense((4, 5, 5, 3), mb.Tanh(), mb.Identity(), mb.CrossEntropyLoss()),
        mb.Network.dense((4, 6, 2), mb.GELU(), mb.Sigmoid(), mb.HalfSquaredError()),
    ],
    ids=["cross entropy", "half squared"],
)
def test_mistakes_of_the_catalogue_are_named_from_the_gradients_of_parameters_alone(network):
    (case, *_) = setup(network, None, None, None, None, "", False, "flat", "", 0, "network").cases(degenerate=False)
    honest, slots = manual_run(case), named_slots(network)

    def parameters(trace):
        return {quantity.symbol: slot.of(trace) for slot, quantity in slots.items() if slot.what == "parameter"}

    right, tried = parameters(honest), 0
    for mistake, position in list(planted(case))[::4]:
        found = parameters(mistake.run(case, position, honest))
        if all(np.array_equal(found[symbol], right[symbol], equal_nan=True) for symbol in right):
            continue  # it shows elsewhere
        report = check_network(lambda *_, found=found: found, network, degenerate=False)
        assert not report.ok, mistake
        assert mistake.name in names(report), (mistake.name, lines(report))
        tried += 1
    assert tried > 15
