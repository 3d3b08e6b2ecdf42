"""The command as a user calls it: exit status, what is on standard output, what is refused before any work."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from oracle.cli import app

ONE = "notes/float64/Sigmoid/Sigmoid/HalfSquaredError"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_narrowed_run_writes_a_report(tmp_path):
    found = call("run", "--activation", "Tanh", "--loss", "MSELoss", "--shape", "notes", "--jobs", 1, "--out", tmp_path / "r")
    assert found.exit_code == 0, found.output
    assert "agree" in found.stdout
    assert (tmp_path / "r" / "report.html").exists()
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["shapes"] == ["notes"]
    assert summary["losses"] == ["MSELoss", "MSELoss(reduction='none')", "MSELoss(reduction='sum')"]
    assert summary["training"] == {}


def test_json_is_one_document_and_nothing_else(tmp_path):
    found = call("run", "--case", ONE, "--json", "--seed", 5)
    assert found.exit_code == 0
    summary = json.loads(found.stdout)
    assert summary["seed"] == 5
    assert summary["verdicts"] == {"agree": 28, "reference": 0, "kink": 0, "differ": 0, "nonfinite": 0, "missing": 0}


def test_one_case_shows_every_row_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = call("run", "--case", ONE)
    assert found.exit_code == 0
    assert found.stdout.count("dC/dW[2]") == 2
    assert list(tmp_path.iterdir()) == []


def test_processes_give_the_same_table_as_one(tmp_path):
    for jobs in (1, 2):
        arguments = (
            "run",
            "--activation",
            "ReLU",
            "--loss",
            "NLLLoss",
            "--shape",
            "notes",
            "--jobs",
            jobs,
            "--out",
            tmp_path / str(jobs),
        )
        done = subprocess.run([sys.executable, "-m", "oracle", *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "1" / "discrepancies.csv").read_bytes() == (tmp_path / "2" / "discrepancies.csv").read_bytes()


def test_a_failing_run_exits_with_1_and_names_the_command_that_repeats_it(monkeypatch, tmp_path):
    from manualbp import Tanh

    monkeypatch.setattr(Tanh, "derivative", lambda self, z: 1 - np.tanh(z))  # the square forgotten
    found = call("run", "--activation", "Tanh", "--loss", "MSELoss", "--shape", "notes", "--jobs", 1, "--out", tmp_path)
    assert found.exit_code == 1
    assert "differ" in found.stdout
    assert "Layer 1, Tanh: delta[1]" in found.stdout
    assert "It matches 'square forgotten'" in found.stdout
    assert "the formula: delta[l] = dC/da[l] * g'(z[l])" in found.stdout
    command = next(line for line in found.stdout.splitlines() if line.strip().startswith("oracle run --case")).strip()
    again = call(*shlex.split(command)[1:])
    assert again.exit_code == 1
    assert "square forgotten" in again.stdout
    monkeypatch.undo()
    right = call(*shlex.split(command)[1:])
    assert right.exit_code == 0
    assert "square forgotten" not in right.stdout


def test_another_subgradient_at_a_kink_fails_when_strict(monkeypatch):
    from manualbp import ReLU

    arguments = ("run", "--case", "alone/3x31/float64/ReLU/kinks")
    assert call(*arguments, "--strict").exit_code == 0
    monkeypatch.setattr(ReLU, "passed", lambda self, z, grad_output: np.where(z < 0, 0, grad_output))
    found, strict = call(*arguments), call(*arguments, "--strict")
    assert (found.exit_code, strict.exit_code) == (0, 1)
    assert "an input lies on a kink" in " ".join(found.stdout.split())
    assert "What fails" in strict.stdout
    assert json.loads(call(*arguments, "--strict", "--json").stdout)["ok"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--activation", "Swich"], "unknown activation 'Swich'"),
        (["run", "--loss", "MSE"], "Did you mean MSELoss?"),
        (["run", "--shape", "huge"], "unknown shape 'huge'"),
        (["run", "--dtype", "int8"], "unknown dtype 'int8'"),
        (["run", "--data", "mnist"], "unknown data set 'mnist'"),
        (["run", "--case", "notes"], "5 parts; got 1"),
        (["run", "--case", "data/iris"], "data/NAME/DTYPE"),
        (["run", "--case", ONE, "--dtype", "float32"], "--case names the whole case"),
        (["run", "--activation", "Tanh", "--loss", "BCELoss", "--seed", "-1"], "--seed"),
        (["run", "--out", "/dev/null/reports"], "takes a folder that can be written"),
        (["run", "--out", ""], "takes the name of a folder"),
        (["run", "--activation", "LeakyReLU(negative_slope='a')"], "takes a finite number, such as 0.01; got 'a'"),
        (["run", "--activation", "LeakyReLU(negative_slope=1e400)"], "takes a finite number"),
        (["run", "--activation", "Softplus(beta=0)"], "a beta other than 0"),
        (["run", "--case", ""], "5 parts"),
        (["explain", "--alpha", "-1"], "a learning rate above 0"),
        (["explain", "--case", "notes/float64/Tanh/Tanh/BCELoss"], "takes inputs in [0, 1]"),
        (["explain", "--out", "/dev/null/x"], "takes a folder that can be written"),
        (["flee"], "No such command"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused_with_status_2_before_any_work(arguments, message, monkeypatch):
    import oracle.sweep

    monkeypatch.setattr(oracle.sweep, "sweep", lambda *a, **k: pytest.fail("work began"))
    found = call(*arguments)
    assert found.exit_code == 2, found.output
    assert message in found.stderr
    assert found.stdout == ""


def test_explain_goes_through_the_notes_network():
    found = call("explain")
    assert found.exit_code == 0
    for text in (
        "delta[2] = dC/da[2] * g'(z[2])",
        "dC/dW[2] = delta[2] a[1]^T",
        "dC/da[1] = W[2]^T delta[2]",
        "dC/dw47",
        "dC/db7",
        "C falls from",
    ):
        assert text in found.stdout
    assert "differ" not in found.stdout


def test_explain_writes_what_it_shows(tmp_path):
    found = call("explain", "--case", "4-5-3x2/float32/GELU/LogSoftmax/NLLLoss", "--json", "--out", tmp_path)
    document = json.loads(found.stdout)
    assert document == json.loads((tmp_path / "explain.json").read_text())
    assert {step["verdict"] for step in document["steps"]} == {"agree"}
    assert "dC/dx" in (tmp_path / "explain.txt").read_text()
    symbols = [step["symbol"] for step in document["steps"]]
    assert symbols[:5] == ["z[1]", "a[1]", "z[2]", "a[2]", "C"]


def test_explain_shows_a_mistake(monkeypatch):
    from manualbp import Linear

    right = Linear.backward
    monkeypatch.setattr(Linear, "backward", lambda self, p, r, g: (right(self, p, r, g)[0], {"weight": 2 * right(self, p, r, g)[1]["weight"], "bias": g.sum(axis=1)}))  # fmt: skip
    found = call("explain")
    assert found.exit_code == 1
    assert "differ" in found.stdout


def test_interrupted_leaves_no_half_written_report(tmp_path):
    out = tmp_path / "r"
    process = subprocess.Popen(
        [sys.executable, "-m", "oracle", "run", "--out", out], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    while not out.exists():
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does: parent and workers alike
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "interrupted; no report was written" in stderr
    assert "Traceback" not in stderr
    assert list(out.iterdir()) == []
    assert stdout == ""


def test_help_and_version():
    assert "run" in call("--help").stdout
    assert call("--version").stdout.startswith("oracle ")
    assert subprocess.run([sys.executable, "-m", "oracle", "--version"], capture_output=True, text=True).stdout.startswith(
        "oracle "
    )


def test_a_repeated_name_is_compared_once():
    once = json.loads(call("run", "--case", ONE, "--json").stdout)
    twice = json.loads(call("run", "--case", ONE, "--case", ONE, "--json").stdout)
    assert (once["cases"], once["rows"]) == (twice["cases"], twice["rows"]) == (1, 28)


@pytest.mark.parametrize("trouble", ["disk full", "folder in the way"])
def test_a_report_that_cannot_be_written_leaves_nothing_behind(trouble, tmp_path, monkeypatch):
    from pyarrow import csv

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    if trouble == "disk full":
        monkeypatch.setattr(csv, "write_csv", full)
    else:
        (tmp_path / "report.html").mkdir()
    found = call("run", "--case", ONE, "--out", tmp_path)
    assert found.exit_code == 2
    assert "--out takes a folder" in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == (["report.html"] if trouble != "disk full" else [])


def test_explain_goes_on_where_a_gradient_is_missing(monkeypatch):
    from manualbp import Linear

    right = Linear.backward
    monkeypatch.setattr(
        Linear, "backward", lambda self, p, r, g: (right(self, p, r, g)[0], {"weight": right(self, p, r, g)[1]["weight"]})
    )
    found = call("explain")
    assert found.exit_code == 1
    assert "not given" in found.stdout
    assert "missing" in found.stdout
    assert "there is no update" in found.stdout
    assert json.loads(call("explain", "--json").stdout)["loss_after"] is None


def test_explain_drops_no_number_in_a_narrow_terminal(monkeypatch):
    for columns in ("40", "60", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        assert "…" not in call("explain", "--case", "4-3x15/float64/Tanh/Softmax/MSELoss").stdout
