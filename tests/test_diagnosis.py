"""Where it goes wrong and which mistake it is: every mistake of the catalogue planted, alone and in twos, and none."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from manualbp import Activation, Linear, Loss, Trace, catalogue
from oracle.case import Spec
from oracle.check import END_TO_END, LAYERWISE, rows
from oracle.diagnosis import diagnose
from oracle.diagnosis.evidence import apart, furthest
from oracle.inputs import build
from oracle.manual_run import layerwise_run, manual_run
from oracle.mistakes import AssemblyMistake, Step, StepMistake, planted
from oracle.mistakes import catalogue as mistakes
from oracle.rounding import scales
from oracle.torch_run import torch_run
from oracle.verdict import Verdict
from support import planted as spoilt_record
from support import with_layer

DENSE = "4-8-8-3x16/{}/Tanh/Softmax/CrossEntropyLoss"


@cache
def runs(text, seed=0):
    """Everything that is computed once for a case."""
    case = build(Spec.parse(text), seed)
    reference = torch_run(case)
    return SimpleNamespace(
        case=case,
        reference=reference,
        scale=scales(case, reference),
        honest=manual_run(case),
        own=layerwise_run(case, reference),
        torch_is_right=all(row.verdict == Verdict.AGREE for row in rows(case)),
    )


def diagnosed(run, candidate, layerwise=None):
    table = [] if run.torch_is_right else rows(run.case, candidate=candidate, layerwise=layerwise)
    passed, own = (
        {row.symbol for row in table if row.comparison == kind and not Verdict(row.verdict).fails}
        for kind in (END_TO_END, LAYERWISE)
    )
    return diagnose(
        run.case, run.reference, candidate, layerwise, run.scale, passed=passed, passed_layerwise=own if layerwise else ()
    )


def parameters_only(trace):
    """What code without intermediate values gives."""
    nodes = len(trace.values)
    return replace(trace, loss=None, values=(trace.values[0], *[None] * (nodes - 1)), gradients=(None,) * nodes)


def replaced(trace, symbol, change):
    """The trace with one array changed."""
    (quantity,) = (quantity for quantity in trace.quantities() if quantity.symbol == symbol)
    at = quantity.position
    if quantity.name in ("dC/dW", "dC/db"):
        held = [dict(own) for own in trace.parameter_gradients]
        name = {"dC/dW": "weight", "dC/db": "bias"}[quantity.name]
        held[at][name] = change(held[at][name])
        return replace(trace, parameter_gradients=tuple(held))
    if quantity.is_gradient:
        return replace(trace, gradients=(*trace.gradients[:at], change(trace.gradients[at]), *trace.gradients[at + 1 :]))
    return replace(trace, values=(*trace.values[: at + 1], change(trace.values[at + 1]), *trace.values[at + 2 :]))


def named(diagnosis):
    return [{(part.name, part.position) for part in match.parts} for match in diagnosis.matches if match.is_mistake]


# The catalogue, mistake by mistake.


def texts():
    """Small cases in which every activation and loss occurs, with all its options."""
    yield from (
        DENSE,
        "distinct/{}/Sigmoid/Sigmoid/HalfSquaredError",
        "notes/{}/ReLU/Identity/MSELoss",
        "sequence/{}/Tanh/Identity/MSELoss",
    )
    for cls in catalogue(Activation).values():
        for record in cls.examples():
            shape = "image" if record.extra_axes == 2 else "notes"
            yield f"{shape}/{{}}/{record}/Identity/HalfSquaredError"
    for cls in catalogue(Loss).values():
        for record in cls.examples():
            shape = {0: "notes", 1: "sequence", 2: "image"}[record.extra_axes or 0]
            yield f"{shape}/{{}}/Tanh/{record.link}/{record}"


@cache
def places():
    """For each mistake one case and position at which it shows."""
    found = {}
    for text in texts():
        case = build(Spec.parse(text.format("float64")))
        for mistake, position in planted(case):
            if mistake.name not in found and not mistake.equivalent(case, position):
                found[mistake.name] = text, position
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mistake", mistakes(), ids=str)
def test_every_mistake_is_located_and_named(mistake, dtype):
    if mistake.name not in places():
        pytest.skip("shows in none of these cases; tests/test_mistakes.py has one in which it does")
    text, position = places()[mistake.name]
    run = runs(text.format(dtype))
    if mistake.equivalent(run.case, position):
        pytest.skip("shows in float64 alone")
    candidate = mistake.run(run.case, position, run.honest)
    layerwise = mistake.layerwise(run.case, position, run.own, run.reference)
    by_layer, inferred, last = (
        diagnosed(run, *given) for given in ((candidate, layerwise), (candidate,), (parameters_only(candidate),))
    )
    truth = {(mistake.name, position)}
    assert truth in named(by_layer)
    assert truth in named(inferred)
    assert not last.wrong or truth in named(last)
    assert mistake.explanation in by_layer.advice()
    assert mistake.formula in by_layer.advice()
    if isinstance(mistake, AssemblyMistake):
        assert by_layer.location.assembly
    else:
        assert by_layer.location.positions == (position,)
        assert inferred.location.positions == (position,)
        assert not last.wrong or position in last.location.positions
        assert inferred.location.inferred
        assert not by_layer.location.inferred


# Nothing wrong, and what is no number.


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("text", [DENSE, "image/{}/SiLU/Sigmoid/BCELoss", "deep/{}/ReLU/Identity/HuberLoss(reduction='none')"])
def test_a_right_gradient_has_nothing_to_diagnose(text, dtype):
    run = runs(text.format(dtype))
    for candidate, layerwise in ((run.honest, run.own), (run.honest, None), (parameters_only(run.honest), None)):
        diagnosis = diagnosed(run, candidate, layerwise)
        assert not diagnosis.wrong
        assert diagnosis.matches == ()
        assert "Nothing to diagnose" in diagnosis.advice()


def test_distances_never_let_nan_pass_as_a_number():
    nan, inf = np.nan, np.inf
    found, wanted = np.array([1.0, nan, nan, inf, inf, 2.0]), np.array([1.0, nan, 1.0, inf, -inf, 1.0])
    assert apart(found, wanted, 0.5).tolist() == [0, 0, inf, 0, inf, 2]
    assert furthest(np.array([2.0]), np.array([1.0]), 0.0) == inf
    assert furthest(np.array([1.0]), np.array([1.0]), 0.0) == 0
    assert furthest(None, wanted, 1.0) == furthest(found[:2], wanted, 1.0) == inf


# Two mistakes.


def returned(step, names):
    """What a step returns with mistakes made one after the other, each on the result of the one before."""
    by_name = {mistake.name: mistake for mistake in mistakes()}
    result = step.right
    for name in names:
        again = Step(step.case, step.position, step.values, step.gradients)
        vars(again)["right"] = result
        result = by_name[name].wrong(again)
    dtype = step.case.dtype
    return result[0].astype(dtype), {name: own.astype(dtype) for name, own in result[1].items()}


def with_mistakes(run, where):
    """The traces, end to end and layer by layer, with mistakes by position."""
    case, ours = run.case, (run.honest, run.own)
    gradients, parameters = ([list(trace.gradients) for trace in ours], [list(trace.parameter_gradients) for trace in ours])
    for position in reversed(range(len(case.network.layers) + 1)):
        for kind, (values, upstream) in enumerate(
            ((run.honest.values, gradients[0]), (run.reference.values, run.reference.gradients))
        ):
            if kind == 1 and position not in where:
                continue
            gradient, own = returned(Step(case, position, values, tuple(upstream)), where.get(position, ()))
            gradients[kind][position] = gradient
            if position < len(parameters[kind]):
                parameters[kind][position] = own
    return [
        replace(trace, gradients=tuple(g), parameter_gradients=tuple(p))
        for trace, g, p in zip(ours, gradients, parameters, strict=True)
    ]


TWO = [
    {2: ("dW transposed", "db averaged")},
    {2: ("W not transposed", "first column for db")},
    {0: ("dW averaged", "db zero")},
    {4: ("dW averaged", "the layer's sign flipped")},
    {4: ("dW without the sign", "propagated error averaged over the nodes")},
    {6: ("the loss's sign", "1/m twice")},
    {5: ("the softmax's sum left out",), 3: ("derivative forgotten",)},
    {6: ("the loss's sign",), 2: ("dW transposed",)},
    {2: ("W not transposed",), 1: ("derivative applied twice",)},
    {4: ("db averaged",), 0: ("a taken as 1 in dW",)},
    {4: ("first column for db",), 2: ("dW zero",)},
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("where", TWO, ids=str)
def test_two_mistakes_are_both_named(where, dtype):
    run = runs(DENSE.format(dtype))
    applicable = {(mistake.name, at) for mistake, at in planted(run.case)}
    planted_here = {(name, at) for at, names in where.items() for name in names}
    assert planted_here <= applicable
    candidate, layerwise = with_mistakes(run, where)
    by_layer, inferred = diagnosed(run, candidate, layerwise), diagnosed(run, candidate)
    assert planted_here in named(by_layer)
    assert planted_here in named(inferred)
    assert by_layer.location.positions == tuple(sorted(where, reverse=True))
    assert inferred.location.positions == (max(where),)
    for name, at in planted_here:
        assert f"'{name}' in {by_layer.modules[at]}" in by_layer.advice()


def test_three_layers_are_explained_layer_by_layer():
    run = runs(DENSE.format("float64"))
    where = {6: ("the loss's sign",), 3: ("derivative forgotten",), 0: ("dW averaged",)}
    candidate, layerwise = with_mistakes(run, where)
    assert named(diagnosed(run, candidate, layerwise)) == [{(name, at) for at, (name,) in where.items()}]
    assert diagnosed(run, candidate).matches[:1] == () or not named(diagnosed(run, candidate)), "more than two need the layers"


def test_one_mistake_in_every_layer_is_one_explanation():
    run = runs("4-8-7-5-3x16/float64/Tanh/Tanh/MSELoss")
    where = dict.fromkeys((1, 3, 5, 7), ("derivative forgotten",))
    candidate, _ = with_mistakes(run, where)
    for given in (candidate, parameters_only(candidate)):
        diagnosis = diagnosed(run, given)
        assert {("derivative forgotten", at) for at in (1, 3, 5, 7)} in named(diagnosis)
        assert diagnosis.advice().count("'derivative forgotten'") == 1


def test_mistakes_with_one_effect_are_all_listed(monkeypatch):
    def mistake(name, wrong):
        return StepMistake(name, f"{name}.", "", "", lambda network, at: at == 3, wrong)

    doubled = mistake("doubled", lambda step: (2 * step.right[0], step.right[1]))
    added = mistake("added to itself", lambda step: (step.right[0] + step.right[0], step.right[1]))
    tripled = mistake("tripled", lambda step: (3 * step.right[0], step.right[1]))
    monkeypatch.setattr("oracle.diagnosis.matching.catalogue", lambda: (doubled, tripled, added))
    run = runs(DENSE.format("float64"))
    for given in (doubled, added):
        candidate, layerwise = given.run(run.case, 3, run.honest), given.layerwise(run.case, 3, run.own, run.reference)
        for diagnosis in (diagnosed(run, candidate, layerwise), diagnosed(run, candidate)):
            assert [match.name for match in diagnosis.matches] == ["doubled", "added to itself"]
            assert "2 explanations have the same effect here" in diagnosis.advice()


# Without layerwise rows and without values in between: the range of what it can be.


def location(change, *symbols, text=DENSE):
    run = runs(text.format("float64"))
    candidate = run.honest
    for symbol in symbols:
        candidate = replaced(candidate, symbol, change)
    return diagnosed(run, parameters_only(candidate)).location


def noisy(array):
    return array * (1 + 0.01 * np.random.default_rng(1).standard_normal(array.shape)).astype(array.dtype)


def test_a_parameter_gradient_that_alone_is_wrong_is_located_exactly():
    found = location(noisy, "dC/dW[2]")
    assert found.positions == (2,)
    assert found.symbols == ("dC/dW[2]",)
    assert "dC/db[2] is right, so what flows through this layer is right" in found.reason


def test_both_parameters_wrong_in_the_middle_with_all_behind_right_is_that_layer():
    found = location(noisy, "dC/dW[2]", "dC/db[2]")
    assert found.positions == (2,)
    assert "dC/dW[2] and dC/db[2] alone" in found.reason


def test_everything_wrong_from_a_layer_on_can_be_three_steps():
    """dC/dW[2] is right: W[3]^T delta[3], the activation, or layer 2's own formulas."""
    found = location(noisy, "dC/dW[1]", "dC/db[1]")
    assert found.positions == (2, 1, 0)
    assert found.symbols == ("dC/da[1]", "delta[1]", "dC/dW[1]", "dC/db[1]")
    assert found.inferred
    assert "Inferred, since the values in between are not given" in found.reason
    assert "dC/dW[2] and dC/db[2] are right" in found.reason


