"""Detection power: what is counted as found, missed, named; each count is shown with something wrong on purpose."""

import json
import shlex
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from manualbp import HalfSquaredError, ReLU
from oracle.case import Spec, SpecError
from oracle.cli import app
from oracle.diagnosis import Diagnosis, Location, Match, Part
from oracle.discrepancy import measure
from oracle.inputs import build
from oracle.mistakes import StepMistake, catalogue, planted
from oracle.mutants import comparison, smallest
from oracle.mutants.comparison import FINAL, ORACLE, Judged, Pick, judge_all, lines, picks
from oracle.mutants.detection import Detection
from oracle.mutants.page import percent, render
from oracle.mutants.run import Found, detect, tasks
from oracle.mutants.selection import Planting, cases, place, plantings
from oracle.mutants.smallest import Probe, probe
from oracle.mutants.tools import TOOLS, final, network
from oracle.mutants.trial import Bench, Outcome, try_all, try_one
from oracle.rounding import Scales
from support import draw

ONE = "notes/float64/Sigmoid/Tanh/MSELoss"
NAMED = {mistake.name: mistake for mistake in catalogue()}


def call(*arguments):
    return CliRunner().invoke(app, ["mutants", *map(str, arguments)])


@cache
def bench(text=ONE):
    return Bench.of(build(Spec.parse(text)))


def detection(*plantings, seed=0):
    return Detection(detect(tasks(plantings, seed)), seed=seed)


def changed(trace, factor):
    """The trace with the last layer's dC/dW multiplied by a number."""
    held = [dict(own) for own in trace.parameter_gradients]
    at = max(at for at, own in enumerate(held) if "weight" in own)
    held[at]["weight"] = held[at]["weight"] * factor
    return replace(trace, parameter_gradients=tuple(held))


# What becomes of one planted mistake.


def test_a_mistake_that_changes_nothing_is_equivalent_and_not_missed():
    nothing = StepMistake("nothing", "Nothing.", "a for a", "a", lambda network, at: True, lambda step: step.right)
    assert try_one(bench(), nothing, 2).outcome == Outcome.EQUIVALENT


def test_a_mistake_is_found_located_and_named():
    trial = try_one(bench(), NAMED["derivative forgotten"], 1)
    assert (trial.outcome, trial.located, trial.kink, trial.place) == (Outcome.NAMED, True, False, "first")
    assert trial.margin > 1


def test_a_comparison_that_sees_nothing_misses_it():
    huge = Scales(*({quantity: np.full(np.shape(each), 1e9) for quantity, each in part.items()} for part in bench().scale))
    trial = try_one(replace(bench(), scale=huge), NAMED["derivative forgotten"], 1)
    assert trial.outcome == Outcome.MISSED
    assert not trial.located
    assert 0 < trial.margin < 1


def answering(monkeypatch, *names):
    """Make every diagnosis name these mistakes at position 1."""
    matches = tuple(Match((Part(name, 1, "", "", ""),), 0.0) for name in names)
    location = Location((2,), ("delta[1]",))
    monkeypatch.setattr("oracle.mutants.trial.diagnose", lambda case, *given, **passed: Diagnosis(case, location, matches))


@pytest.mark.parametrize(
    ("names", "outcome"),
    [
        (["derivative forgotten"], Outcome.NAMED),
        (["derivative applied twice", "derivative forgotten"], Outcome.NAMED_IN_CLASS),
        (["derivative applied twice"], Outcome.MISNAMED),
        ([], Outcome.UNMATCHED),
    ],
)
def test_what_the_diagnosis_answers_is_what_is_counted(monkeypatch, names, outcome):
    answering(monkeypatch, *names)
    trial = try_one(bench(), NAMED["derivative forgotten"], 1)
    assert trial.outcome == outcome
    assert not trial.located, "the diagnosis says position 2"
    found = Detection(Found([trial]))
    assert found.ok == (outcome != Outcome.MISNAMED)
    assert found.total("misnamed") == (outcome == Outcome.MISNAMED)


