"""The loss for label sequences whose place in time is not known: connectionist temporal classification."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from manualbp.blocks import Array
from manualbp.columns import two_sum
from manualbp.domains import NEGATIVE, Domain, Interval
from manualbp.loss import ReducedLoss
from manualbp.targets import Sequences


@dataclass(frozen=True)
class _Log:
    """Logarithms of probabilities, each as a sum high + low of two floats, the second of which holds what the first lost.

    A path's logarithm adds up over time. One float would keep it to an ulp of the whole, and exp turns an ulp of -100 into 64
    ulps of the probability; the pair keeps it to an ulp of 1.
    """

    high: Array
    low: Array

    @classmethod
    def of(cls, values: Array) -> "_Log":
        return cls(values, np.zeros_like(values))

    @classmethod
    def stack(cls, logs: list["_Log"]) -> "_Log":
        return cls(np.array([log.high for log in logs]), np.array([log.low for log in logs]))

    def __getitem__(self, at: Any) -> "_Log":
        return _Log(self.high[at], self.low[at])

    def behind(self, first: "_Log") -> "_Log":
        return _Log(np.concatenate([first.high, self.high]), np.concatenate([first.low, self.low]))

    def times(self, other: "_Log") -> "_Log":
        """The product of the probabilities: the logarithms are added."""
        high, lost = two_sum(self.high, other.high)
        return _Log(high, lost + (self.low + other.low))

    def plus(self, other: "_Log") -> "_Log":
        """The sum of the probabilities: log(exp x + exp y) = x + log(1 + exp(y - x)) for the larger x."""
        swap = other.high > self.high
        x_high, x_low = np.where(swap, other.high, self.high), np.where(swap, other.low, self.low)
        y_high, y_low = np.where(swap, self.high, other.high), np.where(swap, self.low, other.low)
        more = np.log1p(np.exp((y_high - x_high) + (y_low - x_low)))
        return _Log(*two_sum(x_high, x_low + np.where(np.isneginf(x_high), 0, more)))

    def inverse(self) -> "_Log":
        return _Log(-self.high, -self.low)

    def probability(self) -> Array:
        return np.exp(self.high) * (1 + self.low)


class _Lattice(NamedTuple):
    """The states of every sample: its labels with a blank before, between and behind them, and when they may follow.

    Arrays are (states, m) and (time, states, m). A sample has 2 labels + 1 states and as many steps as it says; the states
    behind its last, of which there is always one, are never reached.
    """

    path: Array  # the class of each state
    steps: Array
    states: Array
    grid: tuple[Array, Array, Array]  # of time, state, sample

    @classmethod
    def of(cls, target: Array, blank: int, steps: int) -> "_Lattice":
        target = target.astype(np.intp)
        labels = target[2:]
        path = np.full((2 * len(labels) + 2, target.shape[1]), blank)
        path[1:-1:2] = np.where(np.arange(len(labels))[:, None] < target[1], labels, blank)
        grid = np.ogrid[:steps, : len(path), : target.shape[1]]
        return cls(path, target[0], 2 * target[1] + 1, (grid[0], grid[1], grid[2]))

    def reversed(self) -> tuple[Array, Array, Array]:
        """Index that runs every sample backwards, in time and along its path; used twice, it changes nothing."""
        time, state, sample = self.grid
        return (self.steps - 1 - time) % max(len(time), 1), (self.states - 1 - state) % len(self.path), sample

    def emitted(self, log_probs: Array) -> Array:
        """The log-probability of each state's class at each time; -inf where the sample has no such state."""
        time, state, sample = self.grid
        return np.where(state < self.states, log_probs[self.path, time, sample], -np.inf)


def _arrivals(path: Array, emitted: Array) -> tuple[_Log, _Log]:
    """(arrived, stayed): how probable it is to be in a state at a time, before and after it emits its class.

    A state is reached from itself, from the one before it, and from the one before that unless the classes of the two are
    equal: a blank must part equal labels, and a label two blanks. stayed[t] is what holds after t steps; before the first,
    every path stands in its first state.
    """
    skips = np.zeros(path.shape, bool)
    skips[2:] = path[2:] != path[:-2]
    nowhere = _Log.of(np.full((2, path.shape[1]), -np.inf))
    start = np.full(path.shape, -np.inf)
    start[0] = 0
    stayed, arrived = [_Log.of(start)], []
    for now in emitted:
        here = stayed[-1]
        back = here.behind(nowhere)  # two states further on
        skipped = _Log(np.where(skips, back.high[:-2], -np.inf), back.low[:-2])
        arrived.append(here.plus(back[1:-1]).plus(skipped))
        stayed.append(arrived[-1].times(_Log.of(now)))
    return _Log.stack(arrived), _Log.stack(stayed)