def test_everything_wrong_from_the_start_can_be_the_loss():
    found = location(noisy, *(f"dC/d{letter}[{l}]" for letter in "Wb" for l in (1, 2, 3)))
    assert found.positions == (6, 5, 4)
    assert "nothing before it is known" in found.reason


def test_an_array_of_zeros_that_is_right_shows_nothing():
    """With a dead ReLU before it dC/dW[2] is 0 whatever flows back."""
    run = runs("notes/float64/Threshold(threshold=1e6, value=0.0)/Tanh/HalfSquaredError")
    assert not run.reference.parameter_gradients[2]["weight"].any()
    candidate = parameters_only(replaced(run.honest, "dC/db[2]", noisy))
    found = diagnosed(run, candidate).location
    assert found.positions == (4, 3, 2)


def test_a_gradient_in_between_that_is_known_narrows_the_range():
    run = runs(DENSE.format("float64"))
    wrong = replaced(replaced(run.honest, "dC/dW[1]", noisy), "dC/db[1]", noisy)
    hidden = parameters_only(wrong)
    known = replace(hidden, gradients=(*hidden.gradients[:2], run.honest.gradients[2], *hidden.gradients[3:]))
    assert diagnosed(run, known).location.positions == (1, 0)


def test_a_wrong_value_comes_before_every_gradient():
    run = runs(DENSE.format("float64"))
    wrong = replaced(replaced(run.honest, "a[1]", noisy), "dC/dW[1]", noisy)
    by_layer = diagnosed(run, wrong, replaced(run.own, "a[1]", noisy)).location
    assert (by_layer.positions, by_layer.symbols, by_layer.forward, by_layer.inferred) == ((1,), ("a[1]",), True, False)
    inferred = diagnosed(run, wrong).location
    assert (inferred.positions, inferred.symbols, inferred.forward, inferred.inferred) == ((1,), ("a[1]",), True, True)
    values = (wrong.values[0], None, *wrong.values[2:])
    assert diagnosed(run, replace(wrong, values=values)).location.positions == (0, 1)


