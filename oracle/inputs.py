"""Numbers for a spec: drawn from the seed and the spec's own text, so that each case can be repeated alone."""

import shlex
import zlib
from typing import Any

import numpy as np

from manualbp import Loss, init
from oracle.case import DTYPES, Case, Spec

#: Spread of the input, and gain of the weights: z[1] has variance 1, and no chain of layers, not eight LogSoftmax in a
#: row, drives a sigmoid to where it rounds to 1. There torch's own gradient is exactly 0 and the mathematics' is not.
SPREAD, GAIN = 2.0, 0.5


def generator(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for every name under a seed."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def repeat_command(name: str, seed: int) -> str:
    """The shell command that compares the case of this name again."""
    return f"oracle run --case {shlex.quote(name)} --seed {seed}"


def build(spec: Spec, seed: int = 0) -> Case:
    """Draw parameters, input, target and the loss's own upstream gradient, which is never 1 everywhere."""
    name = str(spec)
    rng = generator(seed, name)
    network, dtype = spec.network(), DTYPES[spec.dtype]
    params = init(network, rng, dtype=dtype, gain=GAIN)
    x = (SPREAD * rng.standard_normal((spec.shape.widths[0], *spec.shape.extra, spec.shape.batch))).astype(dtype)
    output, loss = network.output_shape(x.shape), network.loss
    target = loss.target_domain.sample(rng, loss.target_shape(output), dtype)
    return Case(name, network, params, x, target, upstream(loss, output, rng, dtype))


def upstream(loss: Loss, output: tuple[int, ...], rng: np.random.Generator, dtype: np.dtype[Any]) -> Any:
    """A random upstream gradient for a loss on an output of this shape: a number, or one for every term. The dtype holds it."""
    shape = loss.terms_shape(output) if loss.reduction == "none" else ()
    drawn = (rng.uniform(0.5, 2.0, shape) * np.where(rng.random(shape) < 0.3, -1, 1)).astype(dtype)
    return drawn if shape else float(drawn)
