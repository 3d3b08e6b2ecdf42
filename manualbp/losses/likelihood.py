"""Losses that are minus the logarithm of a probability density, and the divergence between two distributions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log, pi
from typing import Any, ClassVar

import numpy as np

from manualbp import exact
from manualbp.blocks import Array
from manualbp.domains import POSITIVE, REALS, Domain, Interval
from manualbp.loss import REDUCTIONS, ReducedLoss
from manualbp.losses.weighted import times
from manualbp.targets import Probabilities


@dataclass(frozen=True)
class PoissonNLLLoss(ReducedLoss):
    """The negative log-likelihood of counts y under a Poisson distribution, of which the network gives the rate or its logarithm.

    Shapes
        output a and count y (features, *extra, m); a term for each element.
    Forward
        The density is rate^y exp(-rate) / y!. With log_input the rate is exp(a), and a term is  exp(a) - y a;
        without, the rate is a + eps, and a term is  a - y log(a + eps).
        `full` adds log(y!) for y > 1, by Stirling's formula  y log y - y + log(2 pi y) / 2.
    Backward
        With s = rate - y, what the rate has too much:  s  with log_input,  s / rate  without.
    Conventions
        The term without log_input starts with a, not with the rate a + eps, as in torch. At y = 1 and below there is no
        Stirling term. An infinite a costs infinity, and a zero y silences log 0; torch gives NaN (2.13).
    Accuracy
        For a good prediction s is exp(a) - exp(log y) = y (exp(d) - 1) with d = a - log y, or a - y + eps, not 1 - y / rate.
        With `full` the large terms nearly cancel; with d = log(rate / y), rate - y log(rate) + y log y - y = s - y d.
    Raises
        ValueError for a negative eps.
    References
        torch.nn.PoissonNLLLoss.
    """

    target_domain = POSITIVE

    log_input: bool = True
    full: bool = False
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eps >= 0:
            raise ValueError(f"PoissonNLLLoss takes an eps from 0 on, added to the rate; got {self.eps}.")

    @property
    def formula(self) -> str:  # type: ignore[override]  # the option chooses
        return "sum (exp(a) - y a) / N" if self.log_input else "sum (a - y log(a + eps)) / N"

    @property
    def derivative_formula(self) -> str:  # type: ignore[override]
        return "(exp(a) - y) / N" if self.log_input else "(1 - y / (a + eps)) / N"

    @property
    def inputs(self) -> tuple[Interval, ...]:  # type: ignore[override]
        return (REALS,) if self.log_input else (POSITIVE,)

    @property
    def link(self) -> str:  # type: ignore[override]
        return "Identity" if self.log_input else "Softplus"

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"full": True}, {"log_input": False, "eps": 0.125}, {"log_input": False, "full": True}

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        start, log_rate = (np.exp(input), input) if self.log_input else (input, np.log(input + self.eps))
        terms = start - times(target, log_rate)
        if self.full:
            terms = np.where(target > 1, self._with_stirling(input, target), terms)
        return np.where(input == np.inf, input, terms), (input, target)

    def _surplus(self, a: Array, y: Array) -> Array:
        """The rate minus y."""
        if not self.log_input:
            return a - y + self.eps
        d = a - np.log(y)
        return np.where(np.abs(d) < 0.5, y * np.expm1(d), np.exp(a) - y)

    def _with_stirling(self, a: Array, y: Array) -> Array:
        surplus = self._surplus(a, y)
        if self.log_input:
            return surplus - y * (a - np.log(y)) + np.log(2 * pi * y) / 2
        r = surplus / y
        d = np.where(np.abs(r) < 0.5, np.log1p(r), np.log((a + self.eps) / y))
        return surplus - y * d - self.eps + np.log(2 * pi * y) / 2

    def gradient(self, saved: Any, scale: Array) -> Array:
        a, y = saved
        surplus = self._surplus(a, y)
        return (surplus if self.log_input else np.where(a == np.inf, 1.0, surplus / (a + self.eps))) * scale


@dataclass(frozen=True)
class GaussianNLLLoss(ReducedLoss):
    """The negative log-likelihood of y under a normal distribution, of which the network gives mean and variance.

    Shapes
        mean a, variance v and target y (features, *extra, m): the output is a above v; a term for each element.
    Forward
        With d = a - y, a term is  (log v + d^2 / v) / 2;  `full` adds log(2 pi) / 2.
    Backward
        by a:  d / v;    by v:  (1 / v - (d / v)^2) / 2.
    Conventions
        v is cut at eps from below, yet the gradient passes to a v below it as if nothing had been cut: it is the
        slope at eps. torch clamps outside of the graph (2.13).
    Raises
        ValueError unless eps is positive.
    References
        torch.nn.GaussianNLLLoss; Nix and Weigend 1994, Estimating the mean and variance of the target probability distribution.
    """

    formula: ClassVar[str] = "sum (log v + (a - y)^2 / v) / 2 / N"
    derivative_formula: ClassVar[str] = "(a - y) / v / N,  (1 / v - ((a - y) / v)^2) / 2 / N"
    inputs: ClassVar[tuple[Interval, ...]] = (REALS, POSITIVE)
    link: ClassVar[str] = "Softplus"

    full: bool = False
    eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eps > 0:
            raise ValueError(f"GaussianNLLLoss takes a positive eps, the smallest variance; got {self.eps}.")

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"full": True}, {"eps": 0.5}

    def terms(self, input: Array, var: Array, target: Array) -> tuple[Array, Any]:
        variance = np.maximum(var, self.eps)
        d = input - target
        terms = (np.log(variance) + d * (d / variance)) / 2
        return terms + log(2 * pi) / 2 if self.full else terms, (d, variance)

    def gradient(self, saved: Any, scale: Array) -> tuple[Array, ...]:
        d, variance = saved
        by_mean = d / variance
        by_variance = 1 / variance - by_mean * by_mean
        near = (by_mean * d < 4) & (np.abs(d) < 1e150) & (variance < np.inf)  # there v - d^2 may cancel: the square is exact
        if near.any():
            v = variance[near]
            high, low = exact.square(d[near])
            by_variance[near] = ((v - high) - low) / v / v
        return by_mean * scale, by_variance * (scale / 2)


@dataclass(frozen=True)
class KLDivLoss(ReducedLoss):
    """The Kullback-Leibler divergence of a predicted distribution from the target's: what the prediction's code wastes.

    Shapes
        log-probabilities a, usually from LogSoftmax; target y, probabilities or with log_target their logarithms; all
        (features, *extra, m); a term for each element.
    Forward
        With p the target's probability, a term is  p (log p - a).
    Backward
        dC/da = -p: the entropy of the target is no business of the network.
    Conventions
        "mean" divides by the number of elements, as in torch; the divergence per sample is "batchmean". A term with p = 0
        is 0 even where a or log p is infinite; torch gives NaN (2.13).
    References
        torch.nn.KLDivLoss; Kullback and Leibler 1951, On information and sufficiency.
    """

    formula: ClassVar[str] = "sum p (log p - a) / N"
    derivative_formula: ClassVar[str] = "-p / N"
    link: ClassVar[str] = "LogSoftmax"
    reductions: ClassVar[tuple[str, ...]] = (*REDUCTIONS, "batchmean")

    log_target: bool = False

    @property
    def target_domain(self) -> Domain:  # type: ignore[override]
        return Probabilities(self.log_target)

    @classmethod
    def choices(cls, rows: int) -> Iterable[Mapping[str, Any]]:
        return {}, {"log_target": True}

    def terms(self, input: Array, target: Array) -> tuple[Array, Any]:
        p, log_p = (np.exp(target), target) if self.log_target else (target, np.log(target))
        lost = np.where((p == 0) & ~np.isnan(input), 0.0, log_p - input)  # what never happens costs nothing
        return p * lost, p

    def gradient(self, saved: Any, scale: Array) -> Array:
        return -saved * scale
