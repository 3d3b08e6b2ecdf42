"""Where the notes' shorthand needs care: the literal formula and the right one, both really computed with NumPy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from manualbp import Linear
from manualbp.layer import Elementwise
from oracle.mutants.trial import Bench

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Tried:
    """What came of an expression: an array, or the message of the error it raised."""

    formula: str
    code: str
    result: Any = None
    error: str = ""


@dataclass(frozen=True)
class Care:
    """One place where what is written and what is meant differ.

    `outcome` says in a few words what the literal one costs here.
    """

    title: str
    why: str
    literal: Tried
    right: Tried

    @property
    def same(self) -> bool:
        """Whether the literal formula happens to give the right numbers in the right shape."""
        found, wanted = self.literal.result, self.right.result
        return found is not None and np.shape(found) == np.shape(wanted) and bool(np.allclose(found, wanted, rtol=1e-12, atol=0))

    def says(self, other: "Care") -> bool:
        """Whether another one came to the same results."""
        pairs = zip((self.literal, self.right), (other.literal, other.right), strict=True)
        return all(a.error == b.error and np.array_equal(a.result, b.result) for a, b in pairs)

    @property
    def outcome(self) -> str:
        found, wanted = self.literal.result, self.right.result
        if found is None:
            return "NumPy refuses: the shapes do not fit."
        if np.shape(found) != np.shape(wanted):
            return f"No error, and the shape is {np.shape(found)} where {np.shape(wanted)} is right."
        return "Here both are the same." if self.same else "No error, the right shape, and wrong numbers."


@dataclass(frozen=True)
class Written:
    """A formula with the NumPy expression that says just this."""

    formula: str
    code: str
    compute: Callable[[Arrays], Any]

    def tried(self, given: Arrays) -> Tried:
        """The result, or NumPy's own message."""
        try:
            return Tried(self.formula, self.code, result=np.asarray(self.compute(given)))
        except ValueError as error:
            return Tried(self.formula, self.code, error=f"ValueError: {error}")


def _jacobian(given: Arrays) -> Any:
    """dz_i/dW_jk for one sample: the number a_k where i = j, else 0."""
    return np.einsum("ij,k->ijk", np.eye(len(given["delta"])), given["a_left"][:, 0])


