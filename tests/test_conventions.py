"""The table of conventions: made from the records, measured on torch, and able to say that a record is wrong."""

import pytest

from manualbp import L1Loss, ReLU
from manualbp.layer import Kink
from oracle.conventions import conventions, markdown
from support import ACTIVATIONS, LOSSES


def test_every_kink_of_every_record_is_in_it_and_is_torchs():
    found = list(conventions())
    assert all(row.holds for row in found), [row for row in found if not row.holds]
    wanted = {str(record) for record in ACTIVATIONS if record.kinks}
    wanted |= {str(loss) for loss in LOSSES if loss.kinks and loss.reduction == "sum"}
    assert {row.function for row in found} == wanted
    assert len(found) > 40


@pytest.mark.parametrize(
    ("where", "subdifferential", "taken"),
    [("ReLU", "[0, 1]", "0"), ("L1Loss(reduction='sum')", "[-1, 1]", "0"), ("Hardswish", "[-0.5, 0]", "0")],
)
def test_known_subdifferentials(where, subdifferential, taken):
    row = next(row for row in conventions() if row.function == where)
    assert (row.subdifferential, row.torch_takes) == (subdifferential, taken)
    assert f"| {where} |" in markdown([row])


def test_a_record_that_states_another_value_is_found(monkeypatch):
    monkeypatch.setattr(ReLU, "kinks", property(lambda self: (Kink(0.0, 1.0),)))
    wrong = [row.function for row in conventions() if not row.holds]
    assert wrong == ["ReLU"]
    assert L1Loss().kinks
