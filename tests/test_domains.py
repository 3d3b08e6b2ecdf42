"""Targets: what a loss takes as one, and what else it could have been."""

import numpy as np

from manualbp.targets import NoTarget, Sequences
from support import LOSSES, axes


def test_a_target_elsewhere_is_elsewhere_and_a_target():
    for loss in LOSSES:
        shape = loss.target_shape((3 * len(loss.inputs), *axes(loss), 50))
        target = loss.target_domain.sample(np.random.default_rng(0), shape, np.dtype("f8"))
        other = loss.target_domain.elsewhere(target, shape[0])
        loss.target_domain.check(other, shape, np.dtype("f8"), "it")
        assert other.shape == target.shape
        if not isinstance(loss.target_domain, NoTarget | Sequences):
            same = (other == target) & (target != getattr(loss, "ignore_index", None)) & (target != -1)
            assert not same.any()
