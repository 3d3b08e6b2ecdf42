"""Mistakes in binary cross entropy, of probabilities and of logits."""

from manualbp import (
    BCELoss,
    BCEWithLogitsLoss,
    MultiLabelSoftMarginLoss,
    SoftMarginLoss,
)
from manualbp.layer import Array
from manualbp.losses.binary import sigmoid
from oracle.mistakes.mistake import StepMistake
from oracle.mistakes.parts import Terms, of_terms, on, times

BCE = "dC/da = w (a - y) / (a (1 - a))"
LOGITS = "dC/dz = w ((1 - y) a - q y (1 - a)), a = 1 / (1 + exp(-z))"
SOFT_MARGIN = "dC/dz = -y / (1 + exp(y z))"

_logits = on(BCEWithLogitsLoss, MultiLabelSoftMarginLoss)
_weighted = on(BCELoss, BCEWithLogitsLoss, MultiLabelSoftMarginLoss, when=lambda loss: loss.weight is not None)


def _share(t: Terms) -> float:
    """What a term of a loss over features divides by."""
    return float(len(t.a)) if isinstance(t.loss, MultiLabelSoftMarginLoss) else 1.0


def _positive(t: Terms) -> Array:
    """Weight and target of the positive answers."""
    return t.y * (t.weight("pos_weight") if isinstance(t.loss, BCEWithLogitsLoss) else 1.0)


MISTAKES = (
    StepMistake(
        "only the term of y",
        "Of the two terms of binary cross entropy only that of the answer yes is differentiated.",
        "-y / a for -y / a + (1 - y) / (1 - a)",
        BCE,
        on(BCELoss),
        of_terms(lambda t: -t.weight() * t.y / t.a),
    ),
    StepMistake(
        "only the term of 1 - y",
        "Of the two terms of binary cross entropy only that of the answer no is differentiated.",
        "(1 - y) / (1 - a) for -y / a + (1 - y) / (1 - a)",
        BCE,
        on(BCELoss),
        of_terms(lambda t: t.weight() * (1 - t.y) / (1 - t.a)),
    ),
    StepMistake(
        "a (1 - a) not divided by",
        "The gradient by the logit is returned, although the sigmoid's own derivative follows.",
        "a - y for (a - y) / (a (1 - a))",
        BCE,
        on(BCELoss),
        of_terms(lambda t: t.weight() * (t.a - t.y)),
    ),
    StepMistake(
        "only the logit's term of y",
        "Of the two terms of the logit's cross entropy only that of the answer yes is differentiated.",
        "-q y (1 - a) for (1 - y) a - q y (1 - a)",
        LOGITS,
        _logits,
        of_terms(lambda t: -t.weight() * _positive(t) * sigmoid(-t.a) / _share(t)),
    ),
    StepMistake(
        "only the logit's term of 1 - y",
        "Of the two terms of the logit's cross entropy only that of the answer no is differentiated.",
        "(1 - y) a for (1 - y) a - q y (1 - a)",
        LOGITS,
        _logits,
        of_terms(lambda t: t.weight() * (1 - t.y) * sigmoid(t.a) / _share(t)),
    ),
    StepMistake(
        "sigmoid's derivative once more",
        "The sigmoid is part of the loss, whose gradient holds its derivative already; it is multiplied in again.",
        "(a - y) a (1 - a) for a - y",
        LOGITS,
        _logits,
        of_terms(
            lambda t: (
                t.weight()
                * ((1 - t.y) * sigmoid(t.a) - _positive(t) * sigmoid(-t.a))
                * (sigmoid(t.a) * sigmoid(-t.a))
                / _share(t)
            )
        ),
    ),
    StepMistake(
        "logit for its sigmoid",
        "The target is subtracted from the logit itself, without the sigmoid.",
        "z - y for a - y",
        LOGITS,
        _logits,
        of_terms(lambda t: t.weight() * ((1 - t.y) * t.a - _positive(t) * (1 - t.a)) / _share(t)),
    ),
    StepMistake(
        "number of classes not divided by",
        "The term is a mean over the classes, and its gradient is not divided by their number.",
        "w (a - y) for w (a - y) / classes",
        "dC/dz = w (a - y) / classes / m",
        on(MultiLabelSoftMarginLoss),
        times(lambda step: len(step.input)),
    ),
    StepMistake(
        "weights applied twice",
        "The weight is multiplied in at the term and again at its gradient.",
        "w^2 for w",
        LOGITS,
        _weighted,
        lambda step: (step.right[0] * step.layer.per_row("weight", step.input), {}),
    ),
    StepMistake(
        "y outside the exponential forgotten",
        "The factor y that the chain rule brings out of exp(-y z) is missing.",
        "-1 / (1 + exp(y z)) for -y / (1 + exp(y z))",
        SOFT_MARGIN,
        on(SoftMarginLoss),
        of_terms(lambda t: -sigmoid(-t.y * t.a)),
    ),
    StepMistake(
        "y in the exponential forgotten",
        "The sigmoid is taken of z, not of y z.",
        "-y / (1 + exp(z)) for -y / (1 + exp(y z))",
        SOFT_MARGIN,
        on(SoftMarginLoss),
        of_terms(lambda t: -t.y * sigmoid(-t.a)),
    ),
    StepMistake(
        "sigmoid of the wrong sign",
        "The better the answer, the larger the gradient: the sigmoid is taken of y z, not of -y z.",
        "-y / (1 + exp(-y z)) for -y / (1 + exp(y z))",
        SOFT_MARGIN,
        on(SoftMarginLoss),
        of_terms(lambda t: -t.y * sigmoid(t.y * t.a)),
    ),
)
