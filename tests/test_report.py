"""The report as files and as text: complete, honest about failures, escaped, whole or not there at all."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import oracle.sweep
from manualbp import Identity, Linear, MSELoss, ReLU, Tanh
from oracle.case import Spec
from oracle.check import discrepancies, table
from oracle.data import DATA
from oracle.files import Batch, OutputError, check_folder
from oracle.inputs import build
from oracle.manual_run import layerwise_run, manual_run
from oracle.report import Report
from oracle.report.embedded import INFINITE, NAN, decimal
from oracle.report.grid import activation_by_loss, layer_by_quantity
from oracle.report.text import markdown_code, markdown_text
from oracle.report.words import answer, reasons
from oracle.sweep import advise, failing, run_cases, sweep
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
    cells = re.findall(r'<td class="h hfails"><a [^>]*>([^<]*)</a>', bad.to_html())
    assert {cell[-1] for cell in cells} == {"✗", "∞"}, "the heatmaps mark it without colour"


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
    assert page.tags.count("svg") == 4, "error over sigma, against depth and width, in ulps, training curves"
    assert page.tags.count("h1") == 1
    assert "url(http" not in good.to_html()
    assert "@import" not in good.to_html()


def test_names_from_a_case_are_escaped(bad):
    hostile = bad.table.copy()
    hostile["case"] = pd.Categorical(["data/<script>alert(1)</script>/step 3"] * len(hostile))
    hostile["note"] = "<img src=x onerror=alert(1)>"
    page = replace(bad, table=hostile).to_html()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert" in page


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
    assert "Nothing was compared" in empty.to_html()


def test_what_is_not_known_of_a_run_is_not_told(good):
    asked = replace(good, command="", seconds=math.nan)
    for text in (asked.to_markdown(), asked.to_html()):
        assert re.search("Made(,| with) seed 0", text)
        assert "nan s" not in text


def swept(texts, **options):
    found = sweep(texts, 0, jobs=1)
    return Report(table(found.rows), found.curves, found.diagnoses, **options)


def square_forgotten(self, z):
    return 1 - np.tanh(z)


@pytest.fixture(scope="module")
def advised():
    """A network and tanh alone, where the derivative of tanh lacks its square; and a network without tanh."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tanh, "derivative", square_forgotten)
        return swept([NAMES[1], NAMES[0], "alone/4x7x3/float32/Tanh/generic"])


def test_the_failing_report_says_where_what_how_far_and_how_to_repeat_it(advised):
    assert [advice.case for advice in advised.diagnoses] == [NAMES[0], "alone/4x7x3/float32/Tanh/generic"]
    document = json.loads(advised.to_json())["diagnoses"]
    assert [(each["location"], each["inferred"]) for each in document] == [
        ("Layer 1, Tanh: delta[1]", False),
        ("Tanh: dC/dx", False),
    ]
    (match,) = document[0]["matches"]
    assert (match["name"], match["position"], match["match"]) == ("square forgotten", 1, 0)
    assert match["sigmas"] < 1
    assert {"explanation", "effect", "formula"} <= {name for name, text in match.items() if text}
    assert document[1]["repeat"] == "oracle run --case alone/4x7x3/float32/Tanh/generic --seed 0"
    for text, table_at in ((advised.to_markdown(), "| verdict |"), (advised.to_html(), "<h2>What fails")):
        told = text[text.index("Where to look") : text.index(table_at)]
        for words in (
            "Layer 1, Tanh: delta[1]",
            "square forgotten",
            "Off: delta[1] by ",
            "the formula: delta[l]",
            "To see it again",
        ):
            assert words in told
        assert "not diagnosed" not in text


def test_a_right_run_gets_no_advice():
    right = swept(NAMES[:2])
    assert right.ok
    assert json.loads(right.to_json())["diagnoses"] == []
    assert "Where to look" not in right.to_markdown() + right.to_html()


def test_what_a_diagnosis_says_is_escaped(advised):
    evil = "<script>alert(1)</script> [x](http://y) *z*\n# w | `v`"
    advice = replace(advised.diagnoses[0], case=evil, location=evil, lines=(("title", evil), ("what", evil)))
    report = replace(advised, diagnoses=[advice])
    assert report.to_html().count("&lt;script&gt;alert(1)") == 4
    assert "<script>alert" not in report.to_html()
    told = report.to_markdown().split("## Where to look")[1].split("## What fails")[0]
    assert told.count(r"\<script\>alert(1)\</script\> [x]\(http://y) \*z\* \# w \| \`v\`") == 2
    assert "\n# w" not in told
    hostile = advised.table.assign(module="<b>|m", case="a`b|c")
    assert r"\<b\>\|m" in replace(advised, table=hostile).to_markdown()
    assert "`a'b/c`" in replace(advised, table=hostile).to_markdown()


