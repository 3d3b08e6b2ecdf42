"""Annotations and the job's summary, read back as the runner reads them."""

import json
import re

import pytest
from typer.testing import CliRunner

from oracle import github
from oracle.cli import app
from oracle.github import SUMMARY, Annotation, tell

CASE = "notes/float64/Tanh/Tanh/MSELoss"


def read_back(line):
    """The runner's own rules: properties up to the second ::, then the message; %XX is a sign again."""
    properties, message = re.fullmatch(r"::error ([^\r\n]*?)::([^\r\n]*)", line).groups()
    unescaped = [text.replace("%3A", ":").replace("%2C", ",") for text in properties.split(",")]
    found = dict(text.split("=", 1) for text in unescaped)
    return {
        name: text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
        for name, text in {**found, "message": message}.items()
    }


@pytest.fixture
def on_github(tmp_path, monkeypatch):
    """The file of the summary."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return tmp_path / "summary.md"


def test_signs_that_would_end_a_command_survive(on_github):
    told = Annotation("a: b, 50%\nc", "first :: line\r\n100 % of it, %0A", str(on_github.parent / "src" / "a,b.py"), 12)
    assert str(told).count("\n") == 0
    assert read_back(str(told)) == {
        "title": "a: b, 50%\nc",
        "message": "first :: line\r\n100 % of it, %0A",
        "file": "src/a,b.py",
        "line": "12",
    }
    assert "file=" not in str(Annotation("a", "b"))


def test_no_more_annotations_than_are_shown_and_none_elsewhere(on_github, monkeypatch, capsys):
    many = [Annotation(str(number), "m") for number in range(30)]
    tell(lambda: "# Summary", lambda: many)
    captured = capsys.readouterr()
    assert captured.err.count("::error") == github.SHOWN
    assert captured.out == ""
    assert on_github.read_text() == "# Summary\n\n"
    monkeypatch.delenv("GITHUB_ACTIONS")
    tell(lambda: "# Summary", lambda: many)
    assert "::error" not in capsys.readouterr().err
    assert on_github.read_text() == "# Summary\n\n"


def test_a_summary_adds_up_and_stays_within_its_size(on_github):
    for number in range(3):
        tell(lambda number=number: f"# {number}\n" + "ä line of it\n" * 40_000, tuple)
    found = on_github.read_bytes()
    assert len(found) <= SUMMARY
    text = found.decode()  # no letter is cut in two
    assert text.startswith("# 0\n")
    assert "# 1\n" in text
    assert text.endswith(github.CUT)
    tell(lambda: "more", tuple)
    assert len(on_github.read_bytes()) <= SUMMARY


def test_a_summary_that_cannot_be_written_is_told_and_no_failure(on_github, capsys):
    on_github.mkdir()
    tell(lambda: "# Summary", tuple)
    assert "The job's summary is not written" in capsys.readouterr().err


def annotations(found):
    return [read_back(line) for line in found.stderr.splitlines() if line.startswith("::error")]


def test_a_run_that_fails_is_annotated_and_one_that_agrees_is_summarised(on_github, monkeypatch):
    from manualbp import Tanh

    right = CliRunner().invoke(app, ["run", "--case", CASE, "--json"])
    assert (right.exit_code, annotations(right)) == (0, [])
    assert on_github.read_text().startswith("# Agree")
    monkeypatch.setattr(Tanh, "derivative", lambda self, z: 1 - abs(self.value(z)) ** 1.5)
    wrong = CliRunner().invoke(app, ["run", "--case", CASE, "--json"])
    assert wrong.exit_code == 1
    assert json.loads(wrong.stdout)["ok"] is False  # and nothing else on standard output
    (told,) = annotations(wrong)
    assert told["title"].startswith("Layer 2, Tanh: delta[2]")
    assert CASE in told["message"]
    assert "To see it again: oracle run --case" in told["message"]
    assert "# Does not agree" in on_github.read_text()


def test_rows_without_a_diagnosis_are_annotated_and_counted():
    from dataclasses import replace

    import oracle
    from oracle.manual_run import manual_run
    from oracle.report import Report
    from oracle.report.annotations import annotations

    case = oracle.build(oracle.Spec.parse("deep/float64/Tanh/Tanh/MSELoss"))
    trace = manual_run(case)
    nothing = replace(trace, gradients=(None,) * len(trace.gradients), parameter_gradients=tuple({} for _ in trace.gradients))
    report = Report(oracle.discrepancies(case, candidate=nothing))
    found = list(annotations(report))
    assert len(found) == github.SHOWN
    assert found[0].title.endswith("missing")
    assert found[-1].title == f"{len(report.failing) - github.SHOWN + 1} more fail"


def test_what_newly_fails_is_annotated_by_compare(on_github, monkeypatch, tmp_path):
    from manualbp import Tanh

    call = CliRunner()
    assert call.invoke(app, ["run", "--case", CASE, "--out", str(tmp_path / "before")]).exit_code == 0
    monkeypatch.setattr(Tanh, "derivative", lambda self, z: 2 - 2 * self.value(z) ** 2)
    assert call.invoke(app, ["run", "--case", CASE, "--out", str(tmp_path / "after")]).exit_code == 1
    found = call.invoke(app, ["compare", str(tmp_path / "before"), str(tmp_path / "after")])
    assert found.exit_code == 1
    told = annotations(found)
    assert told[0]["message"] == CASE
    assert "agree at" in told[0]["title"]
    assert "differ at" in told[0]["title"]
    assert call.invoke(app, ["compare", str(tmp_path / "after"), str(tmp_path / "after")]).exit_code == 0


def test_the_answers_of_a_port_are_annotated_in_their_files(on_github, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    answer = {
        "format": "oracle-vectors answer",
        "version": 1,
        "case": "2-4-3x5/float32/Tanh/Identity/MSELoss",
        "quantities": {"dC/db[2]": {"shape": [3], "decimal": [1, 2, 3]}},
    }
    (tmp_path / "mine.json").write_text(json.dumps(answer))
    found = CliRunner().invoke(app, ["vectors", "check", "mine.json"])
    assert found.exit_code == 1, found.output
    told = annotations(found)
    assert {each["file"] for each in told} == {"mine.json"}
    assert "To see it again: oracle vectors check mine.json" in told[0]["message"]
