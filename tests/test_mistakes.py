"""The catalogue of mistakes: each can be made somewhere, changes what it may and nothing else, and knows where it cannot show."""

import operator
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from manualbp import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    CTCLoss,
    GaussianNLLLoss,
    HalfSquaredError,
    HuberLoss,
    Identity,
    L1Loss,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MarginRankingLoss,
    MSELoss,
    MultiLabelSoftMarginLoss,
    Network,
    NLLLoss,
    ReLU,
    ReLU6,
    Sigmoid,
    SoftMarginLoss,
    Softmax,
    Tanh,
    TripletMarginLoss,
)
from oracle import alone, suite
from oracle.case import Case, Spec
from oracle.check import rows
from oracle.inputs import build
from oracle.manual_run import layerwise_run, manual_run
from oracle.mistakes import AssemblyMistake, Step, StepMistake, catalogue, planted
from oracle.mistakes.binary import _positive, _share, sigmoid
from oracle.mistakes.classification import Labels, _labels
from oracle.mistakes.features import _halves, _shares
from oracle.mistakes.margins import _cosine, _norm, _right_norm
from oracle.mistakes.options import OPTIONS
from oracle.mistakes.parts import columns, grad_input, of_terms, on
from oracle.mistakes.regression import _curved, _gauss, _inside, _outside, _width
from oracle.mistakes.sameness import same
from oracle.torch_run import torch_run
from oracle.verdict import Verdict
from support import ACTIVATIONS, LOSSES, draw, link

NAMED = {mistake.name: mistake for mistake in catalogue()}
#: Mistakes whose point it is that a gradient has another shape, or is not there.
OF_ANOTHER_FORM = {"db not summed", "db summed over the nodes", "db summed over the batch alone", "db missing"}
OF_ANOTHER_FORM |= {"layers in reverse order"}


def impossible(case):
    """Two labels in one time step: no path spells them."""
    return replace(case, target=np.array([[1, 2], [2, 1], [0, 1], [1, 0]]))


def networks():
    """Every activation twice in a network of square and other shapes, and every loss behind one."""
    yield from (draw([record, record], HalfSquaredError(), (4, 4, 4), 5) for record in ACTIVATIONS)
    yield from (draw([Tanh(), link(loss)], loss, (3, 5, 4), 7, seed=1) for loss in LOSSES)
    yield impossible(draw([LogSoftmax()], CTCLoss(blank=2, zero_infinity=True), (4, 3), 2))
    yield draw([Sigmoid(), Tanh(), Softmax()], MSELoss(), (4, 4, 4, 4), 3)
    yield draw([ReLU(), Identity()], HuberLoss(delta=0.25), (4, 4, 4), 5, bias=False)


CASES = list(networks())


def read_only(case):
    """The same case, in which nothing can be overwritten."""
    for array in (case.x, case.target, *(value for own in case.params for value in own.values())):
        array.flags.writeable = False
    return case


def frozen(trace):
    for array in (*trace.values, *trace.gradients, *(value for own in trace.parameter_gradients for value in own.values())):
        array.flags.writeable = False
    return trace


def test_there_are_many_kinds_and_each_has_a_name_and_a_sentence_of_its_own():
    assert len(catalogue()) == len(NAMED) >= 200
    for mistake in catalogue():
        assert mistake.explanation.endswith("."), mistake
        assert mistake.effect, mistake
        assert mistake.formula, mistake
        assert str(mistake) == mistake.name
    assert len({mistake.explanation for mistake in catalogue()}) == len(catalogue())


def test_the_catalogue_loads_neither_torch_nor_pandas():
    code = "import oracle.mistakes, sys; oracle.mistakes.catalogue(); print({'torch', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_option_can_be_overlooked():
    """An option that no mistake names is one of form, has no default, or a mistake of another name: the last three."""
    form = {"num_parameters", "init", "in_features", "num_classes", "out_features", "bias", "full", "value"}
    form |= {"n_classes", "cutoffs", "div_value", "head_bias", "reduction", "approximate", "seed"}
    assert {field.name for record in (*ACTIVATIONS, *LOSSES) for field in fields(record)} - set(OPTIONS) <= form


