"""Gradient descent with rounding noise, updates included: how far apart two descents from one start may come."""

from collections.abc import Iterator

import torch

from oracle.case import Case
from oracle.rounding.chain import Chain
from oracle.rounding.noise import RoundingNoise
from oracle.rounding.replicas import Groups
from oracle.rounding.scales import format_of, seed
from oracle.torch_run import State
from oracle.twins import to_numpy


def noisy_descent(case: Case, alpha: float, steps: int, replicas: int) -> Iterator[State]:
    """The states of `torch_descent`, each with a leading axis: the descent without noise, then so many with.

    On the way down a comparison may fall otherwise at some step, and all that follows with it: every descent decides for itself.
    """
    chain = Chain(case, Groups(1, replicas))
    mode = RoundingNoise(chain.groups, format_of(case.dtype), 0.0, seed(case.name))
    for _ in range(steps + 1):
        trace = chain.run(mode, of_input=False)
        yield State(
            trace.loss,
            tuple({name: to_numpy(value) for name, value in own.items()} for own in chain.params),
            trace.parameter_gradients,
        )
        with mode:
            chain.params = [
                {name: value - alpha * torch.from_numpy(grads[name]) for name, value in own.items()}
                for own, grads in zip(chain.params, trace.parameter_gradients, strict=True)
            ]
