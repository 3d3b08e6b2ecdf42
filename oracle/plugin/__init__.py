"""The pytest plugin: the fixture `gradient_oracle` and the option `--oracle-report=PATH`.

It is loaded with every run of pytest where oracle is installed, so nothing here imports torch before a test checks something.
"""

import argparse
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    import torch

    from manualbp import Network
    from oracle.report import Report


class Check(NamedTuple):
    """A report, and the line of the test that asked for it."""

    where: str
    report: "Report"


class GradientOracle:
    """The four checks of `oracle`. Each returns its report; what fails in any of them fails the test when it ends.

    `seed` is that of every check that names no other; it follows from the test's id, so that a test draws the same numbers
    whatever runs beside it. `failure` is what was last raised for checks that fail, and `failing` holds those checks.
    """

    def __init__(self, test: str, seed: int) -> None:
        self.test = test
        self.seed = seed
        self.checks: list[Check] = []
        self.failing: list[Check] = []
        self.failure: BaseException | None = None
        self._told = 0

    def check_function(
        self, candidate: Callable[..., Any], reference: Callable[..., Any], *inputs: Any, **options: Any
    ) -> "Report":
        """See `oracle.check_function`."""
        return self._ask("check_function", candidate, reference, *inputs, **options)

    def check_backward(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        reference: Callable[..., Any],
        *inputs: Any,
        **options: Any,
    ) -> "Report":
        """See `oracle.check_backward`."""
        return self._ask("check_backward", forward, backward, reference, *inputs, **options)

    def check_module(self, candidate: "torch.nn.Module", reference: "torch.nn.Module", *inputs: Any, **options: Any) -> "Report":
        """See `oracle.check_module`."""
        return self._ask("check_module", candidate, reference, *inputs, **options)

    def check_network(
        self, candidate: Callable[[Any, Any, Any], Any], network: "Network | torch.nn.Module", **options: Any
    ) -> "Report":
        """See `oracle.check_network`."""
        return self._ask("check_network", candidate, network, **options)

    def _ask(self, door: str, *arguments: Any, **options: Any) -> "Report":
        import oracle

        report: Report = getattr(oracle, door)(*arguments, **{"seed": self.seed, **options})
        caller = sys._getframe(2)
        self.checks.append(Check(f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}", report))
        return report

    def untold(self) -> list[Check]:
        """The checks that fail and have not been asked for by this yet."""
        found, self._told = self.checks[self._told :], len(self.checks)
        return [check for check in found if not check.report.ok]


_ORACLE = pytest.StashKey[GradientOracle]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("oracle", "gradients against torch.autograd")
    group.addoption(
        "--oracle-report", metavar="PATH", help="Write all checks of gradient_oracle into one .html, .md or .json file."
    )
    group.addoption(
        "--oracle-seed", metavar="N", type=_seed, default=0, help="Every test's own seed follows from this one and its id (0)."
    )


def _seed(text: str) -> int:
    """A whole number from 0. Raises ArgumentTypeError."""
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if seed < 0:
        raise argparse.ArgumentTypeError(f"takes a whole number from 0; got {text!r}.")
    return seed


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a report that cannot be written before a test runs; in the workers of pytest-xdist there is nothing to do."""
    text = config.getoption("oracle_report")
    if text is None or config.option.collectonly or hasattr(config, "workerinput"):
        return
    from oracle.plugin.gathering import Gathering, checked

    config.pluginmanager.register(Gathering(config, checked(text)), "oracle-report")


@pytest.fixture
def gradient_oracle(request: pytest.FixtureRequest) -> Iterator[GradientOracle]:
    """Checks of gradients: `check_function`, `check_backward`, `check_module` and `check_network`, as in `oracle`.

    What fails is told when the test ends, all of it, and fails the test. Each check returns its report.
    """
    item = request.node
    test = f"{item.parent.nodeid}::{item.name}"  # pytest-xdist may add a group's name to item.nodeid
    seed = zlib.crc32(f"{item.config.getoption('oracle_seed')} {test}".encode())
    oracle = item.stash[_ORACLE] = GradientOracle(test, seed)
    yield oracle
    _fail(oracle)  # for what other fixtures check after the test, or before one that does not run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose checks fail; to one that fails by itself they are added."""
    oracle = item.stash.get(_ORACLE, None)
    try:
        result = yield
    except BaseException as error:
        if _skips(error):
            _fail(oracle)
        elif oracle:
            _add(item, oracle.untold(), error)
        raise
    _fail(oracle)
    return result


def _skips(error: BaseException) -> bool:
    """Whether this skips a test: `pytest.skip()`, or SkipTest of a unittest that somebody has imported."""
    unittest = sys.modules.get("unittest")
    return isinstance(error, pytest.skip.Exception) or bool(unittest and isinstance(error, unittest.SkipTest))


def _fail(oracle: GradientOracle | None) -> None:
    if oracle and (failing := oracle.untold()):
        from oracle.report.words import reasons

        why = [reason for check in failing for reason in reasons(check.report)]
        count = f"{len(failing)} of {len(oracle.checks)} gradient checks fail{'s' * (len(failing) == 1)}"
        text = f"{' '.join([*why, f'({count})'])}\n\n{_text(failing)}"
        oracle.failing, oracle.failure = failing, pytest.fail.Exception(text, pytrace=False)
        raise oracle.failure from None  # what skips says nothing about it


def _add(item: pytest.Item, failing: list[Check], error: BaseException) -> None:
    """Add to a test that fails by itself what fails besides."""
    others = [check for check in failing if check.report.explain() not in str(error)]
    if others:
        item.add_report_section("call", "gradient_oracle", _text(others))


def _text(checks: list[Check]) -> str:
    """Every failing row, the diagnosis, and what agrees, for each check."""
    return "\n\n".join(f"{check.where}: {check.report.command}\n{check.report.explain()}" for check in checks)


@pytest.hookimpl(specname="pytest_runtest_makereport")
def pytest_runtest_makereport_of_method(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Give a method of a TestCase its failure back, in whose place pytest has just put what unittest saw of the test."""
    oracle = item.stash.get(_ORACLE, None)
    if call.when != "call" or not call.excinfo or not oracle or not oracle.failure or call.excinfo.value is oracle.failure:
        return
    error = call.excinfo.value
    unexpected = isinstance(error, pytest.fail.Exception) and str(error).startswith("Unexpected success")
    if not _skips(error) and not unexpected:
        _add(item, oracle.failing, error)
        return
    found, mark = oracle.failure, "__unittest_expecting_failure__"  # of the method, or of its class
    if not item.config.option.runxfail and any(getattr(getattr(item, name, None), mark, False) for name in ("obj", "cls")):
        found = pytest.xfail.Exception(str(found).splitlines()[0], pytrace=False).with_traceback(found.__traceback__)
    call.excinfo = pytest.ExceptionInfo.from_exception(found)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hand what was compared over with the last report on a test: as text, which any process can send to another."""
    report = yield
    oracle = item.stash.get(_ORACLE, None)
    if call.when == "teardown" and oracle and oracle.checks and item.config.getoption("oracle_report"):
        from oracle.plugin.gathered import packed

        report.oracle_checks = packed(oracle)  # type: ignore[attr-defined]
    return report