# What an array looks like when it is no mistake of the catalogue.


def without_rank_one(array):
    left, right = (np.random.default_rng(seed).standard_normal(size) for seed, size in enumerate(array.shape))
    return array - np.outer(left, right).astype(array.dtype)


def only_row(array, at):
    kept = np.zeros_like(array)
    kept[at] = array[at]
    return kept


LIKE = {
    "zero everywhere": np.zeros_like,
    "the right gradient times -1": np.negative,
    "the right gradient times 2": lambda array: 2 * array,
    "the right gradient times 1/2": lambda array: array / 2,
    "the right gradient times 16, the batch size m": lambda array: 16 * array,
    "the right gradient times 1/16, the batch size m": lambda array: array / 16,
    "the right gradient times 3, the number of outputs": lambda array: 3 * array,
    "the right gradient times 1/48, the number of elements of the output": lambda array: array / 48,
    "the right gradient times -1/16, the batch size m": lambda array: array / -16,
    "the right gradient times a constant, 0.318": lambda array: array * 0.318,
    "the right gradient, transposed": lambda array: array.T,
    "the right numbers in another shape": lambda array: array.reshape(2, -1),
    "the right gradient with its rows in reverse order": lambda array: array[::-1],
    "the right gradient with its columns in reverse order": lambda array: array[:, ::-1],
    "the right gradient with its rows in another order (1, 2, 3, 4, 5, 6, 7, 0)": lambda array: np.roll(array, -1, axis=0),
    "the right gradient with its columns in another order (7, 0, 1, 2, 3, 4, 5, 6)": lambda array: np.roll(array, 1, axis=1),
    "right in one of its rows (2) and 0 in all others": lambda array: only_row(array, 2),
    "right in one of its columns (5) and 0 in all others": lambda array: only_row(array.T, 5).T,
    "the same in all rows: the right one of number 0": lambda array: np.repeat(array[:1], len(array), axis=0),
    "the right gradient plus a constant, 0.25": lambda array: array + np.float32(0.25),
    "the right gradient and one term too many or too few, a column times a row": without_rank_one,
    "the right gradient times a number of its own in each of its rows": lambda array: array * np.linspace(1.5, 2, 8)[:, None].astype(array.dtype),
    "the right gradient times a number of its own in each of its columns": lambda array: array * np.linspace(-3, 2, 8).astype(array.dtype),
    "not given": lambda array: None,
    "the right numbers in another dtype": lambda array: array.astype(np.float32 if array.dtype == np.float64 else np.float64) if array.dtype == np.float32 else array.astype(np.longdouble),
}  # fmt: skip


