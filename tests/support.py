"""What several tests need: records by their text, numbers for them, mistakes planted on purpose."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from manualbp import Activation, Linear, Loss, Network, catalogue, init
from oracle.case import DTYPES as KNOWN
from oracle.case import Case
from oracle.inputs import upstream

ACTIVATIONS = [record for cls in catalogue(Activation).values() for record in cls.examples()]
LOSSES = [record for cls in catalogue(Loss).values() for record in cls.examples()]
DTYPES = list(KNOWN)


def for_rows(record, rows):
    """The same example, made for inputs of so many rows."""
    return type(record).examples(rows)[type(record).examples().index(record)]


def axes(*records):
    """Axes between features and batch that these records agree on: none unless one insists."""
    return (2, 3)[: max(record.extra_axes or 0 for record in records)]


def draw(activations, loss, widths, batch, dtype="float64", seed=0, bias=True):
    """A case with these activations behind its Linear layers, one for each; the last width counts for each input of the loss."""
    layers = []
    loss = for_rows(loss, widths[-1])
    widths = (*widths[:-1], widths[-1] * len(loss.inputs))
    for activation, (rows_in, rows_out) in zip(activations, pairwise(widths), strict=True):
        rows = activation.rows_in(rows_out)
        layers += [Linear(rows_in, rows, bias), activation.fitted(rows)]
    network = Network(tuple(layers), loss)
    rng = np.random.default_rng(seed)
    params = init(network, rng, dtype=KNOWN[dtype])
    x = rng.standard_normal((widths[0], *axes(*activations, loss), batch)).astype(KNOWN[dtype])
    output = network.output_shape(x.shape)
    target = loss.target_domain.sample(rng, loss.target_shape(output), KNOWN[dtype])
    return Case("drawn", network, params, x, target, upstream(loss, output, rng, KNOWN[dtype]))


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