@pytest.mark.parametrize(
    ("text", "shown"), [("g[2](z)", r"g[2]\(z)"), ("1 - a^2", "1 - a^2"), ("W * a", r"W \* a"), ("\\", r"\\")]
)
def test_markdown_shows_text_as_it_is(text, shown):
    assert markdown_text(text) == shown
    assert markdown_code("a`\n|") == "`a' /`"


def test_only_the_first_cases_are_diagnosed_and_the_others_counted(monkeypatch):
    monkeypatch.setattr(Tanh, "derivative", square_forgotten)
    names = [f"4-{width}-3x5/float64/Tanh/Sigmoid/BCELoss" for width in range(2, 5)]
    monkeypatch.setattr(oracle.sweep, "DIAGNOSED", 2)
    report = swept(names)
    assert [advice.case for advice in report.diagnoses] == names[:2]
    for text in (report.to_markdown(), report.to_html()):
        assert "Failing cases beyond these, not diagnosed: 1." in text


def test_what_passed_is_not_diagnosed(monkeypatch):
    """Two layers are wrong; where the rows of one have passed, the advice is about the other."""
    monkeypatch.setattr(Tanh, "derivative", square_forgotten)
    text = "notes/float64/Tanh/Tanh/MSELoss"
    found = failing(run_cases([text], 0).rows)[text]
    assert advise(text, 0, found).location == "Layer 2, Tanh: delta[2] and delta[1]; also layer 1, Tanh"
    assert advise(text, 0, [row for row in found if row.symbol != "delta[2]"]).location == "Layer 1, Tanh: delta[1]"


WRONG = """
import sys
import numpy as np
from manualbp import Tanh
from oracle import sweep

sweep.DIAGNOSED = 6
Tanh.derivative = lambda self, z: 1 - np.tanh(z)  # in the workers too, which import this file
if __name__ == "__main__":
    names = [f"4-{width}-3x5/float64/Tanh/Sigmoid/BCELoss" for width in range(2, 10)]
    print(sweep.sweep(names, 0, jobs=int(sys.argv[1])).diagnoses)
"""


def test_processes_give_the_same_diagnoses_as_one(tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    one, two = (
        subprocess.run([sys.executable, tmp_path / "wrong.py", jobs], capture_output=True, text=True, check=True).stdout
        for jobs in ("1", "2")
    )
    assert one == two
    assert one.count("Advice(") == 6


def test_a_training_that_departs_on_the_way_is_told_from_a_wrong_gradient(monkeypatch):
    import oracle.training

    monkeypatch.setitem(DATA, "iris", replace(DATA["iris"], steps=3))
    right = oracle.training.descend
    monkeypatch.setattr(oracle.training, "descend", lambda params, grads, alpha: right(params, grads, 2 * alpha))
    report = swept(["data/iris/float64"])
    assert [advice.location for advice in report.diagnoses] == ["Right at the start of the training; C is not at step 1"]
    assert not report.undiagnosed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda gradient, grads: (gradient * np.nan, grads),
        lambda gradient, grads: (gradient[:, :1], grads),
        lambda gradient, grads: (gradient, {"weight": grads["weight"]}),
        lambda gradient, grads: (gradient, grads | {"weight": grads["weight"].astype(np.float32)}),
        lambda gradient, grads: 1 / 0,
    ],
    ids=["not finite", "shape", "missing", "dtype", "raises"],
)
def test_whatever_a_layer_returns_is_diagnosed(spoil, monkeypatch):
    right = Linear.backward
    monkeypatch.setattr(Linear, "backward", lambda *given: spoil(*right(*given)))
    report = swept([NAMES[0]])
    assert not report.ok
    assert report.diagnoses[0].location.startswith(("Layer", "Between"))
    json.loads(report.to_json())
    report.to_html()


def fails_in(grid):
    return [cell.fails for cell in grid.cells.values()]


KINKS = "alone/3x31/float64/ReLU/kinks"


@pytest.fixture(scope="module")
def at_kinks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReLU, "passed", lambda self, z, grad_output: np.where(z < 0, 0, grad_output))
        return swept([KINKS])


