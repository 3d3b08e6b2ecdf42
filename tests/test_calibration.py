"""Correct networks drawn at random raise no alarm; and an alarm, or a scale that is too wide, would be seen."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from manualbp import Activation, Linear, Loss, catalogue
from oracle import check, drawn, judge
from oracle.calibration import Calibration, Tally, calibrate, count
from oracle.calibration.model import MEDIAN, quantile
from oracle.calibration.tally import EDGES, EQUAL, LARGEST, NO_NUMBER, bin_of
from oracle.case import SpecError
from oracle.cli import app
from oracle.inputs import generator
from oracle.suite import parse
from oracle.verdict import TOLERANCE
from support import scale_element

#: Networks of the ordinary test run, and how many one test takes.
NETWORKS, PART = 2000, 100


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("first", range(0, NETWORKS, PART))
def test_correct_networks_raise_no_alarm(first):
    found = Calibration(count(range(first, first + PART), 0), first)
    assert found.tally.cases == PART
    told = [
        f"{found.repeat(row)}: {row.comparison} {row.symbol} {row.module} {row.sigmas:.3g} {row.note}" for row in found.alarms
    ]
    assert found.ok, "\n".join(told)


@pytest.mark.parametrize("number", [4703, 5321, 12158, 21054, 24088, 31959, 41268, 44574, 59498, 72293, 79660])
def test_what_was_an_alarm_once_is_none(number):
    """One of 24,500 numbers that three coins hardly moved; an infinity whose scale is no number; a sigmoid that may be 1;
    CTC over one class; what no replica holds; a softmax of inf; products of small numbers beside large ones; kinks that decide
    all of a chain; a slope of 1e-317 times 1e54; a saturated gate; 1 / a of any a."""
    found = Calibration(count([number], 0), number)
    assert found.ok, found.alarms


# What is drawn


def test_what_is_drawn_stays_in_its_ranges_and_reaches_all_of_the_catalogue():
    met, depths = set(), set()
    for number in range(3000):
        network, extra, m = drawn._network(generator(0, f"any/{number}"))
        linear = [layer for layer in network.layers if isinstance(layer, Linear)]
        output = network.output_shape((linear[0].in_features, *extra, m))[0] // len(network.loss.inputs)
        depths.add(len(linear))
        assert 1 <= m <= drawn.MOST_SAMPLES
        assert all(1 <= width <= drawn.WIDEST for width in (*(layer.in_features for layer in linear), output))
        assert network.layers[0] is linear[0]
        assert len(network.layers) == 2 * len(linear)
        assert network.loss.domain.covers(network.layers[-1].range) or str(network.layers[-1]) == f"{network.loss.link}"
        met |= {type(record) for record in (*network.layers, network.loss)}
    assert {1, drawn.DEEPEST} <= depths <= set(range(1, drawn.DEEPEST + 1))
    assert {*catalogue(Activation).values(), *catalogue(Loss).values(), Linear} == met


def test_ranges_are_what_was_drawn():
    found = count(range(12), 0)
    cases = [drawn.build(drawn.Drawn(number)) for number in range(12)]
    assert found.ranges["batch"] == (min(case.x.shape[-1] for case in cases), max(case.x.shape[-1] for case in cases))
    assert found.ranges["depth"][1] == max(len(case.network.layers) // 2 for case in cases)
    assert found.ranges["gain"][1] < 1.5 * drawn.GAINS[1]
    assert found.records["losses"] == {type(case.network.loss).__name__ for case in cases}


def test_a_drawn_network_is_named_and_repeated():
    assert parse("random/17") == drawn.Drawn(17)
    with pytest.raises(SpecError, match="written random/NUMBER"):
        parse("random/seventeen")
    once = json.loads(call("run", "--case", "random/17", "--seed", 3, "--json").stdout)
    counted = count([17], 3)
    assert once["cases"] == 1
    assert once["rows"] == counted.counts.total()
    assert once["seed"] == 3


# What would be seen


def plant(monkeypatch, number):
    """Double the largest element of one weight gradient of this network, by hand."""
    right = check.manual_run

    def wrong(case):
        trace = right(case)
        if case.name != f"random/{number}":
            return trace
        own = trace.parameter_gradients[0]
        at = np.unravel_index(np.abs(own["weight"]).argmax(), own["weight"].shape)
        return replace(
            trace, parameter_gradients=({**own, "weight": scale_element(own["weight"], at, 2)}, *trace.parameter_gradients[1:])
        )

    monkeypatch.setattr(check, "manual_run", wrong)


def test_a_planted_alarm_is_counted_and_listed_with_its_command(monkeypatch, tmp_path):
    plant(monkeypatch, 3)
    found = call("calibrate", "--cases", 2, "--first", 3, "--seed", 5, "--jobs", 1, "--json", "--out", tmp_path)
    assert found.exit_code == 1, found.output
    document = json.loads(found.stdout)
    assert document == json.loads((tmp_path / "summary.json").read_text())
    assert not document["ok"]
    (alarm,) = document["alarms"]
    assert (alarm["case"], alarm["symbol"], alarm["comparison"]) == ("random/3", "dC/dW[1]", "end to end")
    assert alarm["command"] == "oracle run --case random/3 --seed 5"
    assert document["verdicts"]["differ"] == 1
    assert document["dtypes"][alarm["dtype"]]["max"] == pytest.approx(alarm["sigmas"])
    assert "1 false alarm in 1 of 2 correct networks" in document["answer"]
    for name in ("calibration.html", "calibration.md"):
        assert "oracle run --case random/3 --seed 5" in (tmp_path / name).read_text()


def test_a_network_that_cannot_be_compared_is_an_alarm(monkeypatch):
    right = drawn.build

    def refusing(spec, seed):
        if spec.number == 4:
            raise ValueError("no such network")
        return right(spec, seed)

    monkeypatch.setattr(drawn, "build", refusing)
    found = Calibration(calibrate(3, 3, 5, jobs=1), 3, seed=5)
    assert found.tally.cases == 3
    assert not found.ok
    assert [(row.case, row.note) for row in found.alarms] == [("random/4", "ValueError: no such network")]
    json.loads(found.to_json())


def test_nothing_compared_is_not_agreement():
    assert not Calibration(Tally()).ok


@pytest.mark.parametrize("factor", [100, 1 / 20])
def test_a_scale_100_times_too_wide_or_20_too_narrow_shows_in_the_median(factor, monkeypatch):
    numbers = range(5, 15)
    ordinary = Calibration(count(numbers, 0)).figures["float64"]
    right = check.scales

    def off(case, reference):
        scale = right(case, reference)
        parts = {name: {key: factor * value for key, value in getattr(scale, name).items()} for name in ("through", "own")}
        return scale._replace(**parts)

    monkeypatch.setattr(check, "scales", off)
    for settles in ("end_to_end", "layerwise"):  # whoever settles what is outside has nothing to say about the median
        monkeypatch.setattr(judge, settles, lambda *_: lambda *_: None)
    monkeypatch.setattr(check, "inherited", lambda case, reference, scale, through, by_layer, candidate: through)
    found = Calibration(count(numbers, 0))
    assert MEDIAN[0] < ordinary["median"] < MEDIAN[1]
    assert found.figures["float64"]["median"] == pytest.approx(ordinary["median"] / factor, rel=0.2)
    assert not MEDIAN[0] < found.figures["float64"]["median"] < MEDIAN[1]
    assert "does not fit in float64" in found.sentence


# Counting


@pytest.mark.parametrize(
    ("sigmas", "low", "high"),
    [(1e-9, 0.0, EDGES[1]), (TOLERANCE / 2, TOLERANCE / 2, 10), (TOLERANCE, TOLERANCE, 20), (1e9, EDGES[-2], math.inf)],
)
def test_a_bin_holds_its_lower_end_and_not_its_upper(sigmas, low, high):
    at = bin_of(sigmas)
    assert EDGES[at] == low
    assert sigmas < EDGES[at + 1] <= high


def test_equal_infinite_and_missing_have_places_of_their_own():
    assert bin_of(0.0) == EQUAL
    assert bin_of(math.nan) == NO_NUMBER
    assert EDGES[bin_of(math.inf) + 1] == math.inf
    assert EDGES[bin_of(math.nextafter(TOLERANCE / 2, 0)) + 1] == TOLERANCE / 2


def test_quantiles_are_those_of_the_numbers():
    bins = {NO_NUMBER: 50, EQUAL: 4, bin_of(0.5): 5, bin_of(3.0): 1}
    assert quantile(bins, 0.4) == 0
    assert 0.5 < quantile(bins, 0.5) < 0.55
    assert 3 < quantile(bins, 0.99) < 3.3
    assert math.isnan(quantile({NO_NUMBER: 3}, 0.5))


def test_figures_count_what_they_say():
    found = Calibration(count(range(10), 0))
    for dtype, figures in found.figures.items():
        rows = [row for number in range(10) for row in check.rows(drawn.build(drawn.Drawn(number))) if row.dtype == dtype]
        settled = [row for row in rows if row.verdict in ("reference", "kink")]
        apart = sorted(row.sigmas for row in rows if row.sigmas > 0 and row not in settled)
        assert figures["arrays"] == len(rows)
        assert figures["apart"] == sum(figures["histogram"]["counts"]) == len(apart)
        assert figures["settled"] == len(settled)
        assert figures["max"] == apart[-1]
        assert figures["share_below_half"] == sum(sigmas < TOLERANCE / 2 for sigmas in apart) / len(apart)
        assert figures["median"] / 1.1 < apart[(len(apart) - 1) // 2] <= figures["median"]
        assert [row.sigmas for row in found.largest(dtype)] == sorted(
            (row.sigmas for row in rows if row.verdict == "agree" and row.sigmas > 0), reverse=True
        )[:LARGEST]  # fmt: skip


def test_the_result_does_not_depend_on_processes_or_on_order(monkeypatch):
    monkeypatch.setattr("oracle.calibration.run.CHUNK", 3)
    alone = Calibration(calibrate(1, 10, 1, jobs=1), seed=1)
    assert Calibration(calibrate(1, 10, 1, jobs=2), seed=1).summary() | {"seconds": 0} == alone.summary() | {"seconds": 0}
    backwards = Tally()
    for numbers in (range(6, 11), range(1, 6)):
        backwards.add(count(numbers, 1))
    assert backwards == alone.tally
    assert calibrate(1, 10, 2, jobs=1) != alone.tally


def test_the_same_seed_gives_the_same_document_apart_from_seconds(tmp_path):
    documents = []
    for name in ("once", "again"):
        found = call("calibrate", "--cases", 5, "--seed", 7, "--jobs", 1, "--json", "--out", tmp_path / name)
        documents.append({**json.loads(found.stdout), "seconds": 0, "command": ""})
        assert {path.name for path in (tmp_path / name).iterdir()} == {"summary.json", "calibration.md", "calibration.html"}
    assert documents[0] == documents[1]
    assert {
        "versions",
        "seed",
        "first",
        "cases",
        "arrays",
        "elements",
        "verdicts",
        "alarms",
        "dtypes",
        "tolerance",
        "ranges",
    } < set(documents[0])
    page = (tmp_path / "once" / "calibration.html").read_text()
    assert page.count("<svg") == 1
    assert "src=" not in page


# The call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cases", "0"], "--cases"),
        (["--first", "-1"], "--first"),
        (["--seed", "-1"], "--seed"),
        (["--jobs", "-1"], "--jobs"),
        (["--out", ""], "takes the name of a folder"),
        (["--out", "/dev/null/x"], "takes a folder that can be written"),
    ],
)
def test_a_wrong_call_is_refused_and_nothing_is_written(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("oracle.calibration.calibrate", lambda *a, **k: pytest.fail("work began"), raising=False)
    found = call("calibrate", *arguments)
    assert found.exit_code == 2, found.output
    assert message in found.stderr
    assert found.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_says_whether_there_was_an_alarm(monkeypatch, tmp_path):
    calm = call("calibrate", "--cases", 1, "--first", 4, "--jobs", 1, "--out", tmp_path)
    assert calm.exit_code == 0, calm.output
    assert "No alarm in 1 correct network drawn at random" in calm.stdout
    assert "Alarms" not in calm.stdout
    plant(monkeypatch, 4)
    alarmed = call("calibrate", "--cases", 1, "--first", 4, "--jobs", 1, "--out", tmp_path)
    assert alarmed.exit_code == 1
    assert "oracle run --case random/4 --seed 0" in alarmed.stdout


def test_interrupted_leaves_no_half_written_report(tmp_path):
    out = tmp_path / "r"
    process = subprocess.Popen(
        [sys.executable, "-m", "oracle", "calibrate", "--out", out], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    while not out.exists():
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "interrupted; no report was written" in stderr
    assert "Traceback" not in stderr
    assert list(out.iterdir()) == []
    assert stdout == ""