@pytest.fixture
def no_mistakes(monkeypatch):
    """An empty catalogue, for what has to be said without it."""
    monkeypatch.setattr("oracle.diagnosis.matching.catalogue", lambda: ())


def likenesses(run, change, symbol="dC/dW[2]"):
    candidate = replaced(run.honest, symbol, change)
    return diagnosed(run, candidate, replaced(run.own, symbol, change))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LIKE)
def test_what_a_wrong_array_looks_like(name, dtype, no_mistakes):
    run = runs(DENSE.format(dtype))
    diagnosis = likenesses(run, LIKE[name])
    assert name in [match.name for match in diagnosis.matches]
    assert not any(match.is_mistake for match in diagnosis.matches)
    assert name in diagnosis.advice()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in LIKE if name not in ("not given", "the right numbers in another dtype")])
def test_it_does_not_look_like_that_when_one_element_is_another(name, dtype, no_mistakes):
    run = runs(DENSE.format(dtype))

    def nearly(array):
        changed = np.array(LIKE[name](array))
        changed[0, 0] += np.abs(array).max() / 50
        return changed

    assert name not in [match.name for match in likenesses(run, nearly).matches]


def test_rounded_to_a_narrower_dtype(no_mistakes):
    double, single = runs(DENSE.format("float64")), runs(DENSE.format("float32"))
    assert [m.name for m in likenesses(double, lambda a: a.astype("f4").astype("f8")).matches] == ["rounded to float32"]
    assert [m.name for m in likenesses(single, lambda a: a.astype("f2").astype("f4")).matches] == ["rounded to float16"]
    assert [m.name for m in likenesses(double, lambda a: a * (1 + 4e-8 * np.sin(np.arange(64).reshape(8, 8)))).matches] == [
        "computed in float32"
    ]
    assert likenesses(double, lambda a: a * (1 + 1e-5 * np.sin(np.arange(64).reshape(8, 8)))).matches == ()


