"""The comparator, before anything it compares: each way to be wrong must be seen, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from manualbp import Quantity
from oracle.discrepancy import compare, measure, ulps
from oracle.verdict import TOLERANCE, Verdict, all_agree

U = 2.0**-53
REFERENCE = np.array([[1.0, -2.0, 3.0], [0.5, 0.0, -8.0]])
SCALE = 8 * U


def judged(candidate, reference=REFERENCE, scale=SCALE):
    return measure(candidate, reference, scale)


def test_equal_arrays_agree_with_zero_discrepancy():
    found = judged(REFERENCE.copy())
    assert found.verdict == Verdict.AGREE
    assert (found.max_abs, found.max_rel, found.normwise, found.max_ulp, found.margin) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("at", list(np.ndindex(REFERENCE.shape)))
@pytest.mark.parametrize(("share", "verdict"), [(0.99, Verdict.AGREE), (1.01, Verdict.DIFFER)])
def test_the_allowance_is_the_border_at_every_element(at, share, verdict):
    candidate = REFERENCE.copy()
    allowed = TOLERANCE * 2.0**-40
    candidate[at] += share * allowed
    found = judged(candidate, scale=2.0**-40)
    assert found.verdict == verdict
    assert found.worst_index == str(at)
    assert found.candidate == candidate[at]
    assert found.reference == REFERENCE[at]
    assert found.allowed == allowed
    assert found.margin == pytest.approx(share, rel=1e-2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["candidate", "reference"])
@pytest.mark.parametrize("scale", [SCALE, np.inf, np.nan])
def test_not_finite_on_one_side_never_passes(value, side, scale):
    spoilt = REFERENCE.copy()
    spoilt[1, 0] = value
    found = judged(spoilt, REFERENCE, scale) if side == "candidate" else judged(REFERENCE, spoilt, scale)
    assert found.verdict == Verdict.NONFINITE
    assert found.worst_index == "(1, 0)"


def test_infinities_of_other_sign_never_pass():
    one, other = REFERENCE.copy(), REFERENCE.copy()
    one[0, 0], other[0, 0] = np.inf, -np.inf
    assert judged(one, other).verdict == Verdict.NONFINITE


def test_a_scale_that_is_no_number_never_passes():
    assert judged(REFERENCE + 1e-3, scale=np.nan).verdict == Verdict.DIFFER


def test_the_same_infinity_does_not_hide_the_other_elements():
    one, other = REFERENCE.copy(), REFERENCE.copy()
    one[0, 0] = other[0, 0] = np.inf
    one[0, 1] = other[0, 1] = np.nan
    assert judged(one, other).verdict == Verdict.AGREE
    assert "2 of 6 elements" in judged(one, other).note
    one[1, 1] = 1e-9
    found = judged(one, other)
    assert found.verdict == Verdict.DIFFER
    assert found.worst_index == "(1, 1)"


def test_the_same_infinity_needs_no_scale():
    one, scale = REFERENCE.copy(), np.full(REFERENCE.shape, SCALE)
    one[0, 0], scale[0, 0] = np.inf, np.nan
    assert judged(one, one.copy(), scale).verdict == Verdict.AGREE
    scale[1, 1] = np.nan
    assert judged(one, one.copy(), scale).verdict == Verdict.DIFFER


def test_scale_zero_demands_equality():
    assert judged(REFERENCE, scale=0.0).verdict == Verdict.AGREE
    assert judged(np.nextafter(REFERENCE, 9), scale=0.0).verdict == Verdict.DIFFER


def test_a_scale_for_each_element_is_taken_as_such():
    scale = np.full(REFERENCE.shape, 1.0)
    scale[0, 2] = 1e-20
    candidate = REFERENCE + 1e-9
    found = judged(candidate, scale=scale)
    assert found.verdict == Verdict.DIFFER
    assert found.worst_index == "(0, 2)"


@pytest.mark.parametrize(
    ("candidate", "note"),
    [
        (None, "the candidate does not give it"),
        (REFERENCE.T, "shape (3, 2), the reference has (2, 3)"),
        (REFERENCE[:, :1], "shape (2, 1), the reference has (2, 3)"),  # would broadcast
        (REFERENCE.astype("float32"), "dtype float32, the reference has float64"),
    ],
)
def test_what_is_not_given_or_of_another_form_is_missing(candidate, note):
    found = judged(candidate)
    assert found.verdict == Verdict.MISSING
    assert found.note == note


def test_what_only_the_candidate_has_is_a_failing_row_too():
    here, extra = Quantity(0, 1, "dC/dW", "dC/dW[1]"), Quantity(0, 1, "dC/dbias", "dC/dbias[1]")
    rows = list(
        compare("c", "end to end", ("Linear", "loss"), np.dtype("f8"), {here: REFERENCE, extra: REFERENCE}, {here: REFERENCE}, {})
    )
    assert [(row.symbol, row.verdict, row.note) for row in rows] == [
        ("dC/dW[1]", "agree", ""),
        ("dC/dbias[1]", "missing", "the reference does not give it"),
    ]


def test_each_missing_quantity_is_a_row():
    here, gone = Quantity(0, 1, "z", "z[1]"), Quantity(1, 1, "a", "a[1]")
    rows = list(
        compare("c", "end to end", ("Linear", "Tanh"), np.dtype("f8"), {here: REFERENCE}, {here: REFERENCE, gone: REFERENCE}, {})
    )
    assert [row.verdict for row in rows] == ["agree", "missing"]


@given(st.integers(-(2**62), 2**62), st.integers(0, 10**6))
def test_ulps_counts_the_floats_between(start, count):
    bits = np.array([abs(start) % (2**62)], dtype=np.int64)  # a finite float of either sign
    sign = 1 if start >= 0 else -1
    one, other = sign * bits.view("f8"), sign * (bits + count).view("f8")
    if np.isfinite(other).all():
        assert ulps(one, other)[0] == count
        assert ulps(other, one)[0] == count


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_ulps_through_zero_and_at_the_far_ends(dtype):
    smallest = np.nextafter(np.zeros(1, dtype), np.ones(1, dtype))
    largest = np.array([np.finfo(dtype).max])
    assert ulps(smallest, -smallest)[0] == 2
    assert ulps(np.zeros(1, dtype), -np.zeros(1, dtype))[0] == 0
    assert ulps(largest, -largest)[0] == pytest.approx(2 * float(largest.view(f"i{largest.itemsize}")[0]))


@given(arrays("f8", (3,), elements=st.floats(allow_nan=True, allow_infinity=True)), arrays("f8", (3,), elements=st.floats()))
def test_whatever_comes_an_agreement_is_a_proof(candidate, reference):
    """Agree means: every element is equal, the same NaN or infinity, or within the allowance."""
    found = measure(candidate, reference, 1e-10)
    with np.errstate(all="ignore"):
        near = np.abs(candidate - reference) <= TOLERANCE * 1e-10
    same = (candidate == reference) | (np.isnan(candidate) & np.isnan(reference))
    assert (found.verdict == Verdict.AGREE) == bool((near | same).all())


def test_nothing_compared_is_not_agreement():
    assert not all_agree([])
    assert all_agree(["agree", "agree"])
    assert not all_agree(["agree", "missing"])


def test_scalars_and_empty_arrays_have_rows():
    assert judged(np.float64(1.5), np.float64(1.5)).worst_index == "()"
    assert judged(np.zeros((0, 3)), np.zeros((0, 3))).verdict == Verdict.AGREE


@pytest.mark.parametrize(
    ("small", "verdict"),
    [
        (1e-4, "reference"),
        (1e-4 * (1 + 1e-12), "reference"),  # what is left of terms of 1 that cancelled
        (1e-4 * (1 + 1e-11), "differ"),  # more than they lost
        (0.0, "differ"),  # torch's own wrong number
    ],
)
def test_where_torch_is_wrong_the_candidate_may_lose_what_cancels(small, verdict):
    truth = np.array([1.0, 1e-4])
    found, torchs = np.array([1.0, small]), np.array([0.5, 0.0])
    result = measure(found, torchs, np.array([1e-17, 1e-300]), lambda where: (np.where(where, truth, np.nan), np.zeros(2)))
    assert result.verdict == verdict
