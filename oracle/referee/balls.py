"""Ball arithmetic: truncated power series whose coefficients are balls, each of which is proved to hold the true number.

A `Series` is value + slope t + O(t^2). Fed z + t, a forward definition returns its own derivative as the coefficient of t,
by nothing but the arithmetic of power series. The precision is raised until a ball is small enough.
Source: Johansson 2017, Arb: efficient arbitrary-precision midpoint-radius interval arithmetic, arXiv 1611.02831.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from flint import arb, arb_series, ctx
from numpy.typing import NDArray

Series: TypeAlias = arb_series
Ball: TypeAlias = arb
Number: TypeAlias = Any  #: an exact Python number, or a Ball

#: Bits to begin with; doubled as long as a ball is too wide, up to the cap. Numbers of double's size and their squares, added
#: up, need 4200 at most.
START, CAP = 128, 16384
#: A ball is accurate when its radius is 2^-80 of its midpoint, or less than 2^-1140: far below an ulp of any double.
BITS, TINY = 80, -1140


class Undecided(ArithmeticError):  # noqa: N818  # an answer, of a kind
    """No precision up to the cap encloses the number closely enough, or decides on which side of a kink it lies."""


class Undefined(ArithmeticError):  # noqa: N818  # ditto
    """The definition has no value there, as the logarithm of a negative number."""


class Straddles(ArithmeticError):  # noqa: N818  # ditto
    """At this precision it is open on which side of a kink a ball lies."""


class _Joints:
    """Which piece a `joint` takes at the kink itself: -1 the lower, 1 the upper, 0 the hull of both. Counts hulls."""

    side = 0
    met = 0


@contextmanager
def precision(bits: int, side: int = 0) -> Iterator[None]:
    """Series of length 2 at this many bits; at a kink the piece of this side. Restores flint's settings behind itself."""
    saved = ctx.prec, ctx.cap, _Joints.side, _Joints.met
    ctx.prec, ctx.cap, _Joints.side, _Joints.met = bits, 2, side, 0
    try:
        yield
    finally:
        ctx.prec, ctx.cap, _Joints.side, _Joints.met = saved


def pack(values: Iterable[Any], shape: tuple[int, ...] | int = -1) -> NDArray[Any]:
    """Balls, series or terms as an array of objects."""
    items = list(values)
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


def exact(number: float) -> Ball:
    """A finite double, of any NumPy floating-point type, as a ball of radius 0."""
    return arb(float(number))


def series(value: Number, slope: Number = 0) -> Series:
    """The series value + slope t."""
    return arb_series([value, slope]) if slope else arb_series([value])


def accurate(ball: Ball) -> bool:
    """True when the ball is as narrow as `BITS` and `TINY` ask."""
    if ball.rel_accuracy_bits() >= BITS:  # also of an exact number, infinities among them
        return True
    return bool(ball.is_finite()) and bool(ball.rad() < arb(2) ** TINY)


#: So much of a number that is not known is shown: an exponent alone may have thousands of digits.
SHOWN = 80


class Enclosure(NamedTuple):
    """Value and slope, each a ball; at a kink the slope is the hull of all slopes there, widened outwards by 2^-30 of it."""

    value: Ball
    slope: Ball
    at_kink: bool = False


def settle(evaluate: Callable[[], Series], side: int = 0) -> Enclosure:
    """Evaluate at growing precision until value and slope are accurate; at a kink with the pieces of one side, or the hull.

    Raises Undecided when the cap does not suffice, Undefined when there is no value.
    """
    bits, found, hull = START, None, arb("nan")
    while bits <= CAP:
        with precision(bits, side):
            try:
                found = evaluate()
            except Straddles:
                found = None
            if found is not None and accurate(found[0]):
                if accurate(found[1]) or not found[0].is_finite():
                    return Enclosure(found[0], found[1])
                if _Joints.met and found[1].is_finite():  # a hull is done when more bits leave it as wide as it was
                    if abs(found[1].rad() - hull) < hull * arb(2) ** -20:
                        return Enclosure(found[0], found[1], True)
                    hull = found[1].rad()
        bits *= 2
    got = "a tie that is not exact" if found is None else f"{str(found)[:SHOWN]}..."
    raise Undecided(
        f"an enclosure takes at most {CAP} bits; got {got}. "
        "Two values that are equal, but not in a way arithmetic can prove, stay undecided."
    )