def test_every_mistake_shows_on_some_case():
    unseen = set(NAMED)
    for case in (*CASES, *(alone.build(spec) for spec in suite.alone(dtypes=["float64"]))):
        for mistake, position in planted(case):
            if mistake.name in unseen and not mistake.equivalent(case, position):
                unseen.discard(mistake.name)
        if not unseen:
            break
    assert not unseen


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.network.layers[-1]}-{case.network.loss}")
def test_a_mistake_changes_what_lies_before_it_and_nothing_behind(case):
    case, honest = read_only(case), frozen(manual_run(case))
    assert not honest.failure
    for mistake, position in planted(case):
        found = mistake.run(case, position, honest)
        assert all(one is other for one, other in zip(found.values, honest.values, strict=True)), mistake
        assert found.loss is honest.loss
        if isinstance(mistake, StepMistake):
            after = slice(position + 1, None)
            assert all(map(operator.is_, found.gradients[after], honest.gradients[after])), mistake
            assert all(map(operator.is_, found.parameter_gradients[after], honest.parameter_gradients[after])), mistake
        if mistake.name not in OF_ANOTHER_FORM:
            forms = [
                {quantity: (np.shape(array), np.asarray(array).dtype) for quantity, array in trace.quantities().items()}
                for trace in (found, honest)
            ]
            assert forms[0] == forms[1], mistake


def overwriting(step):
    step.upstream[...] = 0
    return step.right


def made(wrong, applies=lambda network, position: True, **options):
    return StepMistake("planted", "It is planted.", "what", "where", applies, wrong, **options)


def test_a_mistake_that_overwrites_its_arrays_would_be_seen():
    case = read_only(draw([Tanh()], MSELoss(), (3, 2), 4))
    with pytest.raises(ValueError, match="read-only"):
        made(overwriting).run(case, 0, frozen(manual_run(case)))


# --- where a mistake cannot show ------------------------------------------------------------------------------------------


def square(**change):
    """4-4-4, Tanh and Identity, a batch of 5, with some of its numbers replaced."""
    return replace(draw([Tanh(), Identity()], MSELoss(), (4, 4, 4), 5), **change)


def with_weights(case, change):
    params = tuple({name: change(name, value) for name, value in own.items()} for own in case.params)
    return replace(case, params=params)


def symmetric(name, value):
    return value + value.T if name == "weight" else value


def nothing(name, value):
    return 0 * value


def positive(name, value):
    return np.abs(value)


ONE_SAMPLE = draw([Tanh(), Identity()], MSELoss(), (4, 4, 3), 1)
OF_ONES = CrossEntropyLoss(weight=(1.0, 1.0, 1.0))
OF_MANY = CrossEntropyLoss(weight=(0.5, 1.0, 2.0))
PLAIN = CrossEntropyLoss()
INTEGERS = Case(
    "integers",
    Network((Linear(3, 3),), HalfSquaredError()),
    ({"weight": np.arange(9.0).reshape(3, 3), "bias": np.arange(3.0)},),
    np.arange(12.0).reshape(3, 4),
    np.ones((3, 4)),
)


def labelled(loss, labels, seed=3):
    case = draw([Tanh()], PLAIN, (4, 3), 5, seed=seed)
    return replace(case, network=replace(case.network, loss=loss), target=np.array(labels))


def signs(case, sign):
    return replace(case, target=np.full_like(case.target, sign))


def relu_of(x):
    case = draw([ReLU(), Identity()], MSELoss(), (3, 4, 2), 5)
    return replace(with_weights(case, positive), x=x(np.abs(case.x)))


def single(record, x):
    return replace(alone_of(record), x=np.array(x))


def alone_of(record):
    return alone.build(alone.Alone((1, 3), "float64", record, "generic"))


def distances(loss, by):
    """Every output, or every first input, moved to one side of the target."""
    case = draw([Identity()], loss, (3, 2), 4)
    moved = with_weights(case, lambda name, b: b + by * np.arange(len(b), 0, -1) ** 3 if name == "bias" else b * 0.01)
    return replace(moved, target=np.ones_like(case.target))


FEW_SIGNS = draw([Tanh()], SoftMarginLoss(), (3, 2), 4)

