"""An option of a layer or a loss that its forward pass heeds and its backward pass does not."""

from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from typing import Any

from manualbp import GEGLU, GELU, LeakyReLU, Network, RReLU
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Applies, on
from oracle.mistakes.step import Step, record

#: What is forgotten in words. `reduction` has its own mistakes among those of losses.
OPTIONS = {
    "negative_slope": "the slope below 0",
    "alpha": "the factor alpha",
    "beta": "the scale beta",
    "lambd": "the half width of the band",
    "threshold": "the threshold",
    "min_val": "the lower end",
    "max_val": "the upper end",
    "lower": "the smallest slope",
    "upper": "the largest slope",
    "training": "that slopes are drawn at random",
    "delta": "where the parabola ends",
    "margin": "the margin",
    "p": "the power",
    "eps": "the small number that keeps from dividing by 0",
    "swap": "that the positive may be nearer to the negative than the anchor",
    "distance_function": "the distance",
    "weight": "the weights of the classes or features",
    "pos_weight": "the weight of the positive answers",
    "ignore_index": "which label does not count",
    "label_smoothing": "that the labels are smoothed",
    "log_input": "whether the network gives the rate or its logarithm",
    "log_target": "that the target is a logarithm",
    "blank": "which class is the blank",
    "zero_infinity": "that impossible label sequences cost nothing",
}


def _default(found: Any, name: str) -> Any:
    """The default of an option, MISSING where the record has none."""
    return next((field.default for field in fields(found) if field.name == name), MISSING)


def _differs(name: str) -> Applies:
    def applies(network: Network, position: int) -> bool:
        found = record(network, position)
        default = _default(found, name)
        return default is not MISSING and getattr(found, name) != default

    return applies


def _overlooked(name: str, what: str) -> StepMistake:
    return StepMistake(
        f"{name} overlooked",
        f"The backward pass forgets {what}, and computes with the default.",
        f"{name} as if it had not been given for {name} as it was",
        "backward takes every option that forward takes",
        _differs(name),
        lambda step: step.through(replace(step.layer, **{name: _default(step.layer, name)})),
    )


def _with(**change: Callable[[Any], Any]) -> Callable[[Step], Any]:
    """The backward pass of the same record with other options."""
    return lambda step: step.through(replace(step.layer, **{name: new(step.layer) for name, new in change.items()}))


MISTAKES = (
    *(_overlooked(name, what) for name, what in OPTIONS.items()),
    StepMistake(
        "the other GELU's derivative",
        "Forward uses one of the two forms of GELU, and backward the derivative of the other.",
        "the derivative of z (1 + tanh u) / 2 for that of z P(z), or the reverse",
        "delta[l] = dC/da[l] * g'(z[l])",
        on(GELU, GEGLU),
        _with(approximate=lambda layer: "none" if layer.approximate == "tanh" else "tanh"),
    ),
    StepMistake(
        "slope ten times too large",
        "The decimal point of the slope below 0 is in the wrong place: 0.1 for 0.01.",
        "10 negative_slope for negative_slope",
        "1 if z > 0 else negative_slope",
        on(LeakyReLU),
        _with(negative_slope=lambda layer: 10 * layer.negative_slope),
    ),
    StepMistake(
        "slopes drawn anew",
        "Backward draws random slopes of its own, where it should use those that forward drew.",
        "s' for s, both from [lower, upper]",
        "1 if z > 0 else s",
        on(RReLU, when=lambda layer: layer.training),
        _with(seed=lambda layer: layer.seed + 1),
    ),
    StepMistake(
        "slope with four digits",
        "A fraction is typed in as a decimal number of four digits: 0.3333 for 1/3.",
        "(0.125 + 0.3333) / 2 for (1/8 + 1/3) / 2",
        "1 if z > 0 else s",
        on(RReLU, when=lambda layer: not layer.training),
        _with(upper=lambda layer: round(layer.upper, 4)),
    ),
)