def doubles(ball: Ball) -> tuple[float, float]:
    """(hi, lo): the nearest double, infinite beyond the largest, and what it leaves of the ball's midpoint."""
    hi = float(ball)
    rest = float(ball - hi) if -float("inf") < hi < float("inf") else 0.0
    return hi, rest


# Branches


def order(left: Ball, right: Number) -> int:
    """-1, 0 or 1 for left <, =, > right; 0 only for two equal exact numbers. Raises Straddles when the balls overlap."""
    if left > right:
        return 1
    if left < right:
        return -1
    if left == right:
        return 0
    raise Straddles


def joint(
    at: Series, kink: Number, below: Callable[[], Series], above: Callable[[], Series], *, closed_above: bool = False
) -> Series:
    """The function that is `below` where at < kink, and `above` where at > kink.

    At the kink itself the value is that of `below`, unless `closed_above`; the slope is the hull of both slopes.
    """
    side = order(at[0], kink) or _Joints.side
    if side:
        return below() if side < 0 else above()
    left, right = below(), above()
    if not left[1].overlaps(right[1]):
        _Joints.met += 1
    return arb_series([(right if closed_above else left)[0], left[1].union(right[1])])


def maximum(a: Series, b: Number) -> Series:
    """The larger of a series and another, or a number."""
    other = b if isinstance(b, arb_series) else series(b)
    return joint(a, other[0], lambda: other, lambda: a)


def minimum(a: Series, b: Number) -> Series:
    other = b if isinstance(b, arb_series) else series(b)
    return joint(a, other[0], lambda: a, lambda: other)


def absolute(a: Series) -> Series:
    return joint(a, 0, lambda: -a, lambda: a)


# Functions whose textbook form cancels or overflows; the slope is what the power series of the right side gives


_constants: dict[tuple[Any, int], Ball] = {}


def constant(make: str | Callable[[], Ball]) -> Ball:
    """A decimal number, exact, or a number made of others such as arb.pi; kept for each precision."""
    key = make, ctx.prec
    if key not in _constants:
        _constants[key] = arb(make) if isinstance(make, str) else make()
    return _constants[key]


def expm1(s: Series) -> Series:
    """exp(s) - 1, with the constant term enclosed by arb's own expm1, which does not cancel."""
    return arb_series([s[0].expm1(), s.exp()[1]])


def log1p(s: Series) -> Series:
    """log(1 + s), with the constant term enclosed by arb's own log1p."""
    return arb_series([s[0].log1p(), log(1 + s)[1]])


def log(s: Series) -> Series:
    """The logarithm; raises Undefined where s is 0 or below."""
    if s[0] <= 0:
        raise Undefined(f"the logarithm takes positive numbers; got {s[0].str(10)}.")
    return s.log()


def sigmoid(s: Series) -> Series:
    """1 / (1 + exp(-s)), below 0 as exp(s) / (1 + exp(s)): exp never overflows."""
    if s[0] < 0:
        e = s.exp()
        return e / (1 + e)
    return 1 / (1 + (-s).exp())


def tanh(s: Series) -> Series:
    """(1 - exp(-2s)) / (1 + exp(-2s)), below 0 by symmetry."""
    if s[0] < 0:
        return -tanh(-s)
    e = expm1(-2 * s)
    return -e / (2 + e)


def softplus(s: Series) -> Series:
    """log(1 + exp(s)), above 0 as s + log(1 + exp(-s))."""
    return s + log1p((-s).exp()) if s[0] > 0 else log1p(s.exp())


def log_sigmoid(s: Series) -> Series:
    return -softplus(-s)


def power(s: Series, exponent: float) -> Series:
    """s^exponent for s > 0."""
    return s if exponent == 1 else s * s if exponent == 2 else (log(s) * exponent).exp()


def total(terms: list[Series]) -> Series:
    """The sum; 0 for none."""
    return sum(terms, series(0))