#: name, position, a case on which it cannot show, a case on which it shows.
KNOWN = [
    ("W not transposed", 2, with_weights(square(), symmetric), square()),
    ("W left out", 2, with_weights(square(), lambda name, w: np.eye(4) if name == "weight" else w), square()),
    ("dW averaged", 0, ONE_SAMPLE, square()),
    ("db averaged", 2, ONE_SAMPLE, square()),
    ("first column for db", 0, ONE_SAMPLE, square()),
    ("last column for db", 2, ONE_SAMPLE, square()),
    ("last sample only in dW", 2, ONE_SAMPLE, square()),
    ("1/m twice", 4, ONE_SAMPLE, square()),
    ("every gradient averaged", 4, ONE_SAMPLE, square()),
    ("only the last half of the batch", 4, ONE_SAMPLE, square()),
    ("weight decay in dW", 0, with_weights(square(), nothing), square()),
    ("weight decay everywhere", 4, with_weights(square(), nothing), square()),
    ("b in the propagated error", 0, with_weights(square(), nothing), square()),
    ("first position only in dW", 0, square(), replace(square(), x=np.ones((4, 2, 5)), target=np.zeros((4, 2, 5)))),
    ("dW clipped", 0, replace(square(), grad_loss=1e-3), replace(square(), grad_loss=1e3)),
    ("derivative forgotten", 3, square(), draw([Tanh(), Tanh()], MSELoss(), (4, 4, 4), 5)),
    ("derivative applied twice", 3, square(), draw([Tanh(), Tanh()], MSELoss(), (4, 4, 4), 5)),
    ("derivative forgotten", 1, relu_of(lambda x: x), relu_of(lambda x: -x - 9)),
    ("mask inverted", 0, single(LeakyReLU(1.0), [[1.0, -2.0, 3.0]]), single(LeakyReLU(), [[1.0, -2.0, 3.0]])),
    ("upper cut forgotten", 0, single(ReLU6(), [[1.0, -2.0, 5.5]]), single(ReLU6(), [[1.0, -2.0, 6.5]])),
    ("the other side at a kink", 0, single(ReLU(), [[1.0, -1.0, 1e-300]]), single(ReLU(), [[0.0, -1.0, 1.0]])),
    ("naive exponential", 0, single(Sigmoid(), [[-9.0, 0.0, 9.0]]), single(Sigmoid(), [[-800.0, 0.0, 9.0]])),
    ("naive softmax", 0, single(Softmax(), [[1.0, 2.0, 3.0]]), single(Softmax(), [[1.0, 2.0, 1000.0]])),
    ("products in a lower precision", 0, INTEGERS, square()),
    ("upstream of the loss ignored", 4, square(grad_loss=1.0), square(grad_loss=-0.5)),
    ("targets of other samples", 4, square(target=np.zeros((4, 5))), square()),
    ("the target's sign overlooked", 2, signs(FEW_SIGNS, 1), signs(FEW_SIGNS, -1)),
    ("class weights missing in the numerator", 2, labelled(OF_ONES, [0, 1, 2, 2, 1]), labelled(OF_MANY, [0, 1, 2, 2, 1])),
    ("class weights missing in the denominator", 2, labelled(OF_ONES, [0, 1, 2, 2, 1]), labelled(OF_MANY, [0, 1, 2, 2, 1])),
    ("ignored samples counted", 2, labelled(PLAIN, [0, 1, 2, 2, 1]), labelled(PLAIN, [0, 1, -100, 2, 1])),
    ("ignored samples given a gradient", 2, labelled(PLAIN, [0, 1, 2, 2, 1]), labelled(PLAIN, [0, 1, -100, 2, 1])),
    ("threshold on the signed difference", 2, distances(HuberLoss(), 9), distances(HuberLoss(), -9)),
    ("gradient on the satisfied side", 2, distances(MarginRankingLoss(), -9), distances(MarginRankingLoss(), 9)),
]


@pytest.mark.parametrize(("name", "position", "hidden", "shown"), KNOWN, ids=[f"{row[0]}-{row[1]}" for row in KNOWN])
def test_where_a_mistake_cannot_show(name, position, hidden, shown):
    mistake = NAMED[name]
    assert mistake.equivalent(hidden, position)
    assert not mistake.equivalent(shown, position)


@pytest.mark.parametrize("position", range(5))
def test_no_mistake_at_all_is_equivalent_and_one_in_a_million_is_not(position):
    case = square()

    def scaled(by):
        return made(lambda step: (by * step.right[0], step.right[1]))

    assert scaled(1.0).equivalent(case, position)
    assert scaled(1 + 1e-12).equivalent(case, position), "an order of operations"
    assert not scaled(1 + 1e-6).equivalent(case, position)
    short = draw([Tanh(), Identity()], MSELoss(), (4, 4, 4), 5, dtype="float16")
    assert scaled(1 + 1e-6).equivalent(short, position), "what float16 cannot show"
    assert not scaled(1.1).equivalent(short, position)


def test_what_rounding_hides_is_equivalent_and_what_it_does_not_is_not():
    """A formula for p - y that cancels otherwise; vectors of one number, whose angle never changes."""
    other = next(mistake for mistake in catalogue() if mistake.name == "ignored samples given a gradient")
    case = build(Spec.parse("many/float32/Hardswish/ReGLU/CrossEntropyLoss"))
    assert other.equivalent(case, 4)
    assert not next(mistake for mistake in catalogue() if mistake.name == "the loss's sign").equivalent(case, 4)
    twice = next(mistake for mistake in catalogue() if mistake.name == "factor 2 too much")
    flat = draw([Tanh(), Identity()], CosineEmbeddingLoss(), (2, 3, 1), 4, dtype="float32")
    flat = replace(flat, target=np.ones(4, "f4"))
    reference = torch_run(flat)
    assert not twice.equivalent(flat, 4)
    assert twice.equivalent(flat, 4, reference), "autograd is further off than that"
    wide = draw([Tanh(), Identity()], CosineEmbeddingLoss(), (2, 3, 3), 4, dtype="float32")
    assert not twice.equivalent(wide, 4, torch_run(wide))


