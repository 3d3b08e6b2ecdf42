"""One network, taught: everything the teaching page shows, computed when it is asked for."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from manualbp import descend
from manualbp.backpropagation import parameter_symbol
from oracle.case import Case
from oracle.explain import Explanation, explain, notes_case
from oracle.mutants.trial import Bench
from oracle.teach.breakit import Breaking
from oracle.teach.differences import Differences
from oracle.teach.drawing import Drawing
from oracle.teach.matrices import Matrices
from oracle.teach.nodes import Nodes, why_not
from oracle.teach.shorthand import Care, cares
from oracle.teach.textbook import side_by_side

#: So many samples a batch has where a case has one, and a batch is needed for a mistake to show.
SAMPLES = 3


class Updated(NamedTuple):
    """A parameter before and after the step down its gradient."""

    symbol: str
    before: Any
    gradient: Any
    after: Any


@dataclass(frozen=True)
class Lesson:
    """The notes on one case. `source` says where it comes from."""

    case: Case
    alpha: float
    source: str

    @cached_property
    def explanation(self) -> Explanation:
        return explain(self.case, self.alpha)

    @cached_property
    def bench(self) -> Bench:
        """By hand, by autograd, and the rounding scales, with the cost as it stands."""
        return Bench.of(replace(self.case, grad_loss=1.0))

    @cached_property
    def crowd(self) -> Bench:
        """The same with several samples, where it has one: much goes wrong unseen with a single one."""
        case = self.bench.case
        return self.bench if case.x.shape[-1] > 1 else Bench.of(with_more_samples(case))

    @cached_property
    def alone(self) -> Bench:
        """The same with its first sample alone."""
        case = self.bench.case
        if case.x.shape[-1] == 1:
            return self.bench
        single = replace(case, x=case.x[..., :1], target=case.target[..., :1])
        return Bench.of(single) if _fits(single) else self.bench

    @cached_property
    def no_nodes(self) -> str:
        """Why the network is not shown node by node; empty where it is."""
        return why_not(self.bench)

    @cached_property
    def nodes(self) -> Nodes | None:
        return None if self.no_nodes else Nodes(self.bench)

    @cached_property
    def drawing(self) -> Drawing | None:
        return Drawing(self.nodes) if self.nodes else None

    @cached_property
    def matrices(self) -> Matrices:
        return Matrices(self.bench)

    @cached_property
    def forms(self) -> dict[str, Any]:
        """The notes' forms side by side, by symbol."""
        return side_by_side(self.bench)

    @cached_property
    def cares(self) -> list[tuple[tuple[str, Care], ...]]:
        """Where the shorthand needs care: each place with one sample and with several."""
        benches = [self.alone, self.crowd] if self.alone is not self.crowd else [self.crowd]
        labels = [f"{m} sample{'s' * (m > 1)}" for m in (bench.case.x.shape[-1] for bench in benches)]
        columns = [[(label, care) for care in cares(bench)] for label, bench in zip(labels, benches, strict=True)]
        return [(row[0], *(each for each in row[1:] if not each[1].says(row[0][1]))) for row in zip(*columns, strict=True)]

    @cached_property
    def breaking(self) -> Breaking:
        return Breaking(self.crowd)

    @cached_property
    def differences(self) -> Differences:
        return Differences(self.bench)

    @cached_property
    def updates(self) -> list[Updated]:
        """Every parameter before and after one step; none where a gradient is missing."""
        case, gradients = self.bench.case, self.bench.honest.parameter_gradients
        if self.bench.honest.failure:
            return []
        after = descend(case.params, gradients, self.alpha)
        return [
            Updated(parameter_symbol(case.network, at, name), value, gradients[at][name], after[at][name])
            for at, own in enumerate(case.params)
            for name, value in own.items()
        ]

    @property
    def expected(self) -> float | None:
        """The loss after the step if it were a straight line: C - alpha times the squared length of the gradient."""
        before = self.explanation.loss_before
        if before is None or np.ndim(before):
            return None
        lengths = sum(float((np.asarray(update.gradient, np.float64) ** 2).sum()) for update in self.updates)
        return float(before) - self.alpha * lengths

    def to_html(self) -> str:
        """The page."""
        from oracle.teach.page import render

        return render(self)

    def _repr_html_(self) -> str:
        from oracle.teach.page import frame

        return frame(self)


def lesson(case: Case | None = None, alpha: float = 0.5, source: str = "") -> Lesson:
    """The lesson on a case; without one, on the notes' network. Raises ValueError unless alpha is above 0 and finite."""
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha takes a learning rate above 0; got {alpha}.")
    if case is None:
        case = notes_case()
    return Lesson(case, alpha, source or case.name)


def with_more_samples(case: Case) -> Case:
    """The case with SAMPLES samples made of its one, its rows moved round; itself where its target does not allow it."""
    target = case.target
    movable = target.ndim == case.x.ndim and target.dtype.kind == "f"
    turns = range(SAMPLES)
    targets = [np.roll(target, k, axis=0) for k in turns] if movable else [target] * SAMPLES
    more = replace(
        case,
        x=np.concatenate([np.roll(case.x, k, axis=0) for k in turns], axis=-1),
        target=np.concatenate(targets, axis=-1),
    )
    return more if _fits(more) else case


def _fits(case: Case) -> bool:
    try:
        case.network.check(case.params, case.x, case.target)
    except (ValueError, TypeError):
        return False
    return True
