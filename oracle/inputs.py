"""Numbers for a spec: drawn from the seed and the spec's own text, so that each case can be repeated alone."""

import shlex
import zlib

import numpy as np

from manualbp import init
from oracle.case import Case, Spec

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
    """Draw parameters, input and target. The loss's own upstream gradient is drawn too: it is never 1."""
    name = str(spec)
    rng = generator(seed, name)
    network, dtype = spec.network(), np.dtype(spec.dtype)
    params = init(network, rng, dtype=dtype, gain=GAIN)
    x = (SPREAD * rng.standard_normal((spec.shape.widths[0], spec.shape.batch))).astype(dtype)
    target = network.loss.target_domain.sample(rng, (spec.shape.widths[-1], spec.shape.batch), dtype)
    grad_loss = float(rng.uniform(0.5, 2.0))
    return Case(name, network, params, x, target, grad_loss)
