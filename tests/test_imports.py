"""What an import may bring along; each rule is tried in a fresh process, and each check is shown to be able to fail."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def loaded_by(statement, package):
    """Whether the statement, run in a fresh process, loads the package."""
    code = f"{statement}\nimport sys\nprint({package!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1] == "True"


@pytest.mark.parametrize("package", ["torch", "pandas", "oracle", "sklearn", "matplotlib", "scipy", "flint", "ml_dtypes"])
def test_manualbp_stays_light(package):
    assert not loaded_by("import manualbp, manualbp.textbook", package)


@pytest.mark.parametrize(
    "statement", ["import oracle", "import oracle.cli", "from oracle import Spec", "import oracle.suite, oracle.data"]
)
@pytest.mark.parametrize("package", ["torch", "pandas", "matplotlib", "sklearn"])
def test_oracle_loads_torch_and_pandas_only_when_it_computes(statement, package):
    assert not loaded_by(statement, package)


def test_measuring_rounding_does_not_load_torchs_compiler():
    check = "import torch, oracle; assert oracle.check_function({}, torch.sin, '3').ok"
    assert not loaded_by(check.format("torch.sin"), "torch._dynamo")
    assert loaded_by(check.format("torch.compile(torch.sin, backend='eager')"), "torch._dynamo")


@pytest.mark.parametrize(
    ("statement", "package"),
    [
        ("import manualbp, torch", "torch"),
        ("from oracle import torch_run", "torch"),
        ("import manualbp, oracle.referee", "flint"),
    ],
)
def test_the_check_above_can_fail(statement, package):
    assert loaded_by(statement, package)


def imported(path):
    """The project's own modules that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def arrows(folder):
    return {
        (path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."), name)
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
    }


def test_manualbp_never_imports_the_oracle_and_the_textbook_shares_nothing():
    assert not {arrow for arrow in arrows("manualbp") if arrow[1].split(".")[0] in ("oracle", "torch", "pandas")}
    shared = {name for _, name in arrows("manualbp/textbook") if name.startswith("manualbp")}
    assert {name for name in shared if not name.startswith("manualbp.textbook")} == set()


#: From the foundation up; a module may import what stands before it.
ORDER = [
    "files", "workers", "github", "case", "shell", "inputs", "regimes", "alone", "drawn", "data", "suite", "twins", "conventions", "referee", "judge",
    "verdict", "roundoff", "formulas", "manual_run", "torch_run", "mistakes", "rounding", "diagnosis", "discrepancy", "tables", "corrected", "check", "training", "sweep", "explain", "report", "compare", "doors", "accuracy",
    "calibration", "mutants", "vectors", "plugin", "teach", "terminal", "commands", "cli", "__main__",
]  # fmt: skip


def backward_arrows(found):
    place = {f"oracle.{name}": at for at, name in enumerate(ORDER)}
    known = [
        (a, b)
        for a, b in ((".".join(a.split(".")[:2]), ".".join(b.split(".")[:2])) for a, b in found)
        if a in place and b in place
    ]
    assert len(known) > 30
    return {(a, b) for a, b in known if place[b] > place[a]}


def test_imports_in_the_oracle_run_one_way():
    assert backward_arrows(arrows("oracle")) == set()


def test_an_arrow_the_other_way_would_be_seen():
    wrong = ("oracle.case", "oracle.report.model")
    assert backward_arrows(arrows("oracle") | {wrong}) == {("oracle.case", "oracle.report")}


@pytest.mark.parametrize(("statement", "package"), [("import manualbp", "numpy"), ("import oracle.cli", "typer")])
def test_import_costs_little_beside_what_it_cannot_do_without(statement, package):
    """A ratio of two processes side by side, the better of three; a stray import of torch or pandas makes it 5 and more."""

    def seconds(code):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - begin

    ours = min(seconds(statement) for _ in range(3))
    needed = min(seconds(f"import numpy, {package}") for _ in range(3))
    assert ours < 3 * needed