def test_the_right_name_at_another_layer_is_misnamed(monkeypatch):
    answering(monkeypatch, "derivative forgotten")
    assert try_one(bench(), NAMED["derivative forgotten"], 3).outcome == Outcome.MISNAMED


def test_what_is_found_as_another_convention_at_a_kink_is_shown_apart():
    case = draw([ReLU()], HalfSquaredError(), (3, 3), 5, bias=False)
    case = replace(case, x=np.where(np.arange(5) == 2, 0.0, case.x))
    trial = try_one(Bench.of(case), NAMED["the other side at a kink"], 1)
    assert Outcome(trial.outcome).found
    assert trial.kink
    assert not try_one(Bench.of(case), NAMED["derivative forgotten"], 1).kink


# What is planted where.


def test_every_mistake_meets_every_record_place_and_shape():
    chosen = cases(activations=["ReLU", "Tanh"], losses=["MSELoss"], shapes=["notes", "deep"], dtypes=["float64", "float32"])
    every, some = plantings(chosen, every=True), plantings(chosen)
    assert sum(len(each.places) for each in every) == sum(len(list(planted(build(spec)))) for spec in chosen)

    def cells(found):
        for text, places in found:
            spec = Spec.parse(text)
            made = spec.network()
            for name, at in places:
                records = (*map(str, made.layers), str(made.loss))
                record = "Linear" if records[at].startswith("Linear(") else records[at]
                yield from ((name, record, spec.dtype), (name, place(made, at), spec.dtype), (name, str(spec.shape)))

    assert set(cells(every)) == set(cells(some))
    assert sum(len(each.places) for each in some) < sum(len(each.places) for each in every) / 2
    assert some == plantings(chosen)
    assert some != plantings(chosen, seed=1)


def test_one_mistake_is_planted_alone_and_one_that_can_be_made_nowhere_is_refused():
    (only,) = plantings(cases(texts=[ONE]), ["derivative forgotten"], every=True)
    assert only.places == (("derivative forgotten", 1), ("derivative forgotten", 3))
    with pytest.raises(SpecError, match="'mask inverted' can be made nowhere in the cases"):
        plantings(cases(texts=[ONE]), ["mask inverted"])


# Counts.


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory):
    """One run as a user makes it: the answer, and where its files are."""
    folder = tmp_path_factory.mktemp("mutants")
    arguments = ("--activation", "Tanh", "--loss", "MSELoss", "--shape", "notes", "--dtype", "float64", "--dtype", "float32")
    done = call(*arguments, "--jobs", 1, "--json", "--out", folder)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), folder


def test_the_counts_add_up(narrowed):
    found, _ = narrowed
    for dtype in ("float64", "float32"):
        count = {name: found[name][dtype] for name in found if isinstance(found[name], dict) and dtype in found[name]}
        assert count["planted"] == count["equivalent"] + count["found"] + count["missed"] > 50
        assert count["found"] == count["named"] + count["named_in_class"] + count["misnamed"] + count["unmatched"]
        assert count["missed"] == count["misnamed"] == count["false_alarms"] == 0
        assert count["equivalent"] > 0
        assert count["named"] > 20
        assert count["located"] == count["found"]
        assert count["correct_rows"] > 10
    assert found["ok"] is True
    assert found["seed"] == 0
    assert found["comparison"] == found["smallest_visible_error"] == [], "a narrowed run is about the mistakes alone"
    assert {"python", "torch", "numpy"} <= found["versions"].keys()


def test_the_files_say_the_same(narrowed):
    import pandas as pd

    found, folder = narrowed
    assert {file.name for file in folder.iterdir()} == {"summary.json", "trials.parquet", "mutants.md", "mutants.html"}
    assert json.loads((folder / "summary.json").read_text()) == found
    table = pd.read_parquet(folder / "trials.parquet")
    assert len(table) == sum(found["planted"].values())
    assert (table["outcome"] == "named").sum() == sum(found["named"].values())
    page = (folder / "mutants.html").read_text()
    assert page.count("<rect") == len(set(zip(table["mistake"], table["dtype"], strict=True)))
    assert found["answer"] in page
    assert "derivative forgotten" in (folder / "mutants.md").read_text()


