"""What changed between two runs: each kind of change planted in a copy of a real table, and nothing else told."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from oracle.cli import app
from oracle.compare import Comparison, Run
from oracle.report import Report
from oracle.sweep import run_cases
from oracle.tables import table

NAMES = ["notes/float64/Tanh/Sigmoid/BCELoss", "4-5-3x2/float32/GELU/LogSoftmax/NLLLoss"]


@pytest.fixture(scope="module")
def before():
    return Run("before", table(run_cases(NAMES, 0).rows).astype({"verdict": str, "case": str}))


def changed(run, at, **values):
    """A run in which some rows have other values."""
    other = run.table.copy()
    for name, value in values.items():
        other.loc[at, name] = value if isinstance(value, str) else np.float32(value)
    return Run("after", other)


def told(comparison):
    """What is in the lists that are not empty."""
    return {
        name: [*zip(rows["case"], rows["comparison"], rows["symbol"], strict=True)]
        for name, rows in comparison.lists.items()
        if len(rows)
    }


def row(run, at):
    found = run.table.loc[at]
    return found["case"], found["comparison"], found["symbol"]


def test_a_run_and_itself_differ_in_nothing(before):
    found = Comparison(before, before)
    assert found.ok
    assert told(found) == {}
    assert found.answer == f"Nothing fails that did not fail before; {len(before.table)} rows are in both. Nothing else changed."


def test_the_order_of_the_rows_does_not_matter(before):
    assert told(Comparison(before, Run("after", before.table.sample(frac=1, random_state=1)))) == {}


def test_a_new_failure_is_told_and_backwards_it_is_mended(before):
    after = changed(before, 5, verdict="differ", sigmas=1e3)
    found = Comparison(before, after)
    assert not found.ok
    assert told(found) == {"new failures": [row(before, 5)]}
    assert found.answer.startswith("1 row fails that did not before")
    back = Comparison(after, before)
    assert back.ok
    assert told(back) == {"mended": [row(before, 5)]}
    assert told(Comparison(after, after)) == {"failing in both": [row(before, 5)]}


def test_a_failure_without_a_number_stands_first(before):
    after = changed(changed(before, 5, verdict="differ", sigmas=1e3), 7, verdict="missing", sigmas=np.nan)
    assert told(Comparison(before, after)) == {"new failures": [row(before, 7), row(before, 5)]}


def test_margins_are_told_from_a_factor_and_a_sigma_on(before):
    base = changed(before, slice(None), sigmas=0.75)
    for now, factor, moves in (
        (1.4, 2, False),
        (1.6, 2, True),
        (1.6, 3, False),
        (0.9, 1.1, False),
        (0.0, 2, False),
        (4.0, 2, True),
    ):
        after = changed(base, 3, sigmas=now)
        for pair in ((base, after), (after, base)):
            assert told(Comparison(*pair, factor=factor)) == ({"margins moved": [row(before, 3)]} if moves else {}), (now, factor)


def test_rows_that_come_and_go(before):
    less = Run("after", before.table.drop(index=[2, 4]))
    found = Comparison(before, less)
    assert found.ok
    assert told(found).keys() == {"gone"}
    assert set(told(found)["gone"]) == {row(before, 2), row(before, 4)}
    assert told(Comparison(less, before)).keys() == {"appeared"}
    failing = changed(before, 2, verdict="differ")
    assert told(Comparison(less, failing)).keys() == {"appeared", "new failures"}, "what appears and fails is a new failure"


def test_a_kink_is_another_verdict_and_fails_when_strict(before):
    after = changed(before, 6, verdict="kink")
    assert told(Comparison(before, after)) == {"judged otherwise": [row(before, 6)]}
    assert told(Comparison(before, after, strict=True)) == {"new failures": [row(before, 6)]}


def test_nothing_in_common_is_no_success(before):
    found = Comparison(before, changed(before, slice(None), case="another"))
    assert not found.ok
    assert "no row in common" in found.answer


def test_rows_of_the_same_identity_are_told_apart_by_their_order(before):
    twice = Run("before", pd.concat([before.table, before.table], ignore_index=True))
    again = changed(twice, len(before.table) + 5, verdict="differ")
    assert told(Comparison(twice, twice)) == {}
    assert told(Comparison(twice, again)) == {"new failures": [row(before, 5)]}


def test_what_the_runs_were_made_with_is_told_where_it_differs(before):
    one, two = (
        replace(before, summary={"seed": 0, "tolerance": 16.0, "versions": {"torch": torch}}) for torch in ("2.13", "2.14")
    )
    assert Comparison(one, one).circumstances == []
    assert Comparison(one, two).circumstances == ["torch 2.13 → 2.14"]


def call(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def folders(before, tmp_path_factory):
    """Two runs on disk; a row fails in the second."""
    made = []
    for name, run in (("one", before), ("two", changed(before, 5, verdict="differ", sigmas=1e3))):
        folder = tmp_path_factory.mktemp(name)
        Report(run.table, seconds=1.0).write(folder)
        made.append(folder)
    return made


def test_the_command_compares_folders_and_files_and_its_status_says_it(folders, tmp_path):
    one, two = folders
    assert call(one, one).exit_code == 0
    assert call(one / "discrepancies.parquet", one / "summary.json").exit_code == 0
    found = call(one, two, "--out", tmp_path)
    assert found.exit_code == 1
    assert "agree at" in found.stdout
    assert "differ at 1e+03 sigmas" in found.stdout
    assert call(two, one).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"compare.json", "compare.md", "compare.html"}
    document = json.loads(call(one, two, "--json").stdout)
    assert document == json.loads((tmp_path / "compare.json").read_text())
    assert (document["ok"], document["counts"]["new failures"]) == (False, 1)
    assert document["rows"]["new failures"][0]["verdict_after"] == "differ"
    for text in ((tmp_path / "compare.md").read_text(), (tmp_path / "compare.html").read_text()):
        assert "New failures: 1" in text
        assert "1e+03" in text


@pytest.mark.parametrize(
    ("second", "message"),
    [("nothing", "there is no"), ("text", "is no parquet file"), ("columns", "has no column comparison, position"), ("folder", "there is no")],
)  # fmt: skip
def test_what_is_no_run_is_refused_before_anything_is_written(folders, tmp_path, second, message):
    (tmp_path / "text").write_text("x")
    (tmp_path / "folder").mkdir()
    pd.DataFrame({"case": ["x"]}).to_parquet(tmp_path / "columns")
    found = call(folders[0], tmp_path / second, "--out", tmp_path / "out")
    assert found.exit_code == 2
    assert message in found.stderr
    assert "oracle compare takes two runs" in found.stderr
    assert found.stdout == ""
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("factor", ["1", "0.5", "nan", "inf"])
def test_a_factor_is_above_one(folders, factor):
    found = call(*folders, "--factor", factor)
    assert found.exit_code == 2
    assert "--factor takes a number above 1" in found.stderr


def test_a_comment_takes_it_and_names_do_no_harm(before):
    evil = ("<script>alert(1)</script>|`x`\n# y " * 100) + "\U0001f9ee"
    many = pd.concat(
        [before.table.assign(case=f"{number} {evil}", module=evil, note=evil) for number in range(20)], ignore_index=True
    )
    found = Comparison(Run("b", many), changed(Run("b", many), slice(None), verdict="differ", sigmas=1e9))
    markdown, page = found.to_markdown(), found.to_html()
    assert len(markdown) < 45_000
    assert "<script>alert" not in page
    assert "\n# y" not in markdown
    assert len(page) < 200_000


def test_a_comparison_is_shown_as_a_page(folders, tmp_path, browser):
    call(*folders, "--out", tmp_path)
    for width, dark in ((1200, False), (390, True)):
        browser.open(tmp_path / "compare.html", width=width, dark=dark)
        assert "1 row fails that did not before" in browser.find("main > header").text
        assert "✗ differ" in browser.find("table").text
        assert browser.too_wide() <= 0
        assert browser.errors() == []
        assert browser.requests() == []
        assert browser.violations() == []
