"""What follows end to end from an inaccuracy of torch's in one layer, with kinks on the way."""

from dataclasses import replace

import numpy as np
import pytest

from manualbp import HalfSquaredError, Identity, LeakyReLU, SoftMarginLoss
from oracle.check import rows
from oracle.manual_run import manual_run
from oracle.torch_run import torch_run
from support import draw


def overflowing(on_kink):
    """A loss whose gradient is NaN in torch and a number in truth, behind a LeakyReLU whose input is 0 but for rounding, or is not."""
    case = draw([LeakyReLU(0.25), Identity()], SoftMarginLoss(reduction="sum"), (1, 1, 1), 1, "float32")
    weight, x = case.params[0]["weight"], case.x
    case.params[0]["bias"][:] = -(weight @ x)[:, 0] * np.float32(1 + 2e-7 if on_kink else 2)
    case.params[2]["bias"][:] = -1000
    return replace(case, target=np.ones((1, 1), "f4"))


@pytest.mark.parametrize(
    ("on_kink", "times", "verdict"), [(True, 4, "reference"), (True, 40, "nonfinite"), (False, 4, "nonfinite")]
)
def test_a_candidate_may_be_on_the_other_side_of_a_kink_also_where_torch_is_nan(on_kink, times, verdict):
    case = overflowing(on_kink)
    assert np.isnan(torch_run(case)["delta[1]"]).all()
    right = manual_run(case)
    alike = {row.symbol: row.verdict for row in rows(case, candidate=right) if row.comparison == "end to end"}
    assert alike["delta[1]"] == "reference"
    slope = abs(right["delta[1]"] / right["dC/da[1]"]).item()
    other = right["delta[1]"] * np.float32(1 / times if slope > 0.5 and times == 4 else times)
    spoilt = replace(right, gradients=(right.gradients[0], other, *right.gradients[2:]))
    found = {row.symbol: row.verdict for row in rows(case, candidate=spoilt) if row.comparison == "end to end"}
    assert found["delta[1]"] == verdict


def test_where_torch_is_right_nothing_is_looked_for():
    case = draw([LeakyReLU(), Identity()], HalfSquaredError(), (4, 5, 3), 6)
    wrong = manual_run(case)
    wrong = replace(wrong, gradients=(2 * wrong.gradients[0], *wrong.gradients[1:]))
    assert {row.verdict for row in rows(case, candidate=wrong) if row.symbol == "dC/dx" and row.comparison == "end to end"} == {
        "differ"
    }
