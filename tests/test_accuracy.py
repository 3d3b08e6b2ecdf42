"""The atlas: accuracy of every record against the referee, on a fast subset; and that the measuring can fail."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from manualbp import GELU, Hardshrink, MSELoss, PReLU, Sigmoid, Softmax, Softplus, SwiGLU, Tanh
from oracle.accuracy import Atlas, Subject, measure, measure_all, subjects
from oracle.accuracy.page import ulps
from oracle.accuracy.points import around, special, stratified, zeros_of_derivative
from oracle.accuracy.slices import HALF, sliced
from oracle.case import DTYPES
from oracle.cli import app

FUNCTIONS = list(dict.fromkeys(subject.function for subject in subjects()))


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(measured):
    """Everything that misses the criterion, in words."""
    missed = [name for name in ("value", "derivative") if not getattr(measured, f"{name}_holds")]
    found = [f"{name}: {getattr(measured, f'ours_{name}_ulp'):.3g} ulps, {measured.where.get(f'ours_{name}')}" for name in missed]
    return "; ".join([f"{measured.name} {measured.note}", *found])


# The criteria, on a few hundred inputs of each function


@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_and_derivatives_are_close_to_the_truth(function):
    found = [measure(subject, 1500, 0) for subject in subjects() if subject.function == function]
    assert [each.dtype for each in found] == list(DTYPES)
    for measured in found:
        if not measured.unmeasured:
            assert measured.holds, told(measured)


@pytest.mark.atlas
def test_the_whole_atlas_holds():
    found = Atlas(measure_all(subjects(), 100_000, 0, jobs=os.cpu_count() or 1), 100_000)
    assert found.ok, "\n".join(map(told, found.misses))
    assert not found.above


def test_every_example_is_measured_and_losses_as_sums():
    assert {"GELU(approximate='tanh')", "PReLU", "PReLU, d/dweight", "MSELoss(reduction='sum')"} <= set(FUNCTIONS)
    assert not [function for function in FUNCTIONS if "'mean'" in function or "'none'" in function]


# That it can fail


def off_by_ten(z, slope):
    """A slope that is wrong by 10 ulps at 1."""
    return np.where(z == 1.0, slope + 10 * np.spacing(slope), slope)


class OffByTen(Tanh):
    def derivative(self, z):
        return off_by_ten(z, super().derivative(z))


def test_a_planted_error_is_reported_with_where_it_is():
    measured = measure(Subject(OffByTen(), "float64"), 500, 0)
    assert not measured.holds
    assert measured.value_holds
    assert 8.5 < measured.ours_derivative_ulp < 12
    place = measured.where["ours_derivative"]
    assert place["input"] == 1.0
    assert place["truth"] == pytest.approx(1 / math.cosh(1) ** 2, rel=1e-15)
    assert place["found"] == place["ours"] != place["truth"]
    document = json.loads(Atlas([measured], 500).to_json())
    assert document["summary"]["misses"] == ["OffByTen in float64"]
    assert document["summary"]["ok"] is False


@pytest.mark.parametrize("answer", ["nan", "raise", "shape"])
def test_a_side_that_gives_no_numbers_is_infinitely_wrong(answer):
    class Broken(Tanh):
        def backward(self, params, residuals, grad_output):
            if answer == "raise":
                raise RuntimeError("no gradient today")
            return (grad_output[:0] if answer == "shape" else grad_output * np.nan), {}

    measured = measure(Subject(Broken(), "float32"), 300, 0)
    assert measured.ours_derivative_ulp == math.inf
    assert not measured.holds
    assert measured.standing == "above"
    if answer == "raise":
        assert "no gradient today" in measured.note


def test_a_wrong_row_of_a_jacobian_and_a_wrong_gradient_of_a_loss_are_seen():
    class Transposed(Softmax):
        def vjp(self, p, grad_output):
            return -super().vjp(p, grad_output)

    class Doubled(MSELoss):
        def gradient(self, saved, scale):
            return 2 * super().gradient(saved, scale)

    for record in (Transposed(), Doubled(reduction="sum")):
        measured = measure(Subject(record, "float64"), 1000, 0)
        assert not measured.derivative_holds
        assert "column" in measured.where["ours_derivative"]["input"]


def test_a_wrong_threshold_is_no_matter_of_rounding():
    class Moved(Hardshrink):
        def forward(self, params, x):
            return replace(Hardshrink(), lambd=self.lambd + 1e-5).forward(params, x)

        def backward(self, params, residuals, grad_output):
            return replace(Hardshrink(), lambd=self.lambd + 1e-5).backward(params, residuals, grad_output)

    assert measure(Subject(Hardshrink(1.2), "float32"), 2000, 0).holds
    assert not measure(Subject(Moved(1.2), "float32"), 2000, 0).holds


def test_torch_loses_the_slope_of_the_sigmoid_and_its_column_says_so():
    measured = measure(Subject(Sigmoid(), "float64"), 2000, 0)
    place = measured.where["torch_derivative"]
    assert measured.torch_derivative_ulp > 1e15
    assert place["torch"] == place["found"] == 0.0
    assert place["input"] > 36
    assert place["truth"] == pytest.approx(math.exp(-place["input"]), rel=1e-12)
    assert measured.standing == "below"


def test_near_a_zero_of_the_derivative_roundoffs_of_the_terms_count():
    measured = measure(Subject(GELU(), "float64"), 3000, 0)
    assert measured.near_zero > 100
    assert measured.ours_derivative_ulp <= measured.derivative_limit
    assert measured.ours_derivative_ulp_everywhere >= measured.ours_derivative_ulp
    gated = measure(Subject(SwiGLU(), "float64"), 10_000, 0)
    assert 0 < gated.near_zero < gated.inputs


def test_the_parameter_has_a_gradient_of_its_own():
    (subject,) = (each for each in subjects(["PReLU"], dtypes=["float32"]) if each.wrt)
    assert subject.record == PReLU()
    measured = measure(subject, 500, 0)
    assert measured.holds
    assert set(measured.where["ours_derivative"]["input"]) == {"z", "weight"}


# The inputs


@pytest.mark.parametrize("name", DTYPES)
def test_inputs_are_different_and_hold_the_special_numbers(name):
    dtype, rng = DTYPES[name], np.random.default_rng(0)
    with np.errstate(invalid="ignore"):
        found = stratified(3000, dtype, [0.7], rng)
        assert len(np.unique(found.view(f"u{dtype.itemsize}"))) == len(found) >= 3000
        held = set(found.astype(np.float64)[~np.isnan(found.astype(np.float64))].tolist())
        assert {each for each in special(dtype).astype(np.float64).tolist() if each == each} <= held
        assert set(around(0.7, dtype, 64).astype(np.float64).tolist()) <= held


def test_a_half_precision_is_tried_at_all_its_numbers():
    with np.errstate(invalid="ignore"):
        for name in ("float16", "bfloat16"):
            found = stratified(100_000, DTYPES[name], [], np.random.default_rng(0))
            assert np.array_equal(np.sort(found.view("u2")), np.arange(65536))
    assert measure(Subject(Softplus(), "bfloat16"), 65_536, 0).inputs == 65_536


def test_zeros_are_found_and_jumps_are_not():
    def truths(z):
        return z, np.where(z > 5, 1.0, np.where(z > 3, -1.0, z * (z - 2.0) ** 2 * (z + 1.5)))

    assert zeros_of_derivative(truths) == pytest.approx([-1.5, 0.0], abs=1e-12)


def test_slices_hold_the_worst_error():
    found = sliced(np.array([0.0, 0.0, 1e9, -np.inf, np.nan]), np.array([1.0, 3.0, np.inf, 2.0, 9.0]), np.ones(5, bool))
    assert found == ([0, HALF, 2 * HALF], [2.0, 3.0, math.inf])


# The command


def test_narrowed_call_writes_the_atlas(tmp_path):
    found = call(
        "accuracy", "--activation", "Sigmoid", "--loss", "MSELoss", "--inputs", 800, "--jobs", 1, "--out", tmp_path / "a"
    )
    assert found.exit_code == 0, found.output
    assert "below torch's on" in found.stdout
    assert "Where torch is most wrong" in found.stdout
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {
        "accuracy.json", "accuracy.csv", "accuracy.md", "accuracy.html", "conventions.md", "Sigmoid.svg", "MSELoss_reduction=_sum.svg"
    }  # fmt: skip
    page = (tmp_path / "a" / "accuracy.html").read_text()
    assert page.count("<svg") == 2
    assert "src=" not in page
    assert 'link rel="stylesheet"' not in page
    assert len((tmp_path / "a" / "accuracy.csv").read_text().splitlines()) == 9


def test_json_is_one_document_with_a_record_for_each_function_and_dtype(tmp_path):
    found = call("accuracy", "--activation", "GELU()", "--dtype", "float32", "--dtype", "float64", "--inputs", 600, "--jobs", 1, "--json", "--out", tmp_path)  # fmt: skip
    document = json.loads(found.stdout)
    assert document == json.loads((tmp_path / "accuracy.json").read_text())
    assert set(document) == {"summary", "functions", "versions"}
    assert [(each["function"], each["dtype"]) for each in document["functions"]] == [("GELU", "float32"), ("GELU", "float64")]
    for each in document["functions"]:
        assert each["inputs"] >= 600
        assert {"ours_value_ulp", "ours_derivative_ulp", "torch_value_ulp", "torch_derivative_ulp"} < set(each)
        assert set(each["where"]) == {"ours_value", "ours_derivative", "torch_value", "torch_derivative"}
        assert all({"input", "truth", "found"} < set(place) for place in each["where"].values())
    assert document["functions"][0]["torch_value_ulp"] == "inf"  # torch gives NaN at minus infinity
    assert document["summary"]["below"] + document["summary"]["equal"] + document["summary"]["above"] == 2
    assert "torch" in document["versions"]


def test_a_miss_exits_with_1(tmp_path, monkeypatch):
    right = Tanh.derivative
    monkeypatch.setattr(Tanh, "derivative", lambda self, z: off_by_ten(z, right(self, z)))
    found = call("accuracy", "--activation", "Tanh", "--dtype", "float64", "--inputs", 500, "--jobs", 1, "--out", tmp_path)
    assert found.exit_code == 1
    assert "Tanh in float64, derivative:" in found.stdout
    assert "at 1: truth 0.419974" in found.stdout
    assert "By hand above the criterion" in (tmp_path / "accuracy.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activation", "Sigmoit"], "Did you mean Sigmoid?"),
        (["--loss", "MSE"], "Did you mean MSELoss?"),
        (["--dtype", "float8"], "unknown dtype 'float8'"),
        (["--inputs", "0"], "--inputs"),
        (["--seed", "-1"], "--seed"),
        (["--out", ""], "takes the name of a folder"),
        (["--out", "/dev/null/x"], "takes a folder that can be written"),
    ],
)
def test_a_wrong_call_is_refused_and_nothing_is_written(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("oracle.accuracy.measure_all", lambda *a, **k: pytest.fail("work began"))
    found = call("accuracy", *arguments)
    assert found.exit_code == 2, found.output
    assert message in found.stderr
    assert found.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_processes_give_the_same_figures_as_one():
    wanted = subjects(["Tanh", "Softmax"], ["HuberLoss"], ["float32"])
    alone = measure_all(wanted, 300, 3, jobs=1)
    assert measure_all(wanted, 300, 3, jobs=2) == alone
    assert measure_all(wanted, 300, 4, jobs=1) != alone


def test_interrupted_leaves_no_half_written_atlas(tmp_path):
    out = tmp_path / "r"
    process = subprocess.Popen(
        [sys.executable, "-m", "oracle", "accuracy", "--out", out], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    while not out.exists():
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "interrupted; no atlas was written" in stderr
    assert "Traceback" not in stderr
    assert list(out.iterdir()) == []
    assert stdout == ""


@pytest.mark.parametrize(
    ("error", "shown"),
    [(0.0, "0"), (0.5, "0.5"), (7.26, "7.3"), (250.0, "250"), (9.006e15, "9.0e+15"), (math.inf, "∞"), (math.nan, "not measured")],
)
def test_an_error_is_short_and_says_what_it_is(error, shown):
    assert ulps(error) == shown
