"""Test the tester: one element off by 1e-9, in any gradient, at any layer, must be seen there and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manualbp import CrossEntropyLoss, HalfSquaredError, Identity, Tanh, backpropagate
from manualbp.targets import ClassIndices
from oracle.check import END_TO_END, LAYERWISE, discrepancies
from oracle.manual_run import layerwise_run, manual_run
from oracle.report import Report
from oracle.report.words import answer
from oracle.torch_run import torch_run
from support import ACTIVATIONS, LOSSES, draw, link, planted, scale_element, with_layer

EPSILON = 1e-9


def elements(array):
    """Every element that a relative error can change."""
    return [at for at in np.ndindex(array.shape) if array[at] != 0]


def failing(table, comparison):
    rows = table[(table["comparison"] == comparison) & ~table["verdict"].isin(["agree", "reference"])]
    return set(rows["symbol"]), set(rows["position"])


def replaced(trace, quantity, array):
    """The trace with another array for one gradient."""
    if quantity.name in ("dC/dW", "dC/db"):
        name = {"dC/dW": "weight", "dC/db": "bias"}[quantity.name]
        grads = [dict(own) for own in trace.parameter_gradients]
        grads[quantity.position][name] = array
        return replace(trace, parameter_gradients=tuple(grads))
    node = quantity.position
    return replace(trace, gradients=(*trace.gradients[:node], array, *trace.gradients[node + 1 :]))


SMALL = draw([Tanh(), Identity()], HalfSquaredError(), (4, 5, 3), 6)


@pytest.mark.parametrize("quantity", [q for q in manual_run(SMALL).quantities() if q.is_gradient], ids=lambda q: q.symbol)
def test_every_element_of_every_gradient_array_is_watched(quantity):
    honest = manual_run(SMALL)
    array = honest.quantities()[quantity]
    places = elements(array)
    assert len(places) == array.size
    for at in places:
        wrong = replaced(honest, quantity, scale_element(array, at, 1 + EPSILON))
        table = discrepancies(SMALL, candidate=wrong)
        assert failing(table, END_TO_END)[0] == {quantity.symbol}
        assert failing(table, LAYERWISE)[0] == set()
        row = table[(table["comparison"] == END_TO_END) & (table["symbol"] == quantity.symbol)].iloc[0]
        assert row["verdict"] == "differ"
        assert row["worst_index"] == f"({', '.join(map(str, at))})"


def planted_cases():
    for position in range(7):
        yield pytest.param([Tanh(), Tanh(), Identity()], HalfSquaredError(), position, id=f"position {position}")
    for hidden in ACTIVATIONS:
        yield pytest.param([hidden, hidden, Identity()], HalfSquaredError(), 3, id=f"{hidden}")
    for loss in LOSSES:
        yield pytest.param([Tanh(), Tanh(), link(loss)], loss, 6, id=f"{loss}")


@pytest.mark.parametrize(("activations", "loss", "position"), [*planted_cases()])
def test_a_fault_in_one_backward_pass_fails_layerwise_in_that_layer_alone(activations, loss, position):
    """Every layer kind, activation and loss, and every position; position 6 is the loss."""
    case = draw(activations, loss, (4, 7, 5, 3), 6, seed=2)
    honest = torch_run(case)
    upstream = honest.gradients[position]
    at = np.unravel_index(np.abs(upstream).argmax(), upstream.shape)

    def spoil(result):
        grad_input, grads = result
        return scale_element(grad_input, at, 1 + EPSILON), grads

    record = case.network.loss if position == len(case.network.layers) else case.network.layers[position]
    wrong = with_layer(case, position, planted(record, spoil))
    table = discrepancies(case, candidate=manual_run(wrong), layerwise=layerwise_run(wrong, honest))
    symbols, positions = failing(table, LAYERWISE)
    assert positions == {position}
    assert len(symbols) == 1
    inherited, places = failing(table, END_TO_END)
    assert symbols <= inherited
    assert max(places) == position, "only what lies further back inherits the fault"


@pytest.mark.parametrize("parameter", ["weight", "bias"])
@pytest.mark.parametrize("position", [0, 2])
@settings(max_examples=25)
@given(seed=st.integers(0, 500))
def test_a_fault_in_one_parameter_gradient_stays_where_it_is(position, parameter, seed):
    case = draw([Tanh(), Identity()], HalfSquaredError(), (4, 5, 3), 6, seed=seed)
    rng = np.random.default_rng(seed)

    def spoil(result):
        grad_input, grads = result
        places = elements(grads[parameter])
        at = places[rng.integers(len(places))]
        return grad_input, grads | {parameter: scale_element(grads[parameter], at, 1 + EPSILON)}

    wrong = with_layer(case, position, planted(case.network.layers[position], spoil))
    table = discrepancies(case, candidate=manual_run(wrong), layerwise=layerwise_run(wrong, torch_run(case)))
    symbol = f"dC/d{'W' if parameter == 'weight' else 'b'}[{1 + position // 2}]"
    assert failing(table, END_TO_END)[0] == {symbol}
    assert failing(table, LAYERWISE)[0] == {symbol}


@pytest.mark.parametrize(
    "spoil", [lambda result: (result[0], {}), lambda result: (result[0], result[1] | {"gain": result[1]["bias"]})]
)
def test_a_gradient_too_few_or_too_many_fails(spoil):
    wrong = with_layer(SMALL, 2, planted(SMALL.network.layers[2], spoil))
    table = discrepancies(SMALL, candidate=manual_run(wrong))
    rows = table[table["verdict"] == "missing"]
    assert len(rows) > 0
    assert set(rows["comparison"]) == {END_TO_END}


@pytest.mark.parametrize(
    "wrong", [lambda g: g.astype("f4"), lambda g: g[:, :1], lambda g: None], ids=["dtype", "shape", "absent"]
)
def test_a_gradient_of_another_form_fails(wrong):
    honest = manual_run(SMALL)
    quantity = next(q for q in honest.quantities() if q.symbol == "dC/dW[1]")
    table = discrepancies(SMALL, candidate=replaced(honest, quantity, wrong(honest["dC/dW[1]"])))
    assert table[table["verdict"] != "agree"][["symbol", "verdict"]].to_numpy().tolist() == [["dC/dW[1]", "missing"]]


def raises(result):
    raise ZeroDivisionError("the bug")


def test_a_candidate_that_raises_is_a_failing_case_and_not_a_crash():
    wrong = with_layer(SMALL, 2, planted(SMALL.network.layers[2], raises))
    table = discrepancies(wrong)
    end_to_end = table[table["comparison"] == END_TO_END]
    assert set(end_to_end["verdict"]) == {"missing"}
    assert set(end_to_end["note"]) == {"candidate raised ZeroDivisionError: the bug"}
    assert failing(table, LAYERWISE) == ({"dC/dW[2]", "dC/db[2]", "dC/da[1]"}, {2}), "the layer that raises, and no other"


class InPlace(Tanh):
    """Overwrites the upstream gradient: the number it returns is right, the one it was given is gone."""

    def backward(self, params, residuals, grad_output):
        grad_output *= self.derivative(residuals)
        return grad_output, {}


def test_a_layer_that_works_in_place_is_found_and_the_reference_stays_whole():
    wrong = with_layer(SMALL, 1, InPlace())
    table = discrepancies(wrong)
    assert failing(table, LAYERWISE) == ({"delta[1]"}, {1})
    assert failing(table, END_TO_END)[0] == {"dC/da[1]"}, "what was recorded there has been overwritten"
    assert table["note"].str.contains("read-only").any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.ones((5, 6))}, ValueError, r"takes \(4, m\) inputs"),
        ({"x": np.ones((4, 6), int)}, TypeError, "floating-point"),
        ({"x": np.ones((4, 0)), "target": np.ones((3, 0))}, ValueError, "at least one sample"),
        ({"target": np.ones((1, 6))}, ValueError, "target of the output's shape"),
    ],
)
def test_a_case_that_does_not_fit_is_refused_before_any_run(change, error, message):
    with pytest.raises(error, match=message):
        discrepancies(replace(SMALL, **change))


def test_a_dtype_without_a_tolerance_is_refused_by_name():
    with pytest.raises(TypeError, match=r"compares float64, float32, float16 and bfloat16; got (longdouble|float128)"):
        discrepancies(replace(draw([Tanh()], HalfSquaredError(), (3, 2), 4), **long_doubles()))


def long_doubles():
    case = draw([Tanh()], HalfSquaredError(), (3, 2), 4)
    params = tuple({name: value.astype(np.longdouble) for name, value in own.items()} for own in case.params)
    return {"x": case.x.astype(np.longdouble), "target": case.target.astype(np.longdouble), "params": params}


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint64"])
def test_labels_of_any_integer_type_are_compared(dtype):
    case = draw([Identity()], CrossEntropyLoss(), (4, 3), 6)
    labels = ClassIndices().sample(np.random.default_rng(0), (3, 6), np.dtype(dtype))
    assert set(discrepancies(replace(case, target=labels.astype(dtype)))["verdict"]) == {"agree"}


def test_nothing_finite_is_shown_as_nothing_compared():
    case = draw([Tanh(), Identity()], HalfSquaredError(), (4, 5, 3), 6)
    case.x[:] = np.nan
    table = discrepancies(case)
    assert table["note"].str.endswith("NaN or infinity on both sides").all()
    assert table["max_abs"].isna().all()
    assert "28 of them hold NaN or infinity" in answer(Report(table))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_the_candidate_alone_fails_with_its_place(value):
    honest = manual_run(SMALL)
    quantity = next(q for q in honest.quantities() if q.symbol == "dC/dW[2]")
    array = honest["dC/dW[2]"].copy()
    array[2, 1] = value
    table = discrepancies(SMALL, candidate=replaced(honest, quantity, array))
    rows = table[table["verdict"] == "nonfinite"]
    assert rows[["symbol", "worst_index"]].to_numpy().tolist() == [["dC/dW[2]", "(2, 1)"]]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_batch_that_is_not_finite_runs_and_is_shown(loss):
    """NaN in one sample: both sides carry it, each row says so; what torch refuses is a row with torch's own words.

    A loss in which torch overlooks NaN, and passes 0 back, has rows that say that one side alone is not finite.
    """
    case = draw([Tanh(), link(loss)], loss, (3, 4, 2), 5)
    case.x[1, ..., 2] = np.nan
    table = discrepancies(case)
    assert len(table) >= 28
    failing = table[~table["verdict"].isin(["agree", "reference"])]
    if loss.extra_axes == 1:  # CTC's own gradient is not torch's, and where there is NaN the referee does not say who is right
        failing = failing[failing["position"] < len(case.network.layers)]
    assert failing["note"].str.contains("on one side only|torch: all elements of input should be between 0 and 1").all()
    assert table["note"].str.contains("NaN or infinity|on one side only|torch: all").any()


def test_the_planting_itself_is_what_fails():
    """The same wrapper with nothing spoilt agrees: it is the fault that is found, not the wrapper."""
    honest = with_layer(SMALL, 2, planted(SMALL.network.layers[2], lambda result: result))
    assert set(discrepancies(SMALL, candidate=manual_run(honest))["verdict"]) == {"agree"}
    assert backpropagate(honest.network, honest.params, honest.x, honest.target)["dC/dW[2]"].shape == (3, 5)
