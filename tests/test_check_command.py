"""`oracle check`: what it finds by name, which door it takes, what it says, and what it refuses before any work."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oracle.cli import app

FILE = '''
import numpy as np
import torch
from torch import nn
import manualbp as mb


class Gelu(torch.autograd.Function):
    """Forward exact, backward that of the tanh form."""

    @staticmethod
    def forward(ctx, x):
        print("forward prints")
        ctx.save_for_backward(x)
        return nn.functional.gelu(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(nn.functional.gelu(x, approximate="tanh"), x, grad)[0]


def right(x):
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def affine_forward(x, w):
    return x @ w, (x, w)


def affine_backward(dout, cache):
    return dout @ cache[1].T, cache[0].T @ dout


def averaged(dout, cache):
    return dout @ cache[1].T, cache[0].T @ dout / len(dout)


def product(x, w):
    return x @ w


class Net(nn.Module):
    def __init__(self, act=None):
        super().__init__()
        self.enter, self.act, self.leave = nn.Linear(4, 5), act or nn.Tanh(), nn.Linear(5, 3)

    def forward(self, x):
        return self.leave(self.act(self.enter(x)))


class Half(nn.Module):
    def forward(self, z):
        return torch.tanh(z) * 0.5 + torch.tanh(z).detach() * 0.5


class Takes(nn.Module):
    def __init__(self, width):
        super().__init__()


class LazyNet(nn.Sequential):
    pass


lazy = LazyNet(nn.LazyLinear(3))
wrong_net = Net(Half())
network = mb.Network.dense((3, 2), mb.Tanh(), mb.Tanh(), mb.MSELoss())
number = 3


def gradient(params, x, y):
    a = np.tanh(params["W1"] @ x + params["b1"][:, None])
    delta = 2 * (a - y) / a.size * (1 - a)
    return {"dW1": delta @ x.T, "db1": delta.sum(axis=1)}


def slow(x):
    while True:
        pass
'''
NOISY = """
import atexit, os
from mine import Gelu, right