def test_equal_to_the_gradient_of_another_layer(no_mistakes):
    run = runs("5-5-5-5x7/float64/Tanh/Tanh/MSELoss")
    found = likenesses(run, lambda array: run.reference["dC/dW[3]"])
    assert [match.name for match in found.matches] == ["equal to the right dC/dW[3]"]


@pytest.mark.parametrize(("which", "kept"), [("first", slice(1, None)), ("last", slice(None, -1))])
def test_a_loop_over_the_samples_that_is_one_too_short(which, kept):
    run = runs(DENSE.format("float64"))
    delta, a = run.reference["delta[2]"][:, kept], run.reference["a[1]"][:, kept]
    for symbol, array in (("dC/dW[2]", delta @ a.T), ("dC/db[2]", delta.sum(axis=1))):
        found = likenesses(run, lambda _, array=array: array, symbol)
        assert [match.name for match in found.matches] == [f"equal to the right one without the {which} sample"]


def test_one_row_that_is_off_by_a_factor_is_told_as_that_row(no_mistakes):
    def one_row(array):
        return np.concatenate([array[:1] * 3, array[1:]])

    diagnosis = likenesses(runs(DENSE.format("float64")), one_row)
    assert diagnosis.matches == ()
    assert "exactly those of row 0" in diagnosis.advice()


