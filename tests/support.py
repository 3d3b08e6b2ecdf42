"""What several tests need: records by their text, numbers for them, mistakes planted on purpose."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from manualbp import Activation, Linear, Loss, Network, catalogue, init
from oracle.case import Case

ACTIVATIONS = [record for cls in catalogue(Activation).values() for record in cls.examples()]
LOSSES = [record for cls in catalogue(Loss).values() for record in cls.examples()]
DTYPES = ["float64", "float32"]


def draw(activations, loss, widths, batch, dtype="float64", seed=0, bias=True):
    """A case with these activations behind its Linear layers, one for each."""
    layers = []
    for activation, (rows_in, rows_out) in zip(activations, pairwise(widths), strict=True):
        layers += [Linear(rows_in, rows_out, bias), activation]
    network = Network(tuple(layers), loss)
    rng = np.random.default_rng(seed)
    params = init(network, rng, dtype=dtype)
    x = rng.standard_normal((widths[0], batch)).astype(dtype)
    target = loss.target_domain.sample(rng, (widths[-1], batch), np.dtype(dtype))
    return Case("drawn", network, params, x, target, float(rng.uniform(0.5, 2)))


def link(loss):
    """The activation in front of this loss."""
    return catalogue(Activation)[loss.link]()


def planted(record, spoil):
    """The same layer or loss with a wrong backward pass: `spoil` changes what it returns. Its twin stays the original's."""

    def backward(self, *arguments):
        return spoil(super(wrong, self).backward(*arguments))

    wrong = type(type(record).__name__, (type(record),), {"backward": backward})
    return wrong(**record.options())


def with_layer(case, position, layer):
    """The case with another layer, or another loss where the position is behind the last."""
    layers = case.network.layers
    if position == len(layers):
        network = replace(case.network, loss=layer)
    else:
        network = replace(case.network, layers=(*layers[:position], layer, *layers[position + 1 :]))
    return replace(case, network=network)


def scale_element(array, at, factor):
    """A copy of the array with one element multiplied; its dtype and layout stay."""
    changed = array.copy(order="K")
    changed[at] *= factor
    return changed
