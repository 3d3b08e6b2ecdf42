"""The tolerance is measured: correct networks stay far inside it, and it is not so wide that it is blind."""

from dataclasses import replace

import numpy as np
import pytest

from oracle.case import SHAPES, Spec
from oracle.check import rows, table
from oracle.inputs import build
from oracle.rounding import movement, scales, unit_roundoff
from oracle.suite import specs
from oracle.torch_run import torch_run
from oracle.verdict import TOLERANCE
from support import ACTIVATIONS, LOSSES, draw, link

#: A seed that the tolerance was not chosen on.
FRESH = 20261124


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_correct_networks_use_less_than_half_of_it(dtype):
    texts = specs(dtypes=[dtype])[::23]
    assert len({spec.shape.name for spec in texts}) == len(SHAPES)
    found = table(row for spec in texts for row in rows(build(spec, FRESH)))
    assert len(found) > 3000
    assert found["margin"].max() < 0.5
    assert found["margin"].max() > 0.02, "an allowance fifty times too wide is a defect too"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_scale_is_a_few_unit_roundoffs_of_a_well_conditioned_array(loss, dtype):
    case = draw([ACTIVATIONS[0], link(loss)], loss, (5, 4, 3), 7, dtype)
    reference = torch_run(case)
    scale = scales(case, reference)
    for quantity, array in reference.quantities().items():
        share = scale[quantity] / (unit_roundoff(case.dtype) * np.abs(array).max())
        assert 1 <= share < 200, quantity


def test_scale_follows_the_condition():
    """b - b + tiny: the bias gradient is a small difference of large terms, and is allowed their rounding."""
    case = build(Spec.parse("width1/float32/Tanh/Identity/HalfSquaredError"), 0)
    plain = scales(case, torch_run(case))
    symbol = next(quantity for quantity in plain if quantity.symbol == "dC/db[2]")
    output = torch_run(case)["a[2]"]
    cancelling = case.target.copy()
    cancelling[:] = output  # a - y is all rounding now
    cancelling[:, 0] += 1e-6
    near = replace(case, target=cancelling)
    reference = torch_run(near)
    assert scales(near, reference)[symbol] > 100 * unit_roundoff(near.dtype) * np.abs(reference["dC/db[2]"]).max()
    assert plain[symbol] > 0


def test_same_case_same_scale():
    case = build(Spec.parse("notes/float32/GELU/Softmax/BCELoss"), 3)
    reference = torch_run(case)
    assert scales(case, reference) == scales(case, reference)


def test_an_infinity_does_not_swell_the_scale():
    exact = np.array([1.0, np.inf, 2.0])
    noisy = np.array([[1.1, np.inf, 2.0], [0.9, np.inf, np.nan]])
    assert movement(exact, noisy) == pytest.approx(0.1)
    assert movement(None, None) == 0.0


def test_there_is_one_number_per_dtype():
    assert set(TOLERANCE) == {"float64", "float32"}
    assert all(isinstance(number, float) for number in TOLERANCE.values())
