"""Two ports in other languages, as their authors would write them: right they agree, and a mistake in them is placed and named."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from oracle.vectors.check import judge
from oracle.vectors.files import read_answers, read_cases
from oracle.vectors.selection import STANDARD

PORTS = Path(__file__).parent / "ports"
DEEP = "2-5-4-3x6"


@cache
def cases():
    return read_cases(STANDARD)


def javascript(tmp_path, mistake=""):
    if shutil.which("node") is None:
        pytest.skip("there is no node to run the port in JavaScript")
    return ["node", str(PORTS / "port.js"), *(["--mistake", mistake] if mistake else [])]


def c(tmp_path, mistake=0):
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to build the port in C")
    built = tmp_path / "port"
    source = str(PORTS / "port.c")
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", f"-DMISTAKE={mistake}", "-o", str(built), source, "-lm"], check=True
    )
    return [str(built)]


def judged(command, tmp_path, pattern="*.json"):
    folder = tmp_path / "answers"
    folder.mkdir()
    subprocess.run([*command, str(folder), *map(str, sorted(STANDARD.glob(pattern)))], check=True)
    answers = read_answers(folder, cases())
    return answers, judge(cases(), answers)


@pytest.mark.parametrize(("port", "answered"), [(javascript, 24), (c, 17)])
def test_the_right_port_agrees_on_every_case_it_answers(port, answered, tmp_path):
    answers, found = judged(port(tmp_path), tmp_path)
    assert len(answers) == answered
    records = {part for name in answers for part in name.split("/")}
    assert {"Sigmoid", "Tanh", "ReLU", "GELU", "CrossEntropyLoss", "MSELoss", "float64", "float32"} <= records
    assert {row.verdict for row in found.rows} == {"agree"}
    assert any(row.sigmas > 0 for row in found.rows)  # another library's exp and tanh: not equal, and within rounding
    assert found.unanswered == len(cases()) - answered


def check_named(found, names, position, layers):
    assert found.diagnoses
    for advice in found.diagnoses:
        assert advice.inferred
        assert any(match["name"] in names for match in advice.matches), advice
        assert all(match["position"] == position for match in advice.matches if match["name"] == names[0]), advice
        assert any(layer in advice.location for layer in layers), advice.location


@pytest.mark.parametrize(
    ("mistake", "loss", "names", "position", "layers"),
    [
        # the case has one hidden layer: 0 Linear, 1 activation, 2 Linear, 3 Identity, 4 loss
        ("derivative-at-a", "Tanh-Identity-MSELoss", ["derivative at a for z"], 1, ["Layer 1, Tanh"]),
        ("no-derivative", "Sigmoid-Identity-MSELoss", ["derivative forgotten"], 1, ["Layer 1, Sigmoid"]),
        ("other-gelu", "GELU-Identity-MSELoss", ["the other GELU's derivative"], 1, ["Layer 1, GELU"]),
        ("z-for-a", "Tanh-Identity-MSELoss", ["z[l-1] for a[l-1] in dW"], 2, ["Layer 2, Linear"]),
        ("sum", "ReLU-Identity-MSELoss", ["sum for mean"], 4, ["The loss, MSELoss"]),
    ],
)
def test_a_mistake_in_javascript_is_placed_and_named(mistake, loss, names, position, layers, tmp_path):
    _, found = judged(javascript(tmp_path, mistake), tmp_path, f"2-4-3x5-*-{loss}-*.json")
    check_named(found, names, position, layers)


@pytest.mark.parametrize(
    ("mistake", "name", "positions"), [("db-averaged", "db averaged", {0, 2, 4}), ("no-one-hot", "one-hot not subtracted", {6})]
)
def test_a_mistake_in_javascript_is_named_in_every_layer_that_has_it(mistake, name, positions, tmp_path):
    _, found = judged(javascript(tmp_path, mistake), tmp_path, f"{DEEP}-*-CrossEntropyLoss-*.json")
    assert len(found.diagnoses) == 4
    for advice in found.diagnoses:
        assert {match["position"] for match in advice.matches if match["name"] == name} == positions


@pytest.mark.parametrize(
    ("mistake", "loss", "name", "layers"),
    [
        (1, "Tanh-Identity-CrossEntropyLoss", "updates on the way back", ["layer 3, Linear", "layer 2, Linear"]),
        (2, "Sigmoid-Identity-MSELoss", "factor 2 forgotten", ["the loss, MSELoss"]),
        (3, "ReLU-Identity-MSELoss", "first column for db", ["Layer 3, Linear"]),
        (4, "GELU-Identity-CrossEntropyLoss", "dW without the sign", ["Layer 3, Linear"]),
        (5, "Tanh-Identity-MSELoss", "loop stops one too early", ["layer 1, Linear"]),
        (6, "Sigmoid-Identity-CrossEntropyLoss", "logits for probabilities", ["the loss, CrossEntropyLoss"]),
    ],
)
def test_a_mistake_in_c_is_placed_and_named(mistake, loss, name, layers, tmp_path):
    """The port gives weights and biases alone: what lies between two of them is one place."""
    _, found = judged(c(tmp_path, mistake), tmp_path, f"{DEEP}-*-{loss}-*.json")
    assert found.diagnoses
    for advice in found.diagnoses:
        assert name in {match["name"] for match in advice.matches}
        assert all(layer in advice.location for layer in layers), advice.location


def test_a_mistake_that_is_not_in_the_catalogue_is_placed_and_not_named(tmp_path):
    _, found = judged(c(tmp_path, 7), tmp_path, f"{DEEP}-*-GELU-Identity-MSELoss-*.json")
    (advice,) = found.diagnoses
    assert "Layer 3, Linear" in advice.location
    assert not advice.matches
    assert any("No mistake of the catalogue" in text for _, text in advice.lines)