print("the file prints")
os.write(1, b"so does C\\n")
atexit.register(print, "and at the end")
"""
OTHERS = """from mine import Gelu, nn, torch
from torch import sin
act, twice = nn.Tanh(), torch.vmap(torch.square)
"""
QUICK = ("--regimes", "generic", "--upstreams", "1", "--dtype", "float64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("targets")
    (found / "mine.py").write_text(FILE)
    (found / "noisy.py").write_text(NOISY)
    (found / "others.py").write_text(OTHERS)
    (found / "fails.py").write_text("import torch\n\n1 / 0\n")
    (found / "syntax.py").write_text("x = = 1\n")
    (found / "package").mkdir()
    (found / "package" / "__init__.py").write_text("import not_there\n")
    (found / "leaves.py").write_text("import sys\nsys.exit()\n")
    (found / "endless.py").write_text("while True: pass\n")
    return found


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))


def call(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def line_of(text):
    return 1 + FILE.split("\n").index(text)


def test_a_wrong_one_is_told_with_its_mistake():
    found = call("mine.py:Gelu", "--reference", "torch.nn.functional.gelu", "--shapes", "3x5", *QUICK)
    assert found.exit_code == 1, found.output
    assert "It matches 'the other GELU's derivative'" in found.stdout
    assert "dC/dx differ" in found.stdout


def test_a_right_one_agrees_and_writes_nothing_unless_asked(folder, tmp_path):
    before = {path.name for path in folder.iterdir()}
    arguments = ("mine.py:right", "--reference", "torch.nn.functional.gelu", "--shapes", "3x5", *QUICK)
    found = call(*arguments)
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("✓ All")
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == before
    assert call(*arguments, "--out", tmp_path / "r").exit_code == 0
    assert (tmp_path / "r" / "report.html").is_file()


def test_json_is_the_whole_of_standard_output_whatever_the_file_prints(folder):
    """In a process of its own, since the file writes past Python."""
    arguments = ("noisy.py:Gelu", "--reference", "right", "--shapes", "3x5", *QUICK, "--json")
    done = subprocess.run(
        [sys.executable, "-m", "oracle", "check", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(folder),
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        },
    )
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert summary["ok"] is False
    assert summary["diagnoses"][0]["repeat"] == summary["command"]
    assert "check noisy.py:Gelu --reference right" in summary["command"]
    assert all(text in done.stderr for text in ("the file prints", "so does C", "and at the end"))
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("::error")]
    assert told.startswith(f"::error file=mine.py,line={line_of('class Gelu(torch.autograd.Function):')},title=Gelu%3A dC/dx::")
    assert "the other GELU's derivative" in told
    assert (folder / "summary.md").read_text().startswith("# Does not agree")


def test_the_same_seed_gives_the_same_table(tmp_path):
    wanted = ("mine.py:wrong_net", "--reference", "mine.py:Net", "--shapes", "3x4")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        sys.modules.pop("mine", None)
        assert call(*wanted, "--seed", seed, "--out", tmp_path / name).exit_code == 1
    a, b, c = ((tmp_path / name / "discrepancies.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_numbers_without_an_axis():
    for name, status in (("right", 0), ("Gelu", 1)):
        found = call(f"mine.py:{name}", "--reference", "torch.nn.functional.gelu", "--shapes", "scalar", *QUICK[2:])
        assert found.exit_code == status, found.output
        assert "comparisons in 2 cases" in found.stdout


def test_a_numpy_pair():
    shared = ("--reference", "product", "--shapes", "4x5,5x3", "--regimes", "generic", "--upstreams", "1")
    assert call("mine.py:affine_forward", "--backward", "affine_backward", *shared).exit_code == 0
    wrong = call("mine.py:affine_forward", "--backward", "averaged", *shared)
    assert wrong.exit_code == 1
    assert "averaged: dC/dw" in wrong.stdout


def test_a_module_goes_submodule_by_submodule():
    found = call("mine:wrong_net", "--reference", "mine.Net", "--shapes", "3x4")
    assert found.exit_code == 1
    assert "act, Half: dC/dinput" in found.stdout
    assert re.search(r"^2 act, Half +own fault", found.stdout, re.MULTILINE), found.stdout
    assert "layerwise" in found.stdout


def test_a_network_of_manualbp():
    found = call("mine.py:gradient", "--reference", "network")
    assert found.exit_code == 1
    assert "square forgotten" in found.stdout


def test_a_target_that_never_ends_is_a_failing_row():
    found = call("mine.py:slow", "--reference", "torch.sin", "--shapes", "3", "--timeout", "0.2", *QUICK)
    assert found.exit_code == 1
    assert "did not end within 0.2 seconds" in " ".join(found.stdout.split())


SIN = ("--reference", "torch.sin", "--shapes", "3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nix.py:f", *SIN), "there is no Python file nix.py"),
        (("mina.py:f", *SIN), "Did you mean mine.py?"),
        (("mine.py:gelu", *SIN), "there is no 'gelu' in mine.py. Did you mean Gelu?"),
        (("mine.py:zzz", *SIN), "It has Gelu, right, affine_forward"),
        (("mine.py", *SIN), "a target in a file is mine.py:name; got no name. It has Gelu"),
        (("mine.py:", *SIN), "a target is file.py:name"),
        (("gelu", *SIN), "a target is file.py:name"),
        (("nowhere.at.all", *SIN), "there is no module 'nowhere'"),
        (("package.part:f", *SIN), "importing package.part raises ModuleNotFoundError: No module named 'not_there'"),
        (("fails.f", *SIN), "importing fails raises ZeroDivisionError"),
        ((".mine.right", *SIN), "importing .mine raises"),
        (("mine.right.more", *SIN), "there is no 'right.more' in mine"),
        (("nowhere:f", *SIN), "there is no module 'nowhere'"),
        (("mine.py:number", *SIN), "candidate takes something to call"),
        (("mine.py:number.x", *SIN), "there is no 'number.x' in mine.py"),
        (("mine.py:Takes", *SIN), "Make one in a file, such as mine = Takes(...), and name that."),
        (("fails.py:f", *SIN), "fails.py cannot be run: line 3: ZeroDivisionError"),
        (("syntax.py:f", *SIN), "syntax.py cannot be run: line 1: SyntaxError"),
        (("leaves.py:f", *SIN), "leaves.py cannot be run: line 2: SystemExit"),
        (("mine.py:right", "--shapes", "3"), "--reference"),
        (("mine.py:right", "--reference", "torch.nn.functional.gelo", "--shapes", "3"), "Did you mean gelu?"),
        (("mine.py:right", "--reference", "nix", "--shapes", "3"), "there is no 'nix' in mine.py"),
        (("mine.py:right", "--reference", "torch.sin"), "--shapes describes the inputs"),
        (("mine.py:right", "--reference", "torch.sin", "--shapes", "4y7"), "got '4y7'"),
        (("mine.py:right", "--reference", "torch.sin", "--shapes", "4x7,"), "got ''"),
        (("mine.py:right", "--reference", "torch.mm", "--shapes", "4x7,4x7"), "the reference"),
        (("mine.py:right", "--reference", "torch.sin", "--shapes", "4 labels 7"), "got only labels"),
        (("torch.nn:LazyBatchNorm1d", "--reference", "torch.sin", "--shapes", "4x7"), "LazyBatchNorm1d is lazy"),
        (("mine.py:Net", "--reference", "lazy", "--shapes", "3x4"), "LazyNet is lazy"),
        (("mine.py:right", *SIN, "--dtype", "int8"), "int8"),
        (("mine.py:right", *SIN, "--regimes", "odd"), "regimes takes some of"),
        (("mine.py:right", *SIN, "--upstreams", "0"), "upstreams takes a whole number from 1"),
        (("mine.py:right", *SIN, "--timeout", "0"), "timeout takes seconds, more than 0"),
        (("mine.py:right", *SIN, "--timeout", "-1"), "timeout takes seconds, more than 0"),
        (
            ("endless.py:f", *SIN, "--timeout", "0.2"),
            "reading the files of endless.py:f and torch.sin did not end within 0.2 seconds",
        ),
        (("mine.py:right", *SIN, "--domain", "odd"), "domain takes one of"),
        (("mine.py:right", *SIN, "--out", "/dev/null/r"), "takes a folder that can be written"),
        (("mine.py:affine_forward", "--backward", "nix", *SIN), "there is no 'nix' in mine.py"),
        (("mine.py:gradient", "--reference", "network", "--shapes", "3"), "leave --shapes away"),
        (("mine.py:gradient", "--reference", "network", "--upstreams", "2"), "--upstreams has no meaning for a network"),
        (("mine.py:Net", "--reference", "Net", "--shapes", "3x4", "--regimes", "kinks"), "--regimes has no meaning for a module"),
    ],
)
def test_a_call_that_is_wrong_is_refused(arguments, message, tmp_path):
    out = () if "--out" in arguments else ("--out", tmp_path)
    found = call(*arguments, *out, "--json")
    assert found.exit_code == 2, found.output
    assert message in " ".join(found.stderr.split())
    assert found.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_where_a_target_is_defined(folder):
    from oracle.commands.target import find

    gelu = line_of("class Gelu(torch.autograd.Function):")
    for text, line in (
        ("mine.py:Gelu", gelu),
        ("mine.py:Gelu.apply", gelu),
        ("mine.py:right", line_of("def right(x):")),
        ("mine.py:wrong_net", line_of("wrong_net = Net(Half())")),
        ("mine:right", line_of("def right(x):")),
        ("others.py:Gelu", gelu),
        ("others.py:Gelu.apply", gelu),
        ("others.py:act", 3),
        ("others.py:twice", 3),
    ):
        file, number = find(text).definition
        assert (Path(file).name, number) == ("others.py" if line == 3 else "mine.py", line)
    assert find("torch.sin").definition[1] == 0
    assert find("others.py:sin").definition == ("others.py", 0)