def test_a_false_alarm_is_counted_and_fails(monkeypatch):
    spoilt = changed(bench().honest, 1 + 1e-9)
    monkeypatch.setattr("oracle.mutants.trial.manual_run", lambda case: spoilt)
    found = detection(Planting(ONE, (("derivative forgotten", 1),)))
    assert found.counts["false_alarms"] == {"float64": 1}
    assert not found.ok
    assert "1 of 28 comparisons fails" in found.answer
    assert found.summary()["false_alarm_list"][0]["symbol"] == "dC/dW[2]"


def test_missed_ones_are_listed_with_the_command_that_plants_them_again(monkeypatch):
    text = "notes/float64/Tanh/Identity/MSELoss(reduction='sum')"
    with monkeypatch.context() as patch:
        patch.setattr("oracle.mutants.trial.compare", lambda *given, **named: ())
        blind = detection(Planting(text, (("derivative forgotten", 1), ("dW transposed", 0))), seed=3)
    assert blind.counts["missed"] == {"float64": 2}
    assert not blind.ok
    (first, _) = blind.summary()["missed_list"]
    assert (first["mistake"], first["position"], first["dtype"]) == ("derivative forgotten", 1, "float64")
    for template in ("mutants.html.j2", "mutants.md.j2"):
        assert "derivative forgotten" in render(blind, template)
    command, name, *rest = shlex.split(first["command"])
    assert (command, name) == ("oracle", "mutants")
    again = json.loads(call(*rest, "--json").stdout)
    assert again["seed"] == 3
    assert again["planted"] == {"float64": 2}, "behind either Linear"
    assert again["equivalent"] == {"float64": 1}, "and the output's activation is Identity"


def test_missing_in_half_precision_alone_does_not_fail():
    trial = try_one(bench(), NAMED["derivative forgotten"], 1)._replace(outcome=Outcome.MISSED)
    assert not Detection(Found([trial])).ok
    assert Detection(Found([trial._replace(dtype="float16")])).ok
    assert not Detection(Found()).ok, "nothing planted is no success"


def test_only_all_is_100_percent():
    assert percent(1) == "100 %"
    assert percent(99_999, 100_000) == "99.9 %"
    assert percent(1, 100_000) == "< 0.1 %"
    assert percent(0, 5) == "0 %"
    assert percent(0, 0) == "none"


# What people use.


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_accepts_a_right_gradient_and_refuses_what_it_is_made_for(name):
    case, accepts = bench().case, TOOLS[name]
    net, right = network(case), final(case, bench().honest)
    assert accepts(net, right)
    first, *others = right
    for wrong in (
        [None, *others],
        [torch.full_like(first, torch.nan), *others],
        [first.mT, *others],
        [first + torch.linspace(-3, 3, first.numel()).reshape(first.shape), *others],
        [*right[:-1], -1e3 - right[-1]],
    ):
        assert not accepts(net, wrong)


def test_rules_of_thumb_are_blind_where_they_are_said_to_be():
    case = bench().case
    net, right = network(case), final(case, bench().honest)
    doubled, moved = [2 * each for each in right], [each + 1e-9 for each in right]
    assert TOOLS["cosine similarity 0.99"](net, doubled)
    assert TOOLS["absolute error 2e-2"](net, [each + 0.019 for each in right])
    assert not TOOLS["absolute error 2e-2"](net, [each + 0.021 for each in right])
    assert TOOLS["torch.allclose"](net, moved)
    assert TOOLS["gradcheck"](net, moved)
    assert not TOOLS["relative error 1e-7"](net, [each * (1 + 2e-7) for each in right])
    assert TOOLS["relative error 1e-7"](net, [each * (1 + 0.5e-7) for each in right])


