"""Activations that act on each element alone, at stratified inputs; in a half precision at every number there is."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import Activation, Network, init
from oracle import referee
from oracle.accuracy.points import NEAR, edges, stratified, zeros_of_derivative
from oracle.accuracy.rounded import either_side
from oracle.accuracy.sample import Floats, Sample, failures, quantity
from oracle.accuracy.sides import Params, guarded, ours, torchs
from oracle.accuracy.subject import Subject
from oracle.alone import UPSTREAM
from oracle.inputs import generator

#: Rows of the input, for records with a parameter for each.
ROWS = 3


def measure(subject: Subject, inputs: int, seed: int) -> Sample:
    """Value and derivative at `inputs` numbers. Raises NoDefinition, Undecided."""
    record: Any = subject.record
    rng, dtype = generator(seed, f"accuracy/{subject}"), subject.numpy
    params: Params = init(Network((record,), UPSTREAM), rng, dtype=dtype)[0]
    critical, zeros = _critical(record, params, dtype)
    z = stratified(inputs, dtype, critical, rng)
    if subject.wrt:  # every element a channel of its own, so that the gradient of its parameter is its own
        record = replace(record, num_parameters=len(z))
        params = init(Network((record,), UPSTREAM), rng, dtype=dtype)[0]
        x = z[:, None]
    else:
        rows = max((len(value) for value in params.values()), default=1)
        x = np.broadcast_to(z, (rows, len(z)))
    truth = referee.elementwise(record, x, _given(record, params, x), wrt=subject.wrt or None)
    if not subject.wrt:
        truth = either_side(record, dtype, x, truth, lambda own, z: referee.elementwise(own, z, _given(own, params, z)))
    upstream = np.ones(x.shape, dtype)
    shape = x.shape[:1] if subject.wrt else x.shape
    sides = [guarded(partial(side, record, params, x, upstream, subject.wrt), x.shape, shape) for side in (ours, torchs)]
    here = x.astype(np.float64)

    def describe(i: int) -> Any:
        at = np.unravel_index(i, x.shape)
        used = {name: float(value[at[0] if len(value) > 1 else 0]) for name, value in params.items()}
        return {"z": float(here[at]), **used} if used else float(here[at])

    slope = referee.Numbers(*(part.reshape(shape) for part in truth.derivative))
    return Sample(
        len(z),
        quantity(truth.value, [side.value for side in sides], here, describe),
        quantity(
            slope,
            [side.derivative for side in sides],
            here.reshape(shape),
            describe,
            counts=~np.isnan(here.reshape(shape)),  # a slope at NaN is a convention, and torch's changes with the dtype
            near=_near(here, zeros).reshape(shape),
            largest=_largest_term(here, truth).reshape(shape),
        ),
        failures(*sides),
    )


def _given(record: Activation, params: Params, x: NDArray[Any]) -> Params:
    """What the referee is told: parameters, and the slopes that a training run drew."""
    noise = record.noise(x.shape, x.dtype)
    return params if noise is None else {**params, "slope": noise}


def _critical(record: Activation, params: Params, dtype: np.dtype[Any]) -> tuple[list[float], list[float]]:
    """Kinks, zeros of the derivative and edges of the range; and the zeros alone."""
    own = {name: value[:1] for name, value in params.items()}

    def truths(z: Floats) -> tuple[Floats, Floats]:
        found = referee.elementwise(record, z[None], _given(record, own, z[None]))
        return found.value.hi[0], found.derivative.hi[0]

    if record.noise((1, 1), dtype) is not None:  # slopes at random: no curve to follow
        return [kink.at for kink in record.kinks] + [0.0], []
    zeros = zeros_of_derivative(truths)
    return sorted({0.0, *(kink.at for kink in record.kinks), *zeros, *edges(truths, dtype)}), zeros


def _near(x: Floats, zeros: list[float]) -> NDArray[np.bool_]:
    found = np.zeros(x.shape, bool)
    for zero in zeros:
        found |= np.abs(x - zero) <= NEAR
    return found


def _largest_term(z: Floats, truth: referee.Truth) -> Floats:
    """The larger of the two terms that the product rule adds up for f(z) = z h(z): h(z), and z h'(z) = f'(z) - h(z)."""
    with np.errstate(all="ignore"):
        h = truth.value.hi / z
        return np.nan_to_num(np.maximum(np.abs(h), np.abs(truth.derivative.hi.reshape(z.shape) - h)), nan=0.0, posinf=0.0)
