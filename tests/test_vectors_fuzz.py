"""Whatever a file holds, the reader takes it or says why not: no crash, no other error, and what it takes the schema allows."""

import copy
import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.manual_run import manual_run
from oracle.vectors import VectorsError
from oracle.vectors.arrays import written
from oracle.vectors.cases import read_case
from oracle.vectors.check import judge
from oracle.vectors.document import ANSWER, case_document, in_json, kind, read_answer
from oracle.vectors.files import read_cases, write
from oracle.vectors.reading import parse
from oracle.vectors.selection import STANDARD

SEEDS = (
    "alone/3x4/float32/CrossEntropyLoss(reduction='none')/generic",
    "alone/3x4/float64/AdaptiveLogSoftmaxWithLoss(in_features=3, n_classes=7, cutoffs=(3, 5), div_value=1.0)/generic",
    "alone/3x5x4/float64/CTCLoss/generic",
    "2-4-3x5/float32/PReLU/Identity/MSELoss",
    "2-4-3x5/float32/RReLU(training=True, seed=1)/Identity/MSELoss",
)
TRIES = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

#: Anything that JSON can say, and much that looks like what is meant.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 8),
    st.sampled_from([2**31, 2**63, -(2**63), 10**40, 1e308, -0.0, 5e-324, 0.5]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [
            "",
            "NaN",
            "Infinity",
            "inf",
            "0x1.8p+1",
            "0x1p99999",
            "float16",
            "int64",
            "GELU",
            "Linear",
            "mean",
            "\ud800",
            "a" * 2000,
        ]
    ),
    st.text(max_size=6),
)
JSON = st.recursive(
    SCALARS,
    lambda inside: st.one_of(st.lists(inside, max_size=4), st.dictionaries(st.text(max_size=4), inside, max_size=3)),
    max_leaves=6,
)


@cache
def frozen(name):
    held = read_cases(STANDARD)
    return {each: held[each] for each in SEEDS}[name]


@cache
def document(name):
    return json.loads(json.dumps(in_json(case_document(frozen(name)))))


@cache
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    return jsonschema.Draft202012Validator(json.loads((Path(STANDARD).parent / "schema.json").read_text()))


def taken(content):
    """The case in these bytes; None where they are refused, with a message that can be printed and is no novel."""
    try:
        at = parse(content, "f.json")
        if kind(at) == ANSWER:
            return read_answer(at, dict.fromkeys(SEEDS, "float32"))
        return read_case(at)
    except VectorsError as error:
        message = str(error)
    message.encode()
    assert len(message) < 4000
    assert message.startswith("f.json")
    return None


def changed(draw, tree):
    """The tree with one place in it made something else, left out, or written a second time under another key."""
    tree = copy.deepcopy(tree)
    place = tree
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[draw(st.integers(0, len(keys) - 1))]
        below = place[key]
        if not (isinstance(below, dict | list) and below) or draw(st.integers(0, 3)) == 0:
            break
        place = below
    how = draw(st.sampled_from(["other", "other", "other", "gone", "moved"]))
    if how == "gone":
        del place[key]
    elif how == "moved" and isinstance(place, dict):
        place[draw(st.text(max_size=4))] = place.pop(key)
    else:
        place[key] = draw(JSON)
    return tree


@TRIES
@given(st.binary(max_size=60))
def test_any_bytes(content):
    assert taken(content) is None


@TRIES
@given(JSON)
def test_any_json(value):
    assert taken(json.dumps(value).encode()) is None


@pytest.mark.parametrize("name", SEEDS)
def test_a_case_with_something_changed(name):
    accepted = []

    @TRIES
    @given(st.data())
    def attempt(data):
        tree = document(name)
        for _ in range(data.draw(st.integers(1, 2))):
            tree = changed(data.draw, tree)
        found = taken(json.dumps(tree).encode())
        if found is None:
            return
        accepted.append(tree)
        validator().validate(json.loads(json.dumps(tree)))
        arrays = manual_run(found.case).quantities()  # whatever it is, a port computes something on it, and that is judged
        given_back = {
            q.symbol: written(a) for q, a in arrays.items() if a is not None and q.symbol in found.required and finite(a)
        }
        if given_back:
            answer = {"format": ANSWER, "version": 1, "case": found.case.name, "quantities": given_back}
            parsed = read_answer(parse(json.dumps(answer).encode(), "answer"), {found.case.name: str(found.case.dtype)})
            judge({found.case.name: found}, {found.case.name: parsed})

    attempt()
    assert accepted  # some changes are harmless: a number inside an allowance, a version


def finite(array):
    import numpy as np

    return bool(np.isfinite(np.asarray(array, float)).all())


@pytest.mark.parametrize("name", SEEDS[:2])
def test_a_text_that_is_cut_or_has_a_byte_changed(name):
    content = json.dumps(document(name)).encode()

    @TRIES
    @given(st.integers(0, len(content) - 1), st.integers(0, 255), st.booleans())
    def attempt(position, byte, cut):
        taken(content[:position] if cut else content[:position] + bytes([byte]) + content[position + 1 :])

    attempt()
    assert taken(content) is not None


@TRIES
@given(st.data())
def test_an_answer_with_something_changed(data):
    name = SEEDS[3]
    arrays = {quantity.symbol: written(array) for quantity, array in manual_run(frozen(name).case).quantities().items()}
    tree = changed(data.draw, {"format": ANSWER, "version": 1, "case": name, "port": "p", "quantities": arrays})
    found = taken(json.dumps(tree).encode())
    if found is not None and found.case == name:
        try:
            judge({name: frozen(name)}, {name: found})
        except VectorsError as error:
            str(error).encode()


def test_tensors_that_are_cut_or_have_a_byte_changed(tmp_path):
    (file,) = write(tmp_path, [frozen(SEEDS[0])], "safetensors")
    content, path = (tmp_path / file).read_bytes(), tmp_path / "changed.safetensors"
    outcomes = set()

    @TRIES
    @given(st.integers(0, len(content) - 1), st.integers(0, 255), st.booleans())
    def attempt(position, byte, cut):
        path.write_bytes(content[:position] if cut else content[:position] + bytes([byte]) + content[position + 1 :])
        try:
            read_cases(path)
            outcomes.add("taken")
        except VectorsError as error:
            outcomes.add("refused" if str(error).startswith(str(path)) else "elsewhere")

    attempt()
    assert outcomes == {"taken", "refused"}
