"""The oracle beside what people use: the same planted mistakes and the same correct networks for all."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from random import Random
from statistics import median
from typing import Any, NamedTuple, TypeVar

import numpy as np

from manualbp import Trace
from oracle.case import Case, Spec
from oracle.drawn import Drawn
from oracle.drawn import build as build_drawn
from oracle.inputs import build
from oracle.mistakes import Mistake
from oracle.mutants.trial import Bench, Outcome, outcome, visible
from oracle.tables import END_TO_END
from oracle.verdict import Verdict

T = TypeVar("T")

#: Numbers that are differentiated: gradcheck runs the network twice for each of them.
MOST = 90
#: Cases of each dtype from the sweep, and as many drawn at random; in each one mistake, and none.
CASES = 75
DTYPES = ("float64", "float32")
SOURCES = ("sweep", "random")
ORACLE, FINAL = "oracle", "oracle, given the final gradients alone"


class Judged(NamedTuple):
    """What one tool says of one case with a mistake and without.

    found, alarm  it refuses the mistaken gradients; it refuses the right ones
    named         it says which mistake it is, alone or with others of the same effect
    ratio         its time for the right gradients over that of a plain torch forward and backward pass
    """

    tool: str
    case: str
    dtype: str
    source: str
    mistake: str
    position: int
    found: bool
    alarm: bool
    named: bool
    ratio: float


class Pick(NamedTuple):
    """Which case to compare on: the first that fits, from this number on, in a list of texts or of what is drawn."""

    source: str
    dtype: str
    number: int
    texts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.dtype}, {self.texts[0] if self.texts else f'random/{self.number}'} and on"


def picks(chosen: Sequence[Spec], seed: int) -> list[Pick]:
    """The cases of the comparison, the sweep's from these specs."""
    found = []
    for dtype in DTYPES:
        texts = [str(spec) for spec in chosen if spec.dtype == dtype]
        shuffled = Random(seed).sample(texts, len(texts))
        share = -(-len(shuffled) // CASES)
        found += [Pick("sweep", dtype, 0, tuple(shuffled[at : at + share])) for at in range(0, len(shuffled), share)]
        found += [Pick("random", dtype, number * 1000) for number in range(CASES)]
    return found


def _fits(case: Case, dtype: str) -> bool:
    return str(case.dtype) == dtype and case.x.size + sum(each.size for own in case.params for each in own.values()) <= MOST


def _chosen(pick: Pick, seed: int) -> tuple[Bench, Mistake, int] | None:
    """The case and the mistake: of those that can show, each as likely, and then each of its places."""
    drawn = (build_drawn(Drawn(number), seed) for number in count(pick.number))
    for case in drawn if pick.source == "random" else (build(Spec.parse(text), seed) for text in pick.texts):
        if not _fits(case, pick.dtype):
            continue
        bench = Bench.of(case)
        places: dict[Mistake, list[int]] = {}
        for mistake, position in visible(bench):
            places.setdefault(mistake, []).append(position)
        if places and not bench.reference.failure:
            rng = Random(f"{seed}/{case.name}")
            mistake = rng.choice(list(places))
            return bench, mistake, rng.choice(places[mistake])
    return None


def judge_all(pick: Pick, seed: int) -> list[Judged]:
    """All tools on one case."""
    picked = _chosen(pick, seed)
    with np.errstate(all="ignore"):  # what is wrong may overflow
        return list(_judged(*picked, pick.source)) if picked else []


def _judged(bench: Bench, mistake: Mistake, position: int, source: str) -> Iterator[Judged]:
    from oracle.mutants.tools import TOOLS, final, network, plain

    case = bench.case
    wrong = mistake.run(case, position, bench.honest)
    layerwise = mistake.layerwise(case, position, bench.own, bench.reference)
    net, mistaken, right = network(case), final(case, wrong), final(case, bench.honest)
    unit = min(_timed(plain, net)[1] for _ in range(5))
    about = case.name, str(case.dtype), source, mistake.name, position
    _, seconds = _timed(lambda: Bench.of(case).right)
    rows = bench.rows(wrong, layerwise)
    last = {quantity.symbol for quantity, array in _final(bench.honest).quantities().items() if array is not None}
    of_final, right_final = (
        [row for row in each if row.comparison == END_TO_END and row.symbol in last] for each in (rows, bench.right)
    )
    for tool, found, alarms, candidate, own in (
        (ORACLE, rows, bench.right, wrong, layerwise),
        (FINAL, of_final, right_final, _final(wrong), None),
    ):
        seen = any(row.verdict not in (Verdict.AGREE, Verdict.REFERENCE) for row in found)
        became = outcome(mistake, position, bench.diagnose(candidate, own, rows)) if seen else Outcome.MISSED
        alarm = any(Verdict(row.verdict).fails for row in alarms)
        yield Judged(tool, *about, seen, alarm, became in (Outcome.NAMED, Outcome.NAMED_IN_CLASS), seconds / unit)
    for tool, accepts in TOOLS.items():
        accepted, seconds = _timed(accepts, net, right)
        yield Judged(tool, *about, not accepts(net, mistaken), not accepted, False, seconds / unit)


def _final(trace: Trace) -> Trace:
    """What code gives that gives dC/dx and the parameters' gradients, and nothing in between."""
    nothing = (None,) * (len(trace.values) - 1)
    return replace(trace, loss=None, values=(trace.values[0], *nothing), gradients=(trace.gradients[0], *nothing))


def _timed(do: Callable[..., T], *given: Any) -> tuple[T, float]:
    begin = time.perf_counter()
    result = do(*given)
    return result, time.perf_counter() - begin


class Line(NamedTuple):
    """One row of the table: a tool in one dtype. Counts, by source where there are two numbers of the same thing."""

    tool: str
    dtype: str
    planted: int
    found: int
    correct: int
    alarms: int
    named: int
    ratio: float
    by_source: dict[str, dict[str, int]]


def lines(judged: Sequence[Judged]) -> list[Line]:
    """The table, tool by tool."""
    found = []
    for dtype in DTYPES:
        for tool in dict.fromkeys(each.tool for each in judged):
            these = [each for each in judged if (each.tool, each.dtype) == (tool, dtype)]
            if these:
                found.append(Line(tool, dtype, **_counts(these), by_source=_by_source(these)))
    return found


def _by_source(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    split = {source: [each for each in judged if each.source == source] for source in SOURCES}
    return {source: _counts(these) for source, these in split.items() if these}


def _counts(judged: Sequence[Judged]) -> dict[str, Any]:
    return {
        "planted": len(judged),
        "found": sum(each.found for each in judged),
        "correct": len(judged),
        "alarms": sum(each.alarm for each in judged),
        "named": sum(each.named for each in judged),
        "ratio": median(each.ratio for each in judged),
    }