def test_a_tool_that_accepts_everything_finds_nothing_and_one_that_refuses_everything_finds_all(monkeypatch):
    monkeypatch.setattr("oracle.mutants.tools.TOOLS", {"yes": lambda net, found: True, "no": lambda net, found: False})
    table = {line.tool: line for line in lines(judge_all(Pick("sweep", "float64", 0, (ONE,)), 0))}
    assert list(table) == [ORACLE, FINAL, "yes", "no"]
    assert [(line.planted, line.found, line.correct, line.alarms, line.named) for line in table.values()] == [
        (1, 1, 1, 0, 1),
        (1, 1, 1, 0, 1),
        (1, 0, 1, 0, 0),
        (1, 1, 1, 1, 0),
    ]


def test_a_line_counts_by_dtype_and_source():
    one = Judged("tool", "a", "float64", "sweep", "m", 0, True, False, True, 2.0)
    (line,) = lines(
        [one, one._replace(found=False, alarm=True, named=False, ratio=4.0), one._replace(source="random", ratio=10.0)]
    )
    assert (line.planted, line.found, line.alarms, line.named, line.ratio) == (3, 2, 1, 2, 4.0)
    assert {source: each["found"] for source, each in line.by_source.items()} == {"sweep": 1, "random": 1}
    assert {(each.dtype, each.found) for each in lines([one, one._replace(dtype="float32", found=False)])} == {
        ("float64", 1),
        ("float32", 0),
    }


def test_cases_of_the_comparison_are_small_of_the_dtype_and_drawn_too(monkeypatch):
    monkeypatch.setattr(comparison, "CASES", 2)
    chosen = picks(cases(shapes=["notes", "deep"]), 0)
    assert [(pick.source, pick.dtype) for pick in chosen[:4]] == [("sweep", "float64")] * 2 + [("random", "float64")] * 2
    made, mistake, position = comparison._chosen(Pick("random", "float32", 0), 0)
    assert str(made.case.dtype) == "float32"
    assert made.case.name.startswith("random/")
    assert not mistake.equivalent(made.case, position)
    assert comparison._chosen(Pick("sweep", "float64", 0, ("deep/float64/Tanh/Identity/MSELoss",)), 0) is None


# The smallest visible error.

SMALL = "8-7-3x5/{}/Tanh/Identity/CrossEntropyLoss"


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_an_error_of_the_threshold_is_seen_and_half_of_it_is_not(dtype):
    made = bench(SMALL.format(dtype))
    by_symbol = {quantity.symbol: quantity for quantity in made.scale.through}
    probes = probe(dtype, 0, 12, SMALL)
    assert [each.kind for each in probes] == ["large"] * 12 + ["any"] * 12
    for each in probes:
        quantity = by_symbol[each.symbol]
        honest, wanted = made.honest.quantities()[quantity], made.reference.quantities()[quantity]
        for eps, seen in ((each.eps, True), (each.eps / 2, False)):
            spoilt = honest.copy()
            spoilt[each.at] = float(honest[each.at]) * (1 + eps)
            assert (measure(spoilt, wanted, made.scale.through[quantity]).verdict != "agree") == seen
        assert each.kind == "any" or abs(each.value) >= np.sqrt(np.mean(honest.astype(float) ** 2))


def test_an_error_that_is_never_seen_has_no_threshold(monkeypatch):
    monkeypatch.setattr(smallest, "measure", lambda found, wanted, scale: measure(wanted, wanted, scale))
    assert {each.eps for each in probe("float64", 0, 2, SMALL)} == {np.inf}


def test_half_and_all_are_read_off_the_probes():
    probes = [Probe("float64", "any", "dC/dx", (at,), 1.0, eps, 3.0) for at, eps in enumerate([1e-11, 1e-14, 1e-13, 1e-12])]
    (line,) = smallest.smallest(probes)
    assert (line.half, line.every, line.goal, line.at_goal, line.elements) == (1e-13, 1e-11, 1e-12, 3, 4)
    assert line.worst["at"] == [0]
    (half,) = smallest.smallest([each._replace(dtype="float16") for each in probes])
    assert half.goal is half.at_goal is None


