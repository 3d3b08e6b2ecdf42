"""The losses on numbers, probabilities of their own and distributions: one term per feature."""

from collections.abc import Callable, Sequence

from flint import arb

from oracle.referee.balls import Series, absolute, constant, exact, joint, log, log1p, log_sigmoid, maximum, series, softplus
from oracle.referee.registry import define
from oracle.referee.terms import Blocks, Term, Weights, one_of_two, square, weighted

Target = Sequence[float]


def _per_feature(term: Callable[[Series, float], Series], blocks: Blocks, target: Target) -> list[Term]:
    return [Term(term(x, float(y))) for x, y in zip(blocks[0], target, strict=True)]


@define("_Upstream", "loss")
def upstream(blocks: Blocks, target: Sequence[float]) -> list[Term]:
    """<y, a>: what stands behind an activation alone, so that y is its upstream gradient."""
    return [Term(a * float(y)) for a, y in zip(blocks[0], target, strict=True)]


@define("L1Loss", "loss")
def l1(blocks: Blocks, target: Target) -> list[Term]:
    return _per_feature(lambda x, y: absolute(x - y), blocks, target)


@define("MSELoss", "loss")
def mse(blocks: Blocks, target: Target) -> list[Term]:
    return _per_feature(lambda x, y: square(x - y), blocks, target)


@define("HalfSquaredError", "loss")
def half_squared_error(blocks: Blocks, target: Target) -> list[Term]:
    """The notes' cost; it is a sum and has no other reduction."""
    return _per_feature(lambda x, y: square(x - y) / 2, blocks, target)


def _huber(x: Series, y: float, delta: float) -> Series:
    """(x - y)^2 / 2 up to |x - y| = delta, the tangent from there on."""
    size = absolute(x - y)
    return joint(size, delta, lambda: square(x - y) / 2, lambda: (size - exact(delta) / 2) * delta)


@define("HuberLoss", "loss")
def huber(blocks: Blocks, target: Target, delta: float = 1.0) -> list[Term]:
    return _per_feature(lambda x, y: _huber(x, y, delta), blocks, target)


@define("SmoothL1Loss", "loss")
def smooth_l1(blocks: Blocks, target: Target, beta: float = 1.0) -> list[Term]:
    """Huber's loss with delta = beta, divided by beta; |x - y| for beta = 0."""
    if beta == 0:
        return l1(blocks, target)
    return _per_feature(lambda x, y: _huber(x, y, beta) / beta, blocks, target)


@define("PoissonNLLLoss", "loss")
def poisson_nll(blocks: Blocks, target: Target, log_input: bool = True, full: bool = False, eps: float = 1e-8) -> list[Term]:
    def term(x: Series, y: float) -> Series:
        plain = x.exp() - x * y if log_input else x - log(x + eps) * y
        return plain + _stirling(y) if full and y > 1 else plain

    return _per_feature(term, blocks, target)


def _stirling(y: float) -> arb:
    """Approximately log y!, by Stirling's formula, for y > 1."""
    ball = exact(y)
    return ball * ball.log() - ball + (2 * arb.pi() * ball).log() / 2


@define("GaussianNLLLoss", "loss", blocks=2)
def gaussian_nll(blocks: Blocks, target: Target, full: bool = False, eps: float = 1e-6) -> list[Term]:
    """(log v + (x - y)^2 / v) / 2 with v = max(var, eps), and log(2 pi) / 2 on top when `full`.

    "The clamping is ignored with respect to autograd", says the documentation: what lifts var to eps counts as a constant.
    """
    terms = []
    for x, var, y in zip(*blocks, target, strict=True):
        v = var + maximum(series(eps - var[0]), 0)
        term = (log(v) + square(x - float(y)) / v) / 2
        terms.append(Term(term + constant(_half_log_2_pi) if full else term))
    return terms


def _half_log_2_pi() -> arb:
    return (2 * arb.pi()).log() / 2


@define("KLDivLoss", "loss")
def kl_div(blocks: Blocks, target: Target, log_target: bool = False) -> list[Term]:
    """For each feature y (log y - x), 0 for y = 0; with log_target the target is log y."""

    def term(x: Series, y: float) -> Series:
        if log_target:
            return (exact(y) - x) * exact(y).exp()
        return (log(series(exact(y))) - x) * y if y else series(0)

    return _per_feature(term, blocks, target)


@define("BCELoss", "loss")
def bce(blocks: Blocks, target: Target, weight: Weights = None) -> list[Term]:
    """-(y log a + (1 - y) log(1 - a)), each logarithm at least -100, as the documentation says."""

    def cut(number: Series, logarithm: Callable[[], Series]) -> Series:
        return joint(number, constant(_lowest), lambda: series(-100), logarithm)

    def term(a: Series, y: float) -> Series:
        return -(cut(a, lambda: log(a)) * y + cut(1 - a, lambda: log1p(-a)) * (1 - exact(y)))

    return [Term(x) for x in weighted([t.value for t in _per_feature(term, blocks, target)], weight)]


def _lowest() -> arb:
    return arb(-100).exp()


@define("BCEWithLogitsLoss", "loss")
def bce_with_logits(blocks: Blocks, target: Target, weight: Weights = None, pos_weight: Weights = None) -> list[Term]:
    """-(pos_weight y log s(z) + (1 - y) log(1 - s(z))) with the logistic function s, for which 1 - s(z) = s(-z)."""
    positive = weighted([log_sigmoid(z) for z in blocks[0]], pos_weight)
    terms = [-(p * float(y) + log_sigmoid(-z) * (1 - exact(y))) for p, z, y in zip(positive, blocks[0], target, strict=True)]
    return [Term(x) for x in weighted(terms, weight)]


@define("SoftMarginLoss", "loss")
def soft_margin(blocks: Blocks, target: Target) -> list[Term]:
    return _per_feature(lambda x, y: softplus(x * -y), blocks, target)


@define("HingeEmbeddingLoss", "loss")
def hinge_embedding(blocks: Blocks, target: Target, margin: float = 1.0) -> list[Term]:
    return _per_feature(lambda x, y: x if one_of_two(y) == 1 else maximum(margin - x, 0), blocks, target)


@define("MarginRankingLoss", "loss", blocks=2)
def margin_ranking(blocks: Blocks, target: Target, margin: float = 0.0) -> list[Term]:
    first, second = blocks
    return [Term(maximum((b - a) * float(y) + margin, 0)) for a, b, y in zip(first, second, target, strict=True)]
