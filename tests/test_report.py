"""The report as files and as text: complete, honest about failures, escaped, whole or not there at all."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from manualbp import Identity, MSELoss, Tanh
from oracle.case import Spec
from oracle.check import discrepancies, table
from oracle.files import Batch, OutputError, check_folder
from oracle.inputs import build
from oracle.manual_run import layerwise_run, manual_run
from oracle.report import Report
from oracle.sweep import run_cases
from oracle.torch_run import torch_run
from oracle.training import Curves
from support import draw, planted, with_layer

NAMES = ["notes/float64/Tanh/Sigmoid/BCELoss", "deep/float32/GELU/Identity/MSELoss", "ones/float32/ReLU/LogSoftmax/NLLLoss"]
CURVES = Curves("data/iris/float64", "iris", "float64", 2, "accuracy", 0.9, 1e-16, [1.0, 0.5, 0.4], [1.0, 0.5, 0.4])
FILES = {"summary.json", "discrepancies.parquet", "discrepancies.csv", "report.md", "report.html"}


@pytest.fixture(scope="module")
def good():
    return Report(table(run_cases(NAMES, 0).rows), [CURVES], seed=0, seconds=1.5, command="oracle run", jobs=2)


@pytest.fixture(scope="module")
def bad():
    case = build(Spec.parse(NAMES[0]), 0)
    honest = manual_run(case)
    grads = [dict(own) for own in honest.parameter_gradients]
    grads[0]["weight"] = grads[0]["weight"] * 1.001
    grads[2]["bias"] = grads[2]["bias"] * np.nan
    wrong = replace(honest, parameter_gradients=tuple(grads))
    return Report(discrepancies(case, candidate=wrong), seed=0, seconds=1.0, command="oracle run --case x")


def test_all_files_are_written_and_read_back(good, tmp_path):
    good.write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    back = pd.read_parquet(tmp_path / "out" / "discrepancies.parquet")
    pd.testing.assert_frame_equal(back.astype(object), good.table.astype(object))
    csv = pd.read_csv(tmp_path / "out" / "discrepancies.csv", dtype=str)
    assert list(csv["symbol"]) == list(good.table["symbol"])
    assert [float(text) for text in csv["reference"]] == list(good.table["reference"])


def test_summary_holds_what_was_covered(good):
    summary = json.loads(good.to_json())
    keys = "versions seed seconds cases rows verdicts activations losses shapes dtypes worst training"
    assert set(keys.split()) <= set(summary)
    assert summary["ok"] is True
    assert summary["cases"] == 3
    assert summary["rows"] == len(good.table) == summary["verdicts"]["agree"]
    assert summary["activations"] == ["GELU", "Identity", "LogSoftmax", "ReLU", "Sigmoid", "Tanh"]
    assert summary["losses"] == ["BCELoss", "MSELoss", "NLLLoss"]
    assert summary["shapes"] == ["notes", "deep", "ones"]
    assert summary["dtypes"] == ["float32", "float64"]
    iris = summary["training"]["iris"]
    assert (iris["steps"], iris["metric"], iris["score"], iris["max_loss_difference"]) == (2, "accuracy", 0.9, 1e-16)
    assert iris["dtypes"]["float64"]["final_loss"] == 0.4
    assert summary["worst"]["margin"] == pytest.approx(good.table["margin"].max())
    assert {"torch", "numpy", "python"} <= set(summary["versions"])


def test_a_failing_report_says_so_everywhere(bad):
    assert not bad.ok
    summary = json.loads(bad.to_json())
    assert summary["verdicts"]["differ"] == 1
    assert summary["verdicts"]["nonfinite"] == 1
    assert summary["worst"]["symbol"] == "dC/db[2]", "a row without a number comes first"
    for text in (bad.to_markdown(), bad.to_html()):
        assert "Does not agree" in text
        assert "2 of 28 comparisons" in text
        assert "dC/dW[1]" in text
        assert "--case notes/float64/Tanh/Sigmoid/BCELoss --seed 0" in text
    assert "fails" in bad.to_html(), "the heatmap marks it without colour"


def test_a_layers_own_faults_are_shown_before_inherited_ones():
    case = draw([Tanh(), Identity()], MSELoss(), (4, 5, 3), 6)
    wrong = with_layer(case, 2, planted(case.network.layers[2], lambda result: (2 * result[0], result[1])))
    found = Report(discrepancies(case, candidate=manual_run(wrong), layerwise=layerwise_run(wrong, torch_run(case)))).shown_first
    assert list(found["comparison"])[:2] == ["layerwise", "end to end"]
    assert found.iloc[0]["symbol"] == "dC/da[1]"
    assert len(found) == 6


class Balance(HTMLParser):
    """Collects tags that open, and what could reach for the network."""

    def __init__(self):
        super().__init__()
        self.tags, self.reaches = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.reaches += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href") and value and not value.startswith(("#", "data:"))
        ]


def test_page_needs_nothing_but_itself(good):
    page = Balance()
    page.feed(good.to_html())
    assert page.reaches == []
    assert page.tags.count("svg") == 4
    assert page.tags.count("h1") == 1
    assert "url(http" not in good.to_html()
    assert "@import" not in good.to_html()


def test_names_from_a_case_are_escaped(bad):
    hostile = bad.table.copy()
    hostile["case"] = pd.Categorical(["data/<script>alert(1)</script>/step 3"] * len(hostile))
    hostile["note"] = "<img src=x onerror=alert(1)>"
    page = replace(bad, table=hostile).to_html()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_same_seed_same_table_byte_for_byte(tmp_path):
    for name in ("one", "two"):
        Report(table(run_cases(NAMES, 7).rows), seed=7, seconds=1.0).write(tmp_path / name)
    for file in ("discrepancies.csv", "discrepancies.parquet", "report.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_another_seed_gives_another_table():
    assert not table(run_cases(NAMES, 7).rows).equals(table(run_cases(NAMES, 8).rows))


def test_nothing_appears_when_writing_fails(good, tmp_path, monkeypatch):
    def fails(self):
        raise RuntimeError("no picture")

    monkeypatch.setattr(Report, "to_html", fails)
    with pytest.raises(RuntimeError, match="no picture"):
        good.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with Batch(tmp_path) as batch:
        batch.text("summary.json", "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "summary.json"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"takes a folder that can be written; .*file.*Choose another"):
            check_folder(folder)


def test_an_empty_table_is_not_agreement():
    empty = Report(table([]), seconds=0.0)
    assert not empty.ok
    assert "Nothing was compared" in empty.to_markdown()
    assert json.loads(empty.to_json())["rows"] == 0