def test_another_subgradient_is_explained_and_fails_only_when_asked(at_kinks):
    assert at_kinks.verdicts()["kink"] == 1
    assert at_kinks.ok
    assert "In 1 an input lies on a kink" in answer(at_kinks)
    assert fails_in(activation_by_loss(at_kinks)) == [False]
    strict = replace(at_kinks, strict=True)
    assert not strict.ok
    assert "1 of 2 comparisons in 1 case fail: 1 kink." in answer(strict)
    assert fails_in(activation_by_loss(strict)) == [True]
    assert strict.repeat(KINKS).endswith(" --strict")
    for text, told in ((at_kinks.to_markdown(), "*kink*"), (at_kinks.to_html(), "<em>kink</em>")):
        assert told in text.split("Different and no error")[1]
        assert "What fails" not in text
    for text in (strict.to_markdown(), strict.to_html()):
        assert "What fails" in text
        assert "Different and no error" not in text


def test_the_limit_and_how_close_it_was_are_in_the_first_sentence(good):
    assert f"by at most {good.table['sigmas'].max():.3g} of the 16 sigmas allowed" in answer(good)
    assert "| sigmas |" in good.to_markdown()


def test_a_megabyte_of_text_is_clipped_and_a_comment_takes_the_markdown(advised):
    evil = "<script>alert(1)</script>|`x`\n# y \U0001f9ee " * 30_000
    many = [
        replace(advised.diagnoses[0], case=f"{number} {evil}", location=evil, lines=(("title", evil), *[("why", evil)] * 12))
        for number in range(20)
    ]
    rows = pd.concat([advised.table.astype({"case": str, "module": str, "symbol": str})] * 3, ignore_index=True)
    rows.loc[:, ["module", "note", "symbol"]] = evil[:5000]
    rows.loc[0, "case"] = evil
    rows["verdict"] = "differ"
    report = replace(advised, table=rows, diagnoses=many, command=evil)
    markdown, page = report.to_markdown(), report.to_html()
    assert len(markdown) < 65_536 * 0.8
    assert "\n# y" not in markdown
    assert f"{len(evil):,} characters" in markdown
    assert len(page) < 1_000_000
    assert "<script>alert" not in page


def test_the_markdown_gets_shorter_only_where_it_has_to(advised):
    assert "rows are shown" not in advised.to_markdown()
    count = len(advised.failing)
    assert advised.to_markdown().count("| **differ** |") == min(count, 20)


def test_the_reasons_stand_behind_the_answer_everywhere(advised, capsys):
    from rich.console import Console

    from oracle.terminal import show_report

    (reason,) = reasons(advised)
    assert reason == "Layer 1, Tanh: delta[1]: it looks like “square forgotten” (2 of 2 diagnosed cases)."
    show_report(Console(width=200), advised)
    for text in (advised.to_markdown(), advised.to_html(), capsys.readouterr().out):
        assert reason in text.replace("\\", "")


def test_a_layers_fault_and_what_the_others_inherit_are_told_apart(advised):
    layers = layer_by_quantity(replace(advised, table=advised.table[advised.table["case"] == NAMES[0]]))
    assert {layer.name: layer.reading for layer in layers.layers} == {
        "1 Linear(3, 3)": "inherited",
        "1 Tanh": "own fault",
        "2 Linear(3, 3)": "agrees",
        "2 Sigmoid": "agrees",
        "2 BCELoss": "agrees",
    }
    right = layer_by_quantity(swept(NAMES[1:2]))
    assert {layer.reading for layer in right.layers} == {"agrees"}


def test_a_cell_is_the_worst_of_what_pandas_finds(advised, good):
    for report in (advised, good):
        grid = activation_by_loss(report)
        assert grid.cells
        for (activation, loss), cell in grid.cells.items():
            named = [
                name for name in report.cases if activation in report.parts[name].activations and report.parts[name].loss == loss
            ]
            rows = report.table[report.table["case"].isin(named)]
            fails = rows[rows["verdict"].isin(report.fails)]
            assert cell.rows == len(rows)
            assert cell.fails == (len(fails) > 0)
            assert cell.sigmas == pytest.approx((fails if len(fails) else rows)["sigmas"].max())


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -9.996e-5, 1.23456e300, -5e-324, np.inf, -np.inf, np.nan, 999.5, 0.1])
def test_three_digits_of_a_number_come_back(value):
    digits, powers = decimal(np.array([value]))
    if np.isfinite(value):
        assert float(f"{digits[0]}e{powers[0]}") == float(f"{value:.2e}")
    else:
        assert powers[0] == (NAN if np.isnan(value) else INFINITE)
        assert np.isnan(value) or digits[0] == np.sign(value)
