"""Real data: gradient descent by hand walks torch's own way, at every one of the 200 steps."""

from dataclasses import replace

import numpy as np
import pytest

from manualbp import Linear, descend
from oracle import training
from oracle.check import rows, table
from oracle.data import DATA, data_names, load
from oracle.report import Report
from oracle.tables import TRAINING
from oracle.training import train_and_compare

QUICK = [name for name in data_names() if "digits" not in name]


@pytest.fixture(scope="module", params=[*QUICK, "data/digits/float64"])
def trained(request):
    found, curves = train_and_compare(request.param, seed=0)
    return table(found), curves


def test_every_step_agrees(trained):
    found, curves = trained
    assert set(found["verdict"]) == {"agree"}
    assert set(found["comparison"]) == {TRAINING}
    assert found["case"].nunique() == curves.steps + 1 == 201
    per_step = found.groupby("case", observed=True)["symbol"].nunique()
    assert per_step.min() == per_step.max() == 1 + 4 * DATA[curves.data].network.depth


def test_loss_falls_and_the_curves_lie_on_each_other(trained):
    _, curves = trained
    assert curves.manual_loss[-1] < 0.6 * curves.manual_loss[0]
    assert len(curves.manual_loss) == 201
    bound = {"float64": 1e-13, "float32": 1e-5}[curves.dtype]
    assert curves.max_loss_difference < bound * curves.manual_loss[0]


def test_the_network_learns(trained):
    _, curves = trained
    assert curves.score > {"digits": 0.95, "iris": 0.95, "breast_cancer": 0.95, "diabetes": 0.5}[curves.data]


@pytest.mark.parametrize("name", data_names())
def test_layers_agree_before_the_first_step(name):
    assert set(table(rows(load(name)[1]))["verdict"]) == {"agree"}


def test_features_are_scaled_and_samples_are_columns():
    for name in DATA:
        _, case = load(f"data/{name}/float64")
        assert case.x.shape[0] == case.network.layers[0].in_features
        assert case.x.shape[1] == case.target.shape[-1] > 100
        assert np.abs(case.x.mean(axis=1)).max() < 1e-12


def test_a_wrong_update_is_seen_from_its_first_step(monkeypatch):
    """One weight's gradient off by 1e-9 in the update: the parameters differ after it, and the curves notice."""

    def off(params, gradients, alpha):
        wrong = [dict(own) for own in gradients]
        wrong[0]["weight"] = wrong[0]["weight"] * (1 + 1e-9)
        return descend(params, wrong, alpha)

    monkeypatch.setattr(training, "descend", off)
    found = table(train_and_compare("data/iris/float64", 0)[0])
    failing = found[found["verdict"] != "agree"]
    assert failing["case"].iloc[0] == "data/iris/float64/step 1"
    assert "W[1]" in set(failing[failing["case"] == "data/iris/float64/step 1"]["symbol"])
    assert len(failing) > 1000


def test_a_descent_that_skips_the_update_fails(monkeypatch):
    monkeypatch.setitem(DATA, "iris", replace(DATA["iris"], steps=5))
    monkeypatch.setattr(training, "descend", lambda params, gradients, alpha: params)
    found = table(train_and_compare("data/iris/float32", 0)[0])
    assert (found["verdict"] == "differ").any()
    assert set(found[found["case"] == "data/iris/float32/step 0"]["verdict"]) == {"agree"}


@pytest.mark.parametrize(
    "wrong", [lambda grads: {"weight": grads["weight"]}, lambda grads: grads | {"weight": grads["weight"].T}]
)
def test_a_gradient_that_does_not_fit_fails_the_training_and_does_not_stop_it(monkeypatch, wrong):
    right = Linear.backward

    def backward(self, *arguments):
        grad_input, grads = right(self, *arguments)
        return grad_input, wrong(grads)

    monkeypatch.setattr(Linear, "backward", backward)
    monkeypatch.setitem(DATA, "iris", replace(DATA["iris"], steps=3))
    found, curves = train_and_compare("data/iris/float64", 0)
    report = Report(table(found), [curves])
    later = report.table[report.table["case"] == "data/iris/float64/step 2"]
    assert set(later["verdict"]) == {"missing"}
    assert later["note"].str.contains("candidate's update").all()
    assert "Does not agree" in report.to_html()
    assert "Does not agree" in report.to_markdown()


def test_nan_in_a_training_is_reported(monkeypatch):
    monkeypatch.setitem(DATA, "iris", replace(DATA["iris"], steps=3))
    spoil = lambda params, gradients, alpha: tuple({name: value * np.nan for name, value in own.items()} for own in params)  # noqa: E731
    monkeypatch.setattr(training, "descend", spoil)
    found, curves = train_and_compare("data/iris/float32", 0)
    report = Report(table(found), [curves])
    assert report.verdicts()["nonfinite"] > 0
    assert "nan" in report.to_html()
    assert '"nan"' in report.to_json()
