"""The pytest plugin, each run of pytest in a process of its own: what a user sees, what a report holds, what is loaded."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import entry_points

import pytest

TESTS = """
import pytest
import torch

import oracle

QUICK = {"regimes": ["generic"], "upstreams": 1}


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


def right(x):
    return x * x


def affine_forward(x, w):
    return x @ w, (x, w)


def affine_backward(dout, cache):
    return dout @ cache[1].T, cache[0].T @ dout


def wrong(gradient_oracle):
    return gradient_oracle.check_function(Square.apply, torch.square, "3x4", **QUICK)


def test_right(gradient_oracle):
    report = gradient_oracle.check_function(right, torch.square, "3x4", **QUICK)
    report.raise_if_failed()
    assert gradient_oracle.check_backward(affine_forward, affine_backward, torch.mm, "3x4", "4x2", **QUICK).ok


@pytest.mark.xdist_group("together")
def test_two_of_three(gradient_oracle):
    assert not wrong(gradient_oracle).ok
    gradient_oracle.check_function(right, torch.square, "3x4", **QUICK)
    gradient_oracle.check_function(right, torch.sin, "3x4", **QUICK)
    print("and goes on")


def test_fails_by_itself_too(gradient_oracle):
    assert wrong(gradient_oracle).ok, "my own words"


def test_raises_itself(gradient_oracle):
    wrong(gradient_oracle).raise_if_failed()


def test_skips_too_late(gradient_oracle):
    wrong(gradient_oracle)
    pytest.skip("no reason")


@pytest.mark.xfail(strict=True, reason="its check is wrong on purpose")
def test_is_known_to_fail(gradient_oracle):
    wrong(gradient_oracle)


@pytest.fixture
def checks_at_its_end(gradient_oracle):
    yield
    wrong(gradient_oracle)


def test_goes_well_until_its_end(checks_at_its_end):
    pass


def test_calls_it_wrongly(gradient_oracle):
    gradient_oracle.check_function(right, torch.square)


def test_checks_nothing(gradient_oracle):
    assert gradient_oracle.checks == []


def test_draws_from_its_id(gradient_oracle):
    own = gradient_oracle.check_function(right, torch.square, "3x4", seed=7, **QUICK).seed
    given = gradient_oracle.check_function(right, torch.square, "3x4", **QUICK).seed
    print("seeds", own, given, gradient_oracle.seed)
"""


CASES = """
import unittest

import pytest
import torch

QUICK = {"regimes": ["generic"], "upstreams": 1}


def wrong(gradient_oracle):
    return gradient_oracle.check_function(lambda x: x * x.detach(), torch.square, "3x4", **QUICK)


def test_raises_skip_test(gradient_oracle):
    wrong(gradient_oracle)
    raise unittest.SkipTest("no reason")


@pytest.fixture
def checks_before(gradient_oracle):
    wrong(gradient_oracle)


def test_goes_well_after_a_failing_fixture(checks_before):
    pass


@pytest.fixture
def skips_at_once(checks_before):
    pytest.skip("no reason")


def test_does_not_run(skips_at_once):
    pass