@pytest.mark.parametrize(
    ("found", "wanted", "alike"),
    [
        ([1.0, np.nan], [1.0, np.nan], True),
        ([1.0, np.inf], [1.0, np.inf], True),
        ([1.0, np.inf], [1.0, -np.inf], False),
        ([1.0, np.nan], [1.0, 2.0], False),
        ([1.0, 2.0], [1.0, np.inf], False),
        ([1.0], [1.0, 2.0], False),
        ([0.0], [1e-320], False),
        ([0.0], [5e-324], True),
        (None, [1.0], False),
        (None, None, True),
    ],
)
def test_what_is_the_same(found, wanted, alike):
    assert same(found, wanted) is alike


# --- the forms in which mistakes are written, with the right formula in them ---------------------------------------------------


def right_logits(t):
    return t.weight() * ((1 - t.y) * sigmoid(t.a) - _positive(t) * sigmoid(-t.a)) / _share(t)


#: Which losses, and the right gradient in the form that their mistakes are written in.
RIGHT = {
    "squares": (on(MSELoss), of_terms(lambda t: 2 * (t.a - t.y))),
    "distances": (on(L1Loss), of_terms(lambda t: np.sign(t.a - t.y))),
    "curves": (_curved, of_terms(lambda t: np.where(np.abs(t.a - t.y) < _width(t), _inside(t), _outside(t)))),
    "answers": (on(BCELoss), of_terms(lambda t: t.weight() * (t.a - t.y) / (t.a * (1 - t.a)))),
    "logits": (on(BCEWithLogitsLoss, MultiLabelSoftMarginLoss), of_terms(right_logits)),
    "signs": (on(SoftMarginLoss), of_terms(lambda t: -t.y * sigmoid(-t.y * t.a))),
    "densities": (on(GaussianNLLLoss), of_terms(lambda t: _gauss(t, 1, 1))),
    "angles": (on(CosineEmbeddingLoss), of_terms(lambda t: _cosine(t, 1.0, lengths=True))),
    "triplets": (on(TripletMarginLoss, when=lambda loss: not loss.swap), of_terms(lambda t: _norm(t, _right_norm))),
    "classes": (on(CrossEntropyLoss, NLLLoss), _labels(Labels.gradient)),
    "shares": (on(Softmax), _shares(lambda a, g: a * (g - (g * a).sum(axis=0)))),
    "gates": (
        on(*(type(record) for record in ACTIVATIONS if record.rows_in(1) == 2)),
        _halves(lambda g, u, v, d: (d * v * g.derivative(u), d * g.value(u))),
    ),
    "matrices": (on(Linear), grad_input(lambda step: step.params["weight"].T @ columns(step.upstream))),
}


@pytest.mark.parametrize("form", RIGHT)
def test_the_right_formula_in_the_form_of_a_mistake_is_no_mistake(form):
    applies, wrong = RIGHT[form]
    mistake = made(wrong, applies)
    places = [(case, position) for case in CASES for position in mistake.places(case.network)]
    assert places
    for case, position in places:
        assert mistake.equivalent(case, position), (str(case.network.loss), position)


def test_a_record_alone_is_planted_in_itself_only():
    assert {position for _, position in planted(alone_of(Tanh()))} == {0}
    assert {position for _, position in planted(square())} == {0, 1, 2, 3, 4}


def test_a_step_knows_what_stands_behind_it_alone():
    seen = []
    case, honest = square(), manual_run(square())
    made(lambda step: (seen.append(step), step.right)[1]).run(case, 2, honest)
    (step,) = seen
    assert isinstance(step, Step)
    assert step.gradients[:3] == (None, None, None)
    assert step.upstream is honest.gradients[3]
    assert step.output is honest.values[3]
    assert step.m == 5


def test_a_network_put_together_rightly_is_no_mistake():
    assert AssemblyMistake("a", "b.", "c", "d", lambda network: True, lambda case, honest: honest).equivalent(square(), 4)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_oracle_finds_every_mistake_that_can_show(dtype):
    case = draw([Tanh(), LeakyReLU()], MSELoss(), (4, 4, 4), 5, dtype=dtype)
    honest, reference = manual_run(case), torch_run(case)
    alone_right = layerwise_run(case, reference)

    def found(mistake, position):
        candidate = mistake.run(case, position, honest)
        layerwise = mistake.layerwise(case, position, alone_right, reference)
        return any(Verdict(row.verdict).fails for row in rows(case, candidate=candidate, layerwise=layerwise))

    places = [place for place in planted(case) if not place[0].equivalent(case, place[1])]
    assert len(places) > 100
    assert [(mistake.name, position) for mistake, position in places if not found(mistake, position)] == []
    assert not found(made(lambda step: step.right), 2)