# The call.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mistake", "derivative forgoten"), "Did you mean 'derivative forgotten'"),
        (("--dtype", "float46"), "unknown dtype"),
        (("--loss", "MSE"), "unknown loss"),
        (("--case", ONE, "--shape", "notes"), "--case names the whole case"),
        (("--case", "notes/float64"), "a case is written"),
        (("--mistake", "mask inverted", "--activation", "Tanh", "--loss", "MSELoss"), "can be made nowhere"),
        (("--out", __file__), "--out takes a folder"),
        (("--out", ""), "takes the name of a folder"),
    ],
)
def test_what_the_call_got_wrong_is_refused_before_any_work(arguments, message, monkeypatch):
    monkeypatch.setattr("oracle.mutants.run.detect", lambda *given, **options: pytest.fail("it began to work"))
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
    assert done.stdout == ""


def test_a_missed_mistake_exits_with_1_and_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("oracle.mutants.trial.compare", lambda *given, **named: ())
    done = call("--case", ONE, "--mistake", "derivative forgotten", "--jobs", 1, "--out", tmp_path)
    assert done.exit_code == 1
    assert "0 of 2 planted mistakes that can show are found" in " ".join(done.stdout.split())
    assert "--mistake 'derivative forgotten' --case" in done.stdout
    assert "Missed" in (tmp_path / "mutants.html").read_text()


def test_one_case_writes_nothing_unless_asked(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = call("--case", ONE, "--mistake", "derivative forgotten", "--jobs", 1)
    assert done.exit_code == 0
    assert "planted" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_the_oracle_itself_cannot_do_is_told_and_fails(monkeypatch):
    def broken(case):
        raise RuntimeError("no torch today")

    monkeypatch.setattr("oracle.mutants.trial.torch_run", broken)
    found = detection(Planting(ONE, (("derivative forgotten", 1),)))
    assert found.found.failures == [f"try_all, {ONE}: RuntimeError: no torch today"]
    assert not found.ok
    assert "1 task could not be finished" in found.answer
    for template in ("mutants.html.j2", "mutants.md.j2"):
        assert "no torch today" in render(found, template)


def test_processes_do_not_change_the_result():
    wanted = tasks([Planting(ONE, (("derivative forgotten", 1),)), Planting(ONE, (("dW transposed", 0),))], 0)
    assert detect(wanted, jobs=2) == detect(wanted, jobs=1)


def test_trials_of_a_case_stand_for_it():
    tried = try_all(Planting(ONE, (("derivative forgotten", 1), ("derivative forgotten", 3))), 0)
    assert [trial.position for trial in tried.trials] == [1, 3]
    assert (tried.dtype, tried.rows, tried.alarms) == ("float64", 28, [])


@pytest.mark.parametrize(
    ("case", "mistake"),
    [
        ("tall/bfloat16/LeakyReLU/Identity/SmoothL1Loss(reduction='sum', beta=0.0)", "mean for sum"),
        ("many/bfloat16/Hardsigmoid/Identity/CrossEntropyLoss(weight=(0.5, 0.75), ignore_index=1, label_smoothing=0.25)", "weight overlooked"),
    ],
)  # fmt: skip
def test_a_mistake_that_hides_in_the_allowance_of_its_own_layer_is_named_by_what_follows(case, mistake):
    """On the first a kink allows the loss's gradient much, end to end; on the second every layer is just within its allowance."""
    (trial,) = try_all(Planting(case, ((mistake, 4),)), 0).trials
    assert trial.outcome == Outcome.NAMED_IN_CLASS


def test_a_fault_that_the_referee_lets_pass_layer_by_layer_is_located_all_the_same():
    """A mean over no sample: NaN is as true as torch's 0, and end to end it differs from the loss on."""
    case = "batch1/float64/Softmin/GELU/CrossEntropyLoss(weight=(0.5, 0.75, 1.0), ignore_index=1)"
    (trial,) = try_all(Planting(case, (("softmax's derivative once more", 4),)), 0).trials
    assert (trial.outcome, trial.located) == (Outcome.NAMED_IN_CLASS, True)