def test_right_where_it_is_finite(no_mistakes):
    run = runs(DENSE.format("float64"))

    def overflown(array):
        return np.where(np.abs(array) > np.quantile(np.abs(array), 0.9), np.nan, array)

    (found,) = likenesses(run, overflown, "delta[2]").matches
    assert found.name == "right, but NaN at 13 of 128 elements"


def test_noise_is_no_mistake_and_looks_like_nothing():
    run = runs(DENSE.format("float64"))
    for symbol in ("dC/dW[2]", "dC/db[2]", "delta[2]"):
        diagnosis = likenesses(run, noisy, symbol)
        assert diagnosis.matches == ()
        assert diagnosis.location.positions == ((2,) if symbol != "delta[2]" else (3,))
        assert "No mistake of the catalogue gives these numbers" in diagnosis.advice()
        assert "elements are wrong" in diagnosis.advice()


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_no_mistake_wherever_it_is_and_whatever_is_known(seed):
    run = runs(DENSE.format("float32"))
    rng = np.random.default_rng(seed)
    symbols = [quantity.symbol for quantity in run.reference.quantities() if quantity.is_gradient]
    candidate = run.honest
    for symbol in rng.choice(symbols, 3, replace=False):
        candidate = replaced(candidate, symbol, lambda array: array * (1 + 0.01 * rng.standard_normal(array.shape)).astype("f4"))
    assert named(diagnosed(run, candidate)) == []
    assert named(diagnosed(run, parameters_only(candidate))) == []


# Which elements are wrong.


CLASSES = "4-8-8-3x16/{}/Tanh/LogSoftmax/NLLLoss"


@pytest.mark.parametrize(
    ("symbol", "where", "phrase"),
    [
        ("dC/dW[2]", lambda run, array: np.arange(8)[:, None] == 3, "8 of 64 elements are wrong: exactly those of row 3"),
        ("dC/dW[2]", lambda run, array: np.arange(8)[None] == 0, "8 of 64 elements are wrong: exactly those of column 0"),
        ("dC/dW[2]", lambda run, array: np.arange(8)[None] > 0, "56 of 64 elements are wrong: all but those of column 0"),
        ("dC/dW[2]", lambda run, array: np.arange(64).reshape(8, 8) == 12, "1 of 64 elements is wrong: the one at (1, 4)"),
        ("dC/dW[2]", lambda run, array: True, "all 64 elements are wrong"),
        ("delta[2]", lambda run, array: np.arange(16) == 4, "8 of 128 elements are wrong: exactly those of column (sample) 4"),
        ("delta[2]", lambda run, array: run.reference["z[2]"] < 0, "only where z[2] < 0"),
        ("delta[2]", lambda run, array: run.reference["dC/da[2]"] > 0, "only where the upstream gradient is positive"),
        ("dC/da[3]", lambda run, array: np.arange(3)[:, None] == run.case.target, "only at the target's class"),
        ("dC/da[3]", lambda run, array: run.case.target == -100, "only in the samples that are ignored"),
    ],
)
def test_which_elements_are_wrong(symbol, where, phrase, no_mistakes):
    run = runs(CLASSES.format("float64"))

    def change(array):
        rng = np.random.default_rng(2)
        return np.where(where(run, array), array + np.abs(array).max() * rng.uniform(0.5, 1, array.shape), array)

    diagnosis = likenesses(run, change, symbol)
    assert phrase in diagnosis.advice()