class TestMethods(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def given(self, gradient_oracle):
        self.g = gradient_oracle

    def test_method_is_right(self):
        assert self.g.check_function(torch.sin, torch.sin, "3x4", **QUICK).ok

    def test_method_skips(self):
        self.skipTest("nothing to check")

    def test_method_is_wrong(self):
        wrong(self.g)

    def test_method_skips_too_late(self):
        wrong(self.g)
        self.skipTest("no reason")

    @pytest.mark.xfail(strict=True, reason="wrong on purpose")
    def test_method_is_marked_and_skips(self):
        wrong(self.g)
        self.skipTest("no reason")

    def test_method_fails_by_itself_too(self):
        self.assertTrue(wrong(self.g).ok, "my own words")

    def test_method_raises_itself(self):
        wrong(self.g).raise_if_failed()

    def test_method_fails_in_a_part_too(self):
        with self.subTest("a part"):
            wrong(self.g)
            self.fail("the part's words")

    @unittest.expectedFailure
    def test_method_is_known_to_fail(self):
        wrong(self.g)

    @unittest.expectedFailure
    def test_method_is_known_to_fail_and_skips(self):
        wrong(self.g)
        self.skipTest("no reason")

    @unittest.expectedFailure
    def test_method_is_known_to_fail_by_itself(self):
        wrong(self.g).raise_if_failed()

    @unittest.expectedFailure
    def test_method_should_fail_and_does_not(self):
        assert self.g.check_function(torch.sin, torch.sin, "3x4", **QUICK).ok


class TestAround(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def given(self, gradient_oracle):
        self.g = gradient_oracle

    def setUp(self):
        if "before" in self.id():
            wrong(self.g)
            self.skipTest("no reason")

    def test_is_wrong_before(self):
        pass

    @unittest.expectedFailure
    def test_is_wrong_and_ends_badly(self):
        wrong(self.g)

    def tearDown(self):
        self.fail("the end's words")


@unittest.expectedFailure
class TestAllKnown(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def given(self, gradient_oracle):
        self.g = gradient_oracle

    def test_known_with_its_class(self):
        wrong(self.g)
"""


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    (folder / "test_them.py").write_text(TESTS)
    return folder, run(folder, "--oracle-report=out/all.json", "--junitxml=junit.xml", "-rA")


@pytest.fixture(scope="module")
def methods(tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    (folder / "test_them.py").write_text(CASES)
    return run(folder, "-rA")


def ends(stdout):
    """How each test ended, by its name, as the terminal sums it up."""
    found = re.findall(r"^([A-Z]+) test_them\.py::(?:\w+::)?(\w+)", stdout, flags=re.MULTILINE)
    return {test: end for end, test in found}


def part(stdout, name):
    """What the terminal says of one test."""
    return stdout.split(f"_ {name} _")[1].split("\n____")[0].split("\n====")[0]


def test_the_entry_point_is_installed():
    assert [each.value for each in entry_points(group="pytest11", name="oracle")] == ["oracle.plugin"]


def test_each_test_ends_as_its_checks_say(ran):
    _, done = ran
    assert done.returncode == 1, done.stdout + done.stderr
    ended = {
        line.split("::")[1].split(" ")[0]: line.split(" ")[0]
        for line in done.stdout.splitlines()
        if " test_them.py::test_" in line
    }
    assert ended == {
        "test_right": "PASSED",
        "test_checks_nothing": "PASSED",
        "test_draws_from_its_id": "PASSED",
        "test_is_known_to_fail": "XFAIL",
        "test_two_of_three": "FAILED",
        "test_fails_by_itself_too": "FAILED",
        "test_raises_itself": "FAILED",
        "test_skips_too_late": "FAILED",
        "test_calls_it_wrongly": "FAILED",
        "test_goes_well_until_its_end": "ERROR",
    }
    assert "INTERNALERROR" not in done.stdout


def test_methods_of_unittest_end_as_their_checks_say(methods):
    assert methods.returncode == 1, methods.stdout + methods.stderr
    assert "INTERNALERROR" not in methods.stdout
    assert ends(methods.stdout) == {
        "test_raises_skip_test": "FAILED",
        "test_goes_well_after_a_failing_fixture": "FAILED",
        "test_does_not_run": "ERROR",
        "test_method_is_right": "PASSED",
        "test_method_is_wrong": "FAILED",
        "test_method_skips_too_late": "FAILED",
        "test_method_is_marked_and_skips": "XFAIL",
        "test_method_fails_by_itself_too": "FAILED",
        "test_method_raises_itself": "FAILED",
        "test_method_fails_in_a_part_too": "FAILED",
        "test_method_is_known_to_fail": "XFAIL",
        "test_method_is_known_to_fail_and_skips": "XFAIL",
        "test_method_is_known_to_fail_by_itself": "XFAIL",
        "test_method_should_fail_and_does_not": "FAILED",
        "test_is_wrong_before": "FAILED",
        "test_is_wrong_and_ends_badly": "FAILED",
        "test_known_with_its_class": "XFAIL",
    }


def test_a_test_that_skips_too_late_tells_what_failed(ran, methods):
    for stdout, name in (
        (ran[1].stdout, "test_skips_too_late"),
        (methods.stdout, "test_raises_skip_test"),
        (methods.stdout, "TestMethods.test_method_skips_too_late"),
    ):
        assert "(1 of 1 gradient checks fails)" in part(stdout, name).split("\n")[1]


def test_a_method_that_fails_by_itself_has_its_checks_below_and_nothing_twice(methods):
    both = part(methods.stdout, "TestMethods.test_method_fails_by_itself_too")
    assert "my own words" in both
    assert both.count("times 1/2, exactly") == 1
    assert "Captured gradient_oracle" not in part(methods.stdout, "TestMethods.test_method_raises_itself")
    assert "Unexpected success" in part(methods.stdout, "TestMethods.test_method_should_fail_and_does_not")
    end = part(methods.stdout, "TestAround.test_is_wrong_and_ends_badly")
    assert "the end's words" in end
    assert end.count("times 1/2, exactly") == 1


def test_runxfail_tells_what_was_expected_to_fail(tmp_path):
    (tmp_path / "test_them.py").write_text(CASES)
    done = run(tmp_path, "--runxfail", "-rA", "-k", "known_to_fail and not itself and not skips")
    assert ends(done.stdout) == {"test_method_is_known_to_fail": "FAILED"}
    assert "(1 of 1 gradient checks fails)" in done.stdout


def test_a_failing_test_tells_every_failure_and_runs_to_its_end(ran):
    told = part(ran[1].stdout, "test_two_of_three")
    assert "(2 of 3 gradient checks fail)" in told.split("\n")[1]
    assert "oracle.check_function of Square" in told
    line = 1 + TESTS.split("\n").index('    gradient_oracle.check_function(right, torch.sin, "3x4", **QUICK)')
    assert f"test_them.py:{line}: oracle.check_function of right" in told  # the line that asks
    assert "dC/dx Square end to end" in told  # the table
    assert "times 1/2, exactly" in told  # the diagnosis
    assert "the fault is in the forward pass" in told  # of the other check
    assert "and goes on" in told
    assert "Traceback" not in told
    assert "oracle/plugin" not in told


def test_what_fails_besides_the_checks_is_told_with_them_and_nothing_twice(ran):
    both = part(ran[1].stdout, "test_fails_by_itself_too")
    assert "my own words" in both
    assert both.count("times 1/2, exactly") == 1
    raised = part(ran[1].stdout, "test_raises_itself")
    assert "GradientError" in raised
    assert raised.count("times 1/2, exactly") <= 2  # the error, and its line in the traceback
    assert "Captured gradient_oracle" not in raised
    assert "DoorError" in part(ran[1].stdout, "test_calls_it_wrongly")
    assert "times 1/2, exactly" in part(ran[1].stdout, "ERROR at teardown of test_goes_well_until_its_end")


def test_junit_has_the_failure_and_nothing_of_ours_besides(ran):
    folder, _ = ran
    cases = {case.get("name"): case for case in ET.parse(folder / "junit.xml").iter("testcase")}
    assert "times 1/2, exactly" in cases["test_two_of_three"].find("failure").text
    assert cases["test_right"].find("properties") is None


def test_the_seed_follows_from_the_test_unless_one_is_given(ran):
    own, given, seed = map(int, ran[1].stdout.split("\nseeds ")[1].split("\n")[0].split())
    assert (own, given) == (7, seed)
    assert seed > 0


def test_the_report_holds_every_check_by_its_test(ran):
    folder, done = ran
    assert [path.name for path in (folder / "out").iterdir()] == ["all.json"]
    summary = json.loads((folder / "out" / "all.json").read_text())
    assert summary["ok"] is False
    assert summary["cases"] == 12
    cases = {each["case"]: each for each in summary["diagnoses"]}
    assert "test_them.py::test_two_of_three: Square/float32/3x4/generic" in cases
    third = cases["test_them.py::test_two_of_three (check 3): right/float32/3x4/generic"]
    assert third["repeat"] == "pytest test_them.py::test_two_of_three"
    assert f"out/all.json: 8 of {summary['rows']} comparisons in 8 tests fail" in done.stdout


def test_workers_of_xdist_make_the_same_report(ran, tmp_path):
    folder, _ = ran
    again = run(folder, f"--oracle-report={tmp_path / 'all.json'}", "-n", "2", "--dist=loadgroup")
    assert again.returncode == 1, again.stdout + again.stderr
    one, two = (json.loads((place / "all.json").read_text()) for place in (folder / "out", tmp_path))
    assert (one["jobs"], two["jobs"]) == (1, 2)
    changes = ("command", "seconds", "jobs")
    assert {name: one[name] for name in one if name not in changes} == {name: two[name] for name in two if name not in changes}


@pytest.mark.parametrize(("name", "start"), [("r.html", "<!doctype html>"), ("r.md", "# Agree"), ("r.json", "{")])
def test_a_page_by_its_suffix(name, start, tmp_path, pytestconfig, request):
    import torch

    from oracle.plugin import GradientOracle
    from oracle.plugin.gathered import packed
    from oracle.plugin.gathering import Gathering

    oracle = GradientOracle("test_x.py::test_it[a/b]", 1)
    rows = len(oracle.check_function(torch.sin, torch.sin, "3", regimes=["generic"], upstreams=1).table)
    gathering = Gathering(pytestconfig, tmp_path / name)
    gathering.packs[oracle.test] = packed(oracle)
    gathering.pytest_sessionfinish(request.session)
    assert (tmp_path / name).read_text().startswith(start)
    assert f"0 of {rows} comparisons in 1 test fail" in gathering.told
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "discrepancies.parquet" not in (tmp_path / name).read_text()  # which is not there


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("r.txt", "takes a file that ends in .html, .md, .json; got 'r.txt'"),
        ("report", "takes a file that ends in"),
        (".html", "takes a file that ends in"),
        ("folder.html", "takes a file that ends in"),
        ("", "--oracle-report takes a file that ends in .html, .md, .json; got ''"),
        ("/dev/null/r.html", "in a folder that can be written"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_a_test_runs(path, message, tmp_path):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "test_it.py").write_text("def test_it():\n    open('ran', 'w').close()\n")
    done = run(tmp_path, f"--oracle-report={path}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("seed", ["-1", "abc", "1.5", ""])
def test_a_seed_that_is_none_is_refused_before_a_test_runs(seed, tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it():\n    open('ran', 'w').close()\n")
    done = run(tmp_path, f"--oracle-seed={seed}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--oracle-seed: takes a whole number from 0; got {seed!r}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("seed", ["abc", -1, 1.5, True, None])
def test_a_seed_that_is_none_is_refused_by_the_next_check(seed, gradient_oracle):
    import torch

    import oracle

    gradient_oracle.seed = seed
    with pytest.raises(oracle.DoorError, match="seed takes a whole number from 0; got"):
        gradient_oracle.check_function(torch.sin, torch.sin, "3")
    assert gradient_oracle.checks == []


def test_a_report_that_cannot_be_written_in_the_end_is_no_success(tmp_path):
    (tmp_path / "test_it.py").write_text("from pathlib import Path\n\ndef test_it():\n    Path('r.md').mkdir()\n")
    done = run(tmp_path, "--oracle-report=r.md")
    assert "1 passed" in done.stdout
    assert "was not written" in done.stdout
    assert done.returncode == pytest.ExitCode.USAGE_ERROR


TELLS = """
import sys

def pytest_unconfigure():
    heavy = ("torch", "pandas", "numpy", "matplotlib", "scipy", "typer", "rich", "manualbp", "oracle.report", "oracle.doors")
    print("loaded:", [name for name in heavy if name in sys.modules], "oracle.plugin" in sys.modules)
"""


@pytest.mark.parametrize(
    ("source", "arguments", "loaded"),
    [
        ("def test_it():\n    pass\n", ["--collect-only"], "loaded: [] True"),
        ("def test_it(gradient_oracle):\n    assert gradient_oracle.seed\n", [], "loaded: [] True"),
        ("import numpy\n\n\ndef test_it():\n    pass\n", ["--collect-only"], "loaded: ['numpy'] True"),
    ],
    ids=["only collected", "fixture unused", "the check can fail"],
)
def test_what_is_loaded_before_a_test_checks_something(source, arguments, loaded, tmp_path):
    (tmp_path / "conftest.py").write_text(TELLS)
    (tmp_path / "test_it.py").write_text(source)
    done = run(tmp_path, "-s", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert loaded in done.stdout
