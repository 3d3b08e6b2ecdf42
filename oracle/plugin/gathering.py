"""The part of the plugin that writes a report when all tests have run."""

import shlex
import time
from pathlib import Path

import pytest

from oracle.files import Batch, OutputError, check_folder

FORMS = {".html": "to_html", ".md": "to_markdown", ".json": "to_json"}


def checked(text: str) -> Path:
    """The path of a report. Raises UsageError where none can be written."""
    path = Path(text).resolve()
    if path.suffix not in FORMS or path.is_dir():
        raise pytest.UsageError(f"--oracle-report takes a file that ends in {', '.join(FORMS)}; got {text!r}.")
    try:
        check_folder(path.parent)
    except OutputError as error:
        raise pytest.UsageError(f"--oracle-report takes a file in a folder that can be written; {error.__cause__}.") from error
    return path


class Gathering:
    """Collects what the tests compared, and writes the report when all have run."""

    def __init__(self, config: pytest.Config, path: Path) -> None:
        self.config = config
        self.path = path
        self.packs: dict[str, str] = {}
        self.begin = time.perf_counter()
        self.told = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what came with a report, here or from a worker."""
        if found := getattr(report, "oracle_checks", ""):
            self.packs[report.nodeid] = found

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report, whole or not at all."""
        from oracle.plugin.gathered import gathered

        report = gathered(
            self.packs.values(),
            seed=self.config.getoption("oracle_seed"),
            seconds=time.perf_counter() - self.begin,
            command=shlex.join(["pytest", *map(str, self.config.invocation_params.args)]),
            jobs=getattr(self.config.option, "numprocesses", None) or 1,
        )
        try:
            with Batch(self.path.parent) as batch:
                batch.text(self.path.name, getattr(report, FORMS[self.path.suffix])())
        except OutputError as error:
            self.told = f"The report of gradient_oracle was not written: {error.__cause__}"
            session.exitstatus = session.exitstatus or pytest.ExitCode.USAGE_ERROR
        else:
            name, count = self.config.getoption("oracle_report"), len(self.packs)
            tests = f"{count} test{'s' * (count != 1)}"
            self.told = f"{name}: {len(report.failing):,} of {len(report.table):,} comparisons in {tests} fail"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the report is."""
        terminalreporter.section("gradient_oracle")
        terminalreporter.write_line(self.told)