# Advice.


def test_advice_says_where_how_far_what_why_and_how_to_see_it_again():
    run = runs(DENSE.format("float64"), seed=5)
    candidate, layerwise = with_mistakes(run, {2: ("dW transposed",)})
    diagnosis = diagnosed(run, candidate, layerwise)
    kinds = [line.kind for line in diagnosis.lines(5)]
    assert kinds == ["title", "where", "far", "what", "why", "effect", "formula", "repeat"]
    text = diagnosis.advice(5)
    assert text.splitlines()[0] == "Layer 2, Linear(8, 8): dC/dW[2]"
    assert "It matches 'dW transposed' in layer 2, Linear(8, 8), exactly." in text
    assert " sigma." in text
    assert text.endswith(f"To see it again: oracle run --case {run.case.name} --seed 5")


def test_what_the_layers_explain_and_the_network_does_not_is_said():
    run = runs(DENSE.format("float64"))
    candidate, layerwise = with_mistakes(run, {2: ("dW transposed",)})
    assert all(match.whole for match in diagnosed(run, candidate, layerwise).matches)
    diagnosis = diagnosed(run, replaced(candidate, "dC/dW[3]", noisy), layerwise)
    assert named(diagnosis) == [{("dW transposed", 2)}]
    assert not diagnosis.matches[0].whole
    assert "end to end there is more that is wrong" in diagnosis.advice()


def test_a_case_of_ones_own_has_no_command():
    run = runs(DENSE.format("float64"))
    candidate, layerwise = with_mistakes(run, {2: ("dW transposed",)})
    own = replace(run.case, name="mine")
    assert "oracle run" not in diagnose(own, run.reference, candidate, layerwise, run.scale).advice()
    assert "oracle run" not in diagnosed(run, candidate, layerwise).advice(None)


def test_code_that_raised_is_said_to_have_raised():
    run = runs(DENSE.format("float64"))
    nothing = Trace(run.case.network, None, (None,) * 7, (None,) * 7, ({},) * 6, "candidate raised ValueError: no")
    diagnosis = diagnosed(run, nothing)
    assert diagnosis.wrong
    assert "candidate raised ValueError: no" in diagnosis.advice()
    assert named(diagnosis) == []


@pytest.mark.parametrize("position", [1, 2, 5, 6])
def test_a_fault_in_our_own_layer_is_diagnosed_although_it_cannot_say_what_is_right(position):
    """Then autograd's arrays stand in for what the layer should return."""
    run = runs(DENSE.format("float64"))
    layer = (*run.case.network.layers, run.case.network.loss)[position]
    wrong = with_layer(
        run.case, position, spoilt_record(layer, lambda result: (-result[0], {n: -g for n, g in result[1].items()}))
    )
    candidate, layerwise = manual_run(wrong), layerwise_run(wrong, run.reference)
    diagnosis = diagnose(wrong, run.reference, candidate, layerwise, run.scale)
    assert diagnosis.location.positions == (position,)
    if isinstance(layer, Linear):
        assert {("the layer's sign flipped", position)} in named(diagnosis)
    elif isinstance(layer, Loss):
        assert {("the loss's sign", position)} in named(diagnosis)
    else:
        assert [match.name for match in diagnosis.matches] == ["the right gradient times -1"]


def test_what_the_referee_passed_is_not_diagnosed():
    run = runs(DENSE.format("float64"))
    candidate, layerwise = (replaced(trace, "dC/dW[2]", noisy) for trace in (run.honest, run.own))
    given = (run.case, run.reference, candidate, layerwise, run.scale)
    assert diagnose(*given).wrong
    assert diagnose(*given, passed=["dC/dW[2]"]).wrong
    assert not diagnose(*given, passed=["dC/dW[2]"], passed_layerwise=["dC/dW[2]"]).wrong