@dataclass(frozen=True)
class CTCLoss(ReducedLoss):
    """Minus the log-probability that the classes, emitted one per time step, spell the labels.

    Shapes
        log-probabilities a (classes, T, m), usually from LogSoftmax; target (2 + S, m), integers: for each sample the number of
        time steps that count, the number of labels, then the labels; C a scalar. torch takes these as three arguments.
    Forward
        A path emits one class per step. It spells the labels when they are left after merging what repeats and striking out
        the blanks. Between the labels put blanks, and let l be the classes of these 2 len + 1 states; then with
        alpha_t(s) = (alpha_{t-1}(s) + alpha_{t-1}(s-1) + alpha_{t-1}(s-2) where l_s != l_{s-2}) exp(a[l_s, t])
        the probability of all paths that spell the labels is P = alpha_T(last) + alpha_T(last - 1), and the term is -log P.
        "mean" divides the term by the number of labels, at least 1, and the sum by m.
    Backward
        Let beta_t(s) be the same sum from behind, without the emission at t. Every path is in one state at time t, so that
        P = sum_s alpha_t(s) beta_t(s), where exp(a[c, t]) is a factor of the summands with l_s = c. Hence
        dC/da[c, t] = -sum over l_s = c of alpha_t(s) beta_t(s) / P: minus the probability that the path emits c at time t.
    Conventions
        torch 2.13 returns exp(a) minus that probability, as if a LogSoftmax stood before and its backward pass were part of
        this one. Behind a LogSoftmax both come to the same gradient, since torch's, whose sum over the classes is 0 there, passes
        its backward pass unchanged. Alone, torch's is not the derivative with respect to a.
        Where no path spells the labels, C is inf and the gradient NaN; with zero_infinity both are 0. Where C is NaN, so is the
        gradient, at every class and time that counts.
        A class of log-probability -inf has the gradient 0; in torch 2.13 NaN.
    Raises
        ValueError for another reduction or a negative blank.
    References
        torch.nn.CTCLoss; Graves et al. 2006, Connectionist temporal classification, ICML, section 4.
    """

    formula: ClassVar[str] = "-sum log P / m,  P = sum over the paths that spell the labels of exp(sum_t a[path_t, t])"
    derivative_formula: ClassVar[str] = "-P(path_t = c | labels) / m"
    inputs: ClassVar[tuple[Interval, ...]] = (NEGATIVE,)
    link: ClassVar[str] = "LogSoftmax"
    extra_axes: ClassVar[int | None] = 1

    blank: int = 0
    zero_infinity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blank < 0:
            raise ValueError(f"CTCLoss takes a blank from 0 on, the index of a class; got {self.blank}.")

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"blank": rows - 1, "zero_infinity": True}

    @property
    def target_domain(self) -> Domain:  # type: ignore[override]  # an option decides
        return Sequences(self.blank)

    def terms_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[-1:]

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        lattice = _Lattice.of(target, self.blank, input.shape[1])
        backwards, m = lattice.reversed(), target.shape[1]
        emitted = lattice.emitted(input)
        # both directions in one go: the same sums over the samples, and over the samples run backwards
        path = np.hstack([lattice.path, lattice.path[backwards[1:]][0]])
        arrived, stayed = _arrivals(path, np.concatenate([emitted, emitted[backwards]], axis=2))
        last, sample = lattice.states - 1, np.arange(m)
        log_p = stayed[lattice.steps, last, sample].plus(stayed[lattice.steps, last - 1, sample])
        both = arrived[:, :, :m].times(arrived[:, :, m:][backwards])
        occupied = both.times(_Log.of(emitted)).times(log_p.inverse()).probability()
        share = 1 / np.maximum(target[1], 1.0) if self.reduction == "mean" else np.ones(m)
        impossible = np.isneginf(log_p.high)
        terms = -(log_p.high + log_p.low) * share
        if self.zero_infinity:
            terms[impossible] = 0
        no_number = np.isnan(log_p.high) if self.zero_infinity else np.isnan(log_p.high) | impossible
        return terms, (lattice, occupied, share, impossible, no_number, input.shape)

    def gradient(self, saved: Any, scale: Array) -> Array:
        lattice, occupied, share, impossible, no_number, shape = saved
        counts = np.arange(shape[1])[:, None] < lattice.steps
        occupied = np.where(counts[:, None], occupied * (scale * share), 0)
        grad = np.zeros(shape)
        for state, classes in enumerate(lattice.path):
            grad[classes, :, np.arange(shape[2])] -= occupied[:, state].T
        return np.where(counts & no_number, np.nan, np.where(counts & impossible, 0.0, grad))