#: title, why, the literal formula, the right one. `delta`, `W`, `b` are those of the last layer, `z` is that of the layer to
#: its left, with the slope g'(z) there and its a, `a_left`.
PLACES: tuple[tuple[str, str, Written, Written], ...] = (
    (
        "The transpose on a",
        "An error has one row for each node of its layer, a one for each node to the left. Only δ aᵀ gives a number to every "
        "weight, and its inner sum runs over the samples.",
        Written("dC/dW[l] = delta[l] a[l-1]", "delta @ a", lambda of: of["delta"] @ of["a_left"]),
        Written("dC/dW[l] = delta[l] a[l-1]^T", "delta @ a.T", lambda of: of["delta"] @ of["a_left"].T),
    ),
    (
        "The sum over the batch",
        "b has one number for each node, δ one for each node and sample. With a single sample the numbers are right and the "
        "shape is not: (n, 1) for (n), which the next line pays for.",
        Written("dC/db[l] = delta[l]", "delta", lambda of: of["delta"]),
        Written("dC/db[l] = delta[l], summed over the batch", "delta.sum(axis=1)", lambda of: of["delta"].sum(axis=1)),
    ),
    (
        "What the missing sum does to the update",
        "With one sample, or as many as nodes, b − α δ raises no error: NumPy repeats b, and the bias comes back as a matrix.",
        Written("b[l] - alpha delta[l]", "b - 0.5 * delta", lambda of: of["b"] - 0.5 * of["delta"]),
        Written("b[l] - alpha dC/db[l]", "b - 0.5 * delta.sum(axis=1)", lambda of: of["b"] - 0.5 * of["delta"].sum(axis=1)),
    ),
    (
        "The transpose on W",
        "W takes a from left to right. Going back, node j collects from all the nodes i it leads to: rows and columns change "
        "places. Where a layer has as many nodes as the one before, forgetting it raises no error.",
        Written("dC/da[l-1] = W[l] delta[l]", "W @ delta", lambda of: of["W"] @ of["delta"]),
        Written("dC/da[l-1] = W[l]^T delta[l]", "W.T @ delta", lambda of: of["W"].T @ of["delta"]),
    ),
    (
        "The elementwise product, and when it comes",
        "g′(z) multiplies each node's own number, after the weighted sum. Read as one chain of matrix products the formula is "
        "another one, or none at all.",
        Written(
            "delta[l-1] = W[l]^T delta[l] g'(z[l-1])", "W.T @ delta @ slope", lambda of: of["W"].T @ of["delta"] @ of["slope"]
        ),
        Written(
            "delta[l-1] = (W[l]^T delta[l]) * g'(z[l-1])",
            "(W.T @ delta) * slope",
            lambda of: (of["W"].T @ of["delta"]) * of["slope"],
        ),
    ),
    (
        "The product taken too early",
        "Wᵀ (δ ⊙ g′) multiplies with the slopes of the wrong nodes: those on the left belong to the sum, not to its terms.",
        Written(
            "delta[l-1] = W[l]^T (delta[l] * g'(z[l-1]))",
            "W.T @ (delta * slope)",
            lambda of: of["W"].T @ (of["delta"] * of["slope"]),
        ),
        Written(
            "delta[l-1] = (W[l]^T delta[l]) * g'(z[l-1])",
            "(W.T @ delta) * slope",
            lambda of: (of["W"].T @ of["delta"]) * of["slope"],
        ),
    ),
    (
        "The dimension of ∂z/∂W",
        "The notes write ∂z/∂w = a, true of one node and one weight. For the whole layer ∂z/∂W has three axes (node, and row "
        "and column of the weight) and is 0 wherever the weight does not lead to the node. Summed against δ it gives δ aᵀ. "
        "Taken as a vector, a pairs off with δ node by node. One sample.",
        Written("dC/dW = delta * a", "delta[:, 0] * a[:, 0]", lambda of: of["delta"][:, 0] * of["a_left"][:, 0]),
        Written(
            "dC/dW_jk = sum_i delta_i dz_i/dW_jk",
            'np.einsum("i,ijk->jk", delta[:, 0], dz_dW)',
            lambda of: np.einsum("i,ijk->jk", of["delta"][:, 0], _jacobian(of)),
        ),
    ),
)


def cares(bench: Bench) -> tuple[Care, ...]:
    """Every place, tried on the last layer of a network; those that need a layer to its left only where there is one."""
    arrays = _last_layer(bench)
    return tuple(
        Care(title, why, literal.tried(arrays), right.tried(arrays))
        for title, why, literal, right in PLACES
        if _has(arrays, right)
    )


def _has(arrays: Arrays, written: Written) -> bool:
    try:
        written.compute(arrays)
    except KeyError:
        return False
    return True


def _last_layer(bench: Bench) -> Arrays:
    network, trace = bench.case.network, bench.honest
    linears = [at for at, layer in enumerate(network.layers) if isinstance(layer, Linear)]
    if not linears or trace.failure or bench.case.x.ndim != 2:
        return {}
    at = linears[-1]
    own = {"W": bench.case.params[at]["weight"], "delta": trace.gradients[at + 1], "a_left": trace.values[at]}
    if "bias" in bench.case.params[at]:
        own["b"] = bench.case.params[at]["bias"]
    if at > 0 and isinstance(layer := network.layers[at - 1], Elementwise):
        z = np.asarray(trace.values[at - 1], np.float64)
        own["slope"] = layer.value_and_vjp(z, np.ones_like(z))[1]
    return own
