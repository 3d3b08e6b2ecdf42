"""Frozen cases: what is in the standard set, what the reader refuses, what a judgement says; and torch is not needed for it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from manualbp import Activation, Loss, catalogue
from oracle.case import DTYPES
from oracle.cli import app
from oracle.discrepancy import measure
from oracle.manual_run import manual_run
from oracle.mistakes import catalogue as mistakes
from oracle.vectors import VectorsError
from oracle.vectors.arrays import Tensor, hexadecimal, read, rounded_up, shortest, written
from oracle.vectors.cases import read_case
from oracle.vectors.check import advise, judge, rows
from oracle.vectors.document import ANSWER, FLOATS, Answer, case_document, in_json, read_answer
from oracle.vectors.export import build_case, freeze
from oracle.vectors.files import file_name, read_answers, read_cases, write
from oracle.vectors.reading import At, parse
from oracle.vectors.selection import STANDARD, standard
from oracle.verdict import TOLERANCE

SMALL = "2-4-3x5/float64/Tanh/Identity/MSELoss"
SCHEMA = Path(STANDARD).parent / "schema.json"


@cache
def cases():
    return read_cases(STANDARD)


@cache
def small():
    return freeze(build_case(SMALL, 0))


def document(frozen):
    return json.loads(json.dumps(in_json(case_document(frozen))))


def answer(frozen, trace, only=None):
    arrays = {quantity.symbol: written(array) for quantity, array in trace.quantities().items() if array is not None}
    chosen = {symbol: array for symbol, array in arrays.items() if only is None or symbol in only}
    return {"format": ANSWER, "version": 1, "case": frozen.case.name, "quantities": chosen}


def saved(folder, *documents):
    folder.mkdir(exist_ok=True)
    for number, each in enumerate(documents):
        (folder / f"{number}.json").write_text(json.dumps(each))
    return folder


def mistaken(frozen, name, position):
    mistake = next(mistake for mistake in mistakes() if mistake.name == name)
    return mistake.run(frozen.case, position, manual_run(frozen.case))


# The standard set


def test_the_standard_set_is_what_the_command_makes_and_is_small():
    names = {str(spec) for spec in standard()}
    assert cases().keys() == names
    assert {file.name for file in STANDARD.glob("*.json")} == {file_name(name, "json") for name in names}
    assert sum(file.stat().st_size for file in STANDARD.iterdir()) < 1_500_000


def test_the_standard_set_has_every_activation_loss_and_option_of_the_catalogue():
    frozen = [record for each in cases().values() for record in (*each.case.network.layers, each.case.network.loss)]
    for kind in catalogue(Activation).values():
        assert set(kind.examples(4)) <= set(frozen), kind
    for kind in catalogue(Loss).values():
        assert set(kind.examples(3)) <= set(frozen), kind


def test_dtype_and_shape_of_a_target_say_what_it_holds():
    """As the page has it: labels of samples, or a probability for every class of every sample."""
    found = {}
    for frozen in cases().values():
        loss, y, m = frozen.case.network.loss, frozen.case.target, frozen.case.x.shape[-1]
        labels = y.shape == (*getattr(loss, "out_features", ()), m) and y.dtype == np.int64
        shares = y.ndim == 2 and y.shape[1] == m and y.dtype == frozen.case.dtype and np.allclose(y.sum(axis=0, dtype=float), 1)
        if shares or labels:
            found.setdefault(type(loss).__name__, set()).add("labels" if labels else "shares")
        assert labels or y.dtype == frozen.case.dtype or type(loss).__name__ in ("MultiLabelMarginLoss", "CTCLoss")
        assert np.shape(frozen.case.grad_loss) == np.shape(frozen.reference["C"])
        assert not np.any(np.asarray(frozen.case.grad_loss) == 1)
    for name in ("NLLLoss", "MultiMarginLoss", "AdaptiveLogSoftmaxWithLoss"):
        assert found[name] == {"labels"}
    assert {name for name, kinds in found.items() if kinds == {"labels", "shares"}} == {
        "CrossEntropyLoss",
        "LinearCrossEntropyLoss",
    }


def test_by_hand_agrees_with_every_case_and_one_number_outside_is_seen():
    for frozen in cases().values():
        trace = manual_run(frozen.case)
        found = rows(frozen, trace)
        assert {row.verdict for row in found} == {"agree"}, frozen.case.name
        quantity, array = next((q, np.array(a)) for q, a in trace.quantities().items() if q.symbol in frozen.required)
        at = np.unravel_index(np.argmax(frozen.allowed[quantity]), array.shape)
        off = np.array(array, copy=True)
        off[at] += np.asarray(4 * frozen.allowed[quantity][at] + 1e-30, off.dtype)
        assert measure(off, frozen.reference[quantity.symbol], frozen.scales.through[quantity]).verdict == "differ"


@pytest.mark.parametrize("name", [str(spec) for spec in standard()][:: len(standard()) // 7])
def test_a_case_of_the_set_can_be_frozen_again(name):
    """On another processor torch's last digits may differ; everything else is the same, and they do by no more than is allowed."""
    again, held = freeze(build_case(name, 0)), cases()[name]
    assert np.array_equal(again.case.x, held.case.x)
    assert again.case.network == held.case.network
    assert again.exposes.keys() == held.exposes.keys()
    for quantity, array in held.reference.quantities().items():
        assert measure(again.reference[quantity.symbol], array, held.scales.through[quantity]).verdict == "agree"
        assert np.all(again.allowed[quantity] <= 2 * held.allowed[quantity])


def test_the_mistakes_that_a_case_exposes_fail_on_it_and_one_that_it_does_not_passes():
    frozen = cases()[SMALL.replace("64", "32")]
    assert len(frozen.exposes) > 40
    for name in ("derivative at a for z", "db averaged", "sum for mean"):
        (position, *_) = frozen.exposes[name]
        found = rows(frozen, mistaken(frozen, name, position))
        assert any(row.verdict == "differ" for row in found)
    behind_identity = cases()["2-4-3x5/float32/Identity/Identity/MSELoss"]  # where a is z
    assert "derivative at a for z" not in behind_identity.exposes
    found = rows(behind_identity, mistaken(behind_identity, "derivative at a for z", 1))
    assert {row.verdict for row in found} == {"agree"}


# Numbers


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_numbers_come_back_to_the_last_bit_in_both_forms(dtype):
    rng = np.random.default_rng(0)
    array = (rng.standard_normal((5, 7)) * 10.0 ** rng.integers(-6, 4, (5, 7))).astype(DTYPES[dtype])
    array[0, 0], array[1, 1], array[2, 2] = 0.0, -0.0, np.finfo(np.float32).smallest_subnormal
    form = json.loads(json.dumps(written(array)))
    for kept in (("decimal", "hex"), ("decimal",), ("hex",)):
        part = {key: value for key, value in form.items() if key in ("dtype", "shape", *kept)}
        back = read(At(part, "f"), (dtype,))[0]
        assert back.tobytes() == array.tobytes()


def test_decimals_are_the_shortest_and_hex_is_what_c_prints():
    assert shortest(np.float32(0.1), np.dtype(np.float32)) == 0.1
    assert hexadecimal(0.1) == "0x1.999999999999ap-4"
    assert hexadecimal(1.5) == "0x1.8p+0"
    assert hexadecimal(0.0) == "0x0p+0"


def test_allowances_are_rounded_up_and_never_down():
    exact = np.abs(np.random.default_rng(0).standard_normal(200)) * 1e-12
    shown = np.array(rounded_up(exact))
    assert (shown >= exact).all()
    assert (shown <= exact * 1.01).all()
    assert rounded_up(np.zeros(1)) == [0.0]


def test_what_is_frozen_comes_back_and_allows_sixteen_sigmas(tmp_path):
    frozen = small()
    for form in ("json", "safetensors"):
        (name,) = write(tmp_path / form, [frozen], form)
        (back,) = read_cases(tmp_path / form / name).values()
        assert back.case.network == frozen.case.network
        assert back.exposes == frozen.exposes
        for quantity, array in frozen.reference.quantities().items():
            assert np.array_equal(back.reference[quantity.symbol], array)
            ratio = back.allowed[quantity] / frozen.allowed[quantity]
            assert ((ratio >= 1) & (ratio < 1.01)).all()
            assert np.allclose(back.scales.through[quantity] * TOLERANCE, back.allowed[quantity])


def test_the_tensors_are_those_of_the_safetensors_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="the safetensors library is not installed")
    (name,) = write(tmp_path, [small()], "safetensors")
    held = library.load_file(tmp_path / name)
    assert np.array_equal(held["quantities/dC/dW[1]"], small().reference["dC/dW[1]"])
    arrays = {f"quantities/{q.symbol}": np.asarray(a) for q, a in manual_run(small().case).quantities().items()}
    header = {"format": ANSWER, "version": 1, "case": SMALL}
    library.save_file(arrays, tmp_path / "answer.safetensors", {"document": json.dumps(header)})
    found = read_answers(tmp_path / "answer.safetensors", {SMALL: small()})
    assert {row.verdict for row in judge({SMALL: small()}, found).rows} == {"agree"}


# What the schema says


def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_holds_for_every_case_and_for_an_answer_and_not_for_what_is_wrong():
    check = validator()
    for file in sorted(STANDARD.glob("*.json")):
        check.validate(json.loads(file.read_text()))
    right = answer(small(), manual_run(small().case))
    check.validate(right)
    assert not check.is_valid(right | {"version": 2})
    assert not check.is_valid({**right, "quantities": {"C": {"shape": []}}})


# What the reader refuses


def at(*path):
    """Where to change a document."""

    def change(document, value):
        *way, last = path
        for key in way:
            document = document[key]
        if value is KeyError:
            del document[last]
        else:
            document[last] = value
        return document

    return change


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("format",), "other", "format takes oracle-vectors case or oracle-vectors answer; got 'other'"),
        (("version",), 2, "version takes 1; got 2"),
        (("network", "loss"), KeyError, "network takes the keys layers, loss; loss is missing"),
        (("more",), 1, "got 'more'"),
        (("network", "layers", 1, "type"), "Tahn", "network.layers[1]: unknown layer 'Tahn'. Did you mean Tanh?"),
        (("network", "layers", 1, "type"), "__import__('os')", "network.layers[1].type takes the name of a record"),
        (("network", "layers", 1, "options"), {"x": "__import__('os')"}, "network.layers[1]: cannot make layer"),
        (("network", "layers", 1, "options"), {"a=1, b": 1}, "an option has a name such as reduction"),
        (("network", "layers", 0, "options", "in_features"), 10**40, "got 2 rows"),
        (("network", "layers", 0, "options", "in_features"), {"a": 1}, "options.in_features takes null, true, false"),
        (("network", "loss", "options", "reduction"), "median", "MSELoss takes reduction"),
        (("given", "x"), KeyError, "x is missing"),
        (("given", "x", "shape"), [3, 5], "takes one number for each element: 15 for this shape; got 10"),
        (("given", "x", "shape"), [2, -5], "given.x.shape[1] takes a whole number from 0; got -5"),
        (("given", "x", "shape"), [2, 10**30], "up to 8 sizes of an array of up to"),
        (("given", "x", "dtype"), "float32", "given: x and dC'/dC have the case's dtype"),
        (("given", "W[1]"), KeyError, "W[1] is missing"),
        (("given", "W[7]"), {"dtype": "float64", "shape": [0], "decimal": []}, "got 'W[7]'"),
        (("given", "x", "decimal", 3), None, 'given.x.decimal[3] takes a number, or "NaN"'),
        (("given", "x", "decimal", 3), True, "given.x.decimal[3] takes a number"),
        (("given", "x", "decimal", 3), 0.125, "decimal and hex are one number twice; number 3 is 0.125 in decimal"),
        (("given", "x", "hex", 3), "0x1.8", "decimal and hex are one number twice"),
        (("given", "x", "hex", 3), "0x1p99999", "hex[3] takes a hexadecimal float that float64 can hold"),
        (("given", "x", "hex", 3), "1e5", "hex[3] takes a hexadecimal float such as"),
        (("quantities", "C"), KeyError, "quantities takes every sign of the network; C is missing"),
        (("quantities", "dC/dQ"), {"dtype": "float64", "shape": [], "decimal": [1]}, "the network has the signs z[1]"),
        (("quantities", "C", "allowed"), KeyError, "takes the key allowed"),
        (("quantities", "C", "allowed", 0), -1.0, "allowed[0] takes an allowed error, a number from 0; got -1.0"),
        (("quantities", "C", "shape"), [1], "quantities.C takes the shape [] in this network; got [1]"),
        (("exposes", "db averaged"), [99], "exposes.db averaged takes a list of positions from 0 to 4"),
        (("proved",), ["w"], "proved[0] takes z[1] or"),
        (("case",), "a\nb", "case takes a name of up to"),
    ],
)
def test_a_case_that_is_wrong_is_refused_with_the_key_and_what_is_expected(path, value, says):
    wrong = document(small())
    at(*path)(wrong, value)
    with pytest.raises(VectorsError) as refused:
        read_kind(wrong)
    assert says in str(refused.value), refused.value
    assert str(refused.value).startswith("f.json")


def read_kind(wrong):
    from oracle.vectors.document import kind

    parsed = parse(json.dumps(wrong).encode(), "f.json")
    kind(parsed)
    return read_case(parsed)


def test_an_option_that_divides_by_zero_is_refused():
    name = next(name for name in cases() if "AdaptiveLogSoftmax" in name)
    wrong = document(cases()[name])
    wrong["network"]["loss"]["options"]["div_value"] = 0.0
    with pytest.raises(VectorsError, match=r"network\.loss: cannot make loss"):
        read_kind(wrong)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' stands twice"),
        (b'{"a": NaN}', 'NaN is no JSON; write it as a text, "NaN"'),
        (b'{"a": -Infinity}', "-Infinity is no JSON"),
        (b'{"a": 1e999}', "1e999 is beyond float64"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "1111111111..., a whole number of 10,000 digits, is beyond float64; an infinity is"),
        (b'{"a": -' + b"1" * 5_000 + b"}", "-111111111..., a whole number of 5,000 digits, is beyond float64"),
        (b'{"a": 1' + b"0" * 308 + b"}", "an object whose key format is"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": [1, 2', "no JSON"),
        (b"", "no JSON"),
        (b"\xff\xfe", "takes JSON in UTF-8; byte 0 is not"),
        (b'{"a": ["\\uD800"]}', "a text holds half of a surrogate pair"),
        (b"[1, 2]", "an object whose key format is"),
    ],
)
def test_what_is_no_document_is_refused(content, says, tmp_path):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(VectorsError) as refused:
        read_cases(tmp_path / "f.json")
    assert says in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_links_devices_and_names_that_lead_elsewhere_are_refused(tmp_path):
    outside = saved(tmp_path / "outside", document(small()))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.json").symlink_to(outside / "0.json")
    with pytest.raises(VectorsError, match=r"link\.json is a link"):
        read_cases(inside)
    (inside / "link.json").unlink()
    os.mkfifo(inside / "pipe.json")  # which would be waited for
    for path in (inside, Path("/dev/zero"), tmp_path / "nothing", Path("a\0b")):
        with pytest.raises(VectorsError):
            read_cases(path)
    with pytest.raises(VectorsError, match="holds no file of vectors"):
        read_cases(saved(tmp_path / "empty"))
    name = file_name("../../etc/passwd", "json")
    assert "/" not in name
    assert not name.startswith(".")


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    same = document(small())
    with pytest.raises(VectorsError, match=r"stands in .* already"):
        read_cases(saved(tmp_path / "cases", same, same))
    again = answer(small(), manual_run(small().case))
    with pytest.raises(VectorsError, match=r"is answered in .* already"):
        read_answers(saved(tmp_path / "answers", again, again), {SMALL: small()})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"case": "notes/float64/Tanh/Identity/MSELoss"}, "there is none of the name 'notes/float64"),
        ({"quantities": {}}, "quantities takes at least one array"),
        ({"quantities": {"dC/dW[9]": {"shape": [], "decimal": [1]}}}, "takes the signs of this network, z[1]"),
        ({"quantities": {"C": {"shape": [], "decimal": [None]}}}, "JavaScript writes null for NaN"),
        ({"quantities": {"C": {"shape": []}}}, "as decimal, as hex, or as both"),
        ({"quantities": {"C": {"shape": [], "decimal": [1], "dtype": "int64"}}}, "dtype takes float64 or"),
        ({"port": 5}, "port takes the name of the port; got 5"),
    ],
)
def test_an_answer_that_is_wrong_is_refused(change, says, tmp_path):
    wrong = answer(small(), manual_run(small().case)) | change
    held = {SMALL: small()}
    with pytest.raises(VectorsError) as refused:
        judge(held, read_answers(saved(tmp_path / "answers", wrong), held))
    assert says in str(refused.value)


def test_a_number_beyond_a_narrow_dtype_is_refused_where_it_stands():
    at_number = At({"dtype": "float32", "shape": [2], "decimal": [1, 1e39]}, "f")
    with pytest.raises(VectorsError, match=r"decimal\[1\] takes a number that float32 can hold"):
        read(at_number, ("float32",))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c[:5], "is no safetensors file: it has 5 bytes"),
        (lambda c: (1 << 60).to_bytes(8, "little") + c[8:], "its header would have 1152921504606846976"),
        (lambda c: c[:-8], "takes where the array begins and ends"),
        (lambda c: c.replace(b"given/x", b"taken/x"), "got 'taken/x'"),
        (lambda c: c.replace(b'"__metadata__"', b'"__metadatum__"'), "takes tensors named"),
        (lambda c: c.replace(b'"F64"', b'"F65"', 1), "dtype takes F64 or F32"),
        (lambda c: c.replace(b'"shape": [2, 5]', b'"shape": [5, 5]', 1), "200 bytes for the shape [5, 5] in float64"),
        (lambda c: c.replace(b'"__metadata__": {', b'"__metadata__": ,'), "the header is no JSON: Expecting value"),
        (lambda c: c.replace(b'"{\\"format', b'",\\"format'), ": __metadata__.document is no JSON: Expecting value"),
        (lambda c: c.replace(b"allowed/C", b"allowed/D", 1), "stands beside one of quantities; there is none"),
    ],
)
def test_tensors_that_are_wrong_are_refused(change, says, tmp_path):
    (name,) = write(tmp_path, [small()], "safetensors")
    file = tmp_path / name
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(VectorsError) as refused:
        read_cases(file)
    assert says in str(refused.value), refused.value


# Judging


def converted(frozen, dtype):
    """An answer by hand, its numbers in another dtype: as JSON objects and as tensors."""
    right = answer(frozen, manual_run(frozen.case))
    arrays = {sign: read(At(form, "f"), FLOATS)[0].astype(DTYPES[dtype]) for sign, form in right["quantities"].items()}
    in_text = right | {"quantities": {sign: json.loads(json.dumps(written(array))) for sign, array in arrays.items()}}
    return in_text, right | {"quantities": {sign: Tensor(array) for sign, array in arrays.items()}}


@pytest.mark.parametrize("answered", FLOATS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_in_another_dtype_are_rounded_to_that_of_the_case(dtype, answered):
    """In a wider dtype they agree; in a narrower one they are judged: they are off, and not missing."""
    frozen = freeze(build_case(SMALL.replace("float64", dtype), 0))
    for document in converted(frozen, answered):
        found = read_answer(At(document, "f"), {frozen.case.name: dtype})
        assert {str(array.dtype) for array in found.arrays.values()} == {dtype}
        verdicts = {row.verdict for row in rows(frozen, found.trace(frozen))}
        wider = answered == dtype or answered == "float64" or (answered == "float32" and dtype != "float64")
        assert verdicts == {"agree"} if wider else "missing" not in verdicts


def test_an_answer_that_says_its_dtype_is_one_by_the_schema():
    validator().validate(converted(small(), "float32")[0])


@pytest.mark.parametrize("form", ["JSON", "tensors"])
def test_a_number_that_the_dtype_of_the_case_cannot_hold_is_refused(form):
    array = np.array([1.0, np.inf, 1e39])
    held = At(json.loads(json.dumps(written(np.nan_to_num(array)))) if form == "JSON" else Tensor(array), "f", "quantities.C")
    with pytest.raises(VectorsError, match=r"quantities\.C takes numbers that float32, the dtype of the case, can hold; number"):
        read(held, FLOATS, "float32")
    array[2] = -np.inf
    assert np.array_equal(read(At(Tensor(array), "f"), FLOATS, "float32")[0], array.astype(np.float32))


def test_gradients_of_parameters_are_required_and_all_else_is_judged_where_it_is_given():
    frozen, trace = small(), manual_run(small().case)
    given = {quantity.symbol: array for quantity, array in trace.quantities().items()}
    parameters = {symbol: given[symbol] for symbol in frozen.required}
    assert frozen.required == {"dC/dW[1]", "dC/db[1]", "dC/dW[2]", "dC/db[2]"}
    assert {row.verdict for row in rows(frozen, Answer(SMALL, parameters).trace(frozen))} == {"agree"}
    without = {symbol: array for symbol, array in parameters.items() if symbol != "dC/db[1]"}
    found = {row.symbol: row.verdict for row in rows(frozen, Answer(SMALL, without).trace(frozen))}
    assert found.pop("dC/db[1]") == "missing"
    assert set(found.values()) == {"agree"}
    wrong = parameters | {"z[1]": given["z[1]"] + 1, "dC/dW[2]": given["dC/dW[2]"].T, "C": given["C"] * np.nan}
    found = {row.symbol: row.verdict for row in rows(frozen, Answer(SMALL, wrong).trace(frozen))}
    assert (found["z[1]"], found["dC/dW[2]"], found["C"]) == ("differ", "missing", "nonfinite")


@pytest.mark.parametrize(
    ("name", "position", "where"),
    [
        ("derivative at a for z", 1, "Layer 1, Tanh"),
        ("db averaged", 2, "Layer 2, Linear"),
        ("factor 2 forgotten", 4, "The loss, MSELoss"),
    ],
)
def test_a_planted_mistake_is_placed_and_named_from_the_file_alone(name, position, where, tmp_path):
    (file,) = write(tmp_path, [small()])
    (frozen,) = read_cases(tmp_path / file).values()
    trace = mistaken(frozen, name, position)
    advice = advise(frozen, trace, rows(frozen, trace))
    assert advice.location.startswith(where)
    assert (name, position) in {(match["name"], match["position"]) for match in advice.matches}


def test_an_error_that_cancels_in_the_bias_is_named_all_the_same():
    """With its targets shifted by a sample a squared error has the right sum over the samples, and so the right dC/db."""
    frozen = small()
    trace = mistaken(frozen, "targets of other samples", 4)
    trace = Answer(SMALL, {symbol: trace[symbol] for symbol in frozen.required}).trace(frozen)
    found = rows(frozen, trace)
    assert {row.symbol: row.verdict for row in found}["dC/db[2]"] == "agree"
    advice = advise(frozen, trace, found)
    assert ("targets of other samples", 4) in {(match["name"], match["position"]) for match in advice.matches}
    assert advice.location == "Between the loss, MSELoss and layer 2, Linear(4, 3)"


def test_numbers_by_hand_stand_where_torch_is_proved_wrong():
    frozen = cases()["alone/3x5x4/float64/CTCLoss/generic"]
    assert frozen.proved == ("dC/dx",)  # torch takes the input for normalised and adds its exponential
    from oracle.torch_run import torch_run

    by_torch = torch_run(frozen.case)["dC/dx"]
    (quantity,) = (each for each in frozen.allowed if each.symbol == "dC/dx")
    assert measure(by_torch, frozen.reference["dC/dx"], frozen.scales.through[quantity]).verdict == "differ"


def test_a_case_on_a_kink_or_of_no_numbers_is_not_frozen():
    case = small().case
    relu = build_case("2-4-3x5/float64/ReLU/Identity/MSELoss", 0)
    zeros = tuple({name: np.zeros_like(array) for name, array in own.items()} for own in relu.params)
    with np.errstate(all="ignore"):
        with pytest.raises(VectorsError, match="not finite"):
            freeze(replace(case, x=np.full_like(case.x, np.nan)))
        assert freeze(replace(relu, params=zeros)).reference["dC/db[1]"].any() == 0  # torch's own convention, 0


def test_the_port_in_the_documentation_agrees(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "vectors.md").read_text()
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(code, "vectors.md", "exec"), names)
    (tmp_path / "a.safetensors").write_bytes(names["binary"])
    for path in (saved(tmp_path / "a", names["document"]), tmp_path / "a.safetensors"):
        found = judge(cases(), read_answers(path, cases())).rows
        assert len(found) == 4
        assert {row.verdict for row in found} == {"agree"}
    assert str(len(cases())) in page


# The commands


def run(*arguments):
    return CliRunner().invoke(app, ["vectors", *map(str, arguments)])


def test_export_and_check_from_the_shell(tmp_path):
    made = run("export", "--case", SMALL, "--out", tmp_path / "cases", "--json")
    assert made.exit_code == 0, made.output
    assert list(json.loads(made.stdout)["files"].values()) == [SMALL]
    right = answer(small(), manual_run(small().case))
    wrong = answer(small(), mistaken(small(), "db averaged", 2))
    agreed = run("check", saved(tmp_path / "right", right), "--against", tmp_path / "cases", "--json")
    assert agreed.exit_code == 0
    assert json.loads(agreed.stdout)["ok"] is True
    failed = run("check", saved(tmp_path / "wrong", wrong), "--against", tmp_path / "cases", "--out", tmp_path / "report")
    assert failed.exit_code == 1
    assert "It matches 'db averaged' in layer 2, Linear(4, 3)" in failed.output
    assert f"oracle vectors check {tmp_path}/wrong/0.json --against {tmp_path}/cases" in failed.output.replace("\n", "")
    assert (tmp_path / "report" / "report.html").exists()


def test_the_standard_set_is_what_an_answer_is_held_against(tmp_path):
    (frozen,) = (cases()[name] for name in cases() if "GELU(approximate='tanh')/Identity" in name)
    found = run("check", saved(tmp_path / "a", answer(frozen, manual_run(frozen.case))))
    assert found.exit_code == 0, found.output
    assert f"{len(cases()) - 1} of {len(cases())} cases are not answered." in found.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "nowhere"], "nowhere is no file"),
        (["check", STANDARD], "this is a frozen case"),
        (["export", "--case", "data/digits/float64"], "vectors are made of"),
        (["export", "--case", "alone/3x4/float64/Tanh/generic"], "vectors are made of"),
        (["export", "--case", SMALL, "--loss", "MSELoss"], "--case names the whole case"),
        (["export", "--loss", "MSELos"], "Did you mean MSELoss?"),
        (["export", "--case", SMALL, "--format", "yaml"], "--format takes json or safetensors; got 'yaml'"),
    ],
)
def test_a_wrong_call_ends_with_status_2_and_writes_nothing(arguments, says, tmp_path):
    out = ["--out", tmp_path / "out"] if arguments[0] == "export" else []
    found = run(*arguments, *out)
    assert found.exit_code == 2
    assert says in found.output.replace("\n", " ")
    assert not list(tmp_path.glob("out/*"))


def test_files_appear_all_or_none(tmp_path, monkeypatch):
    from oracle.files import OutputError
    from oracle.vectors import files

    honest, made = files.laid_out, []

    def full_disk(document, depth=0):
        if depth == 0:
            made.append(document)
            if len(made) == 2:
                raise OSError(28, "No space left on device")
        return honest(document, depth)

    monkeypatch.setattr(files, "laid_out", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path, [small(), cases()[SMALL.replace("64", "32")]])
    assert len(made) == 2
    assert not list(tmp_path.iterdir())


def test_a_case_that_cannot_be_frozen_is_told_and_the_others_are_written(tmp_path, monkeypatch):
    from oracle.vectors import export

    honest = export.freeze

    def freeze_some(case):
        if "MSELoss" in case.name:
            raise VectorsError(f"{case.name}: not today")
        return honest(case)

    monkeypatch.setattr(export, "freeze", freeze_some)
    other = SMALL.replace("MSELoss", "L1Loss")
    found = run("export", "--case", SMALL, "--case", other, "--out", tmp_path / "out")
    assert found.exit_code == 1
    assert "not today" in found.output
    assert list(read_cases(tmp_path / "out")) == [other]


def test_judging_needs_no_torch_and_a_fresh_process_that_does_is_seen(tmp_path):
    wrong = saved(tmp_path / "a", answer(small(), mistaken(small(), "derivative at a for z", 1)))
    (tmp_path / "cases").mkdir()
    write(tmp_path / "cases", [small()])
    code = (
        "import sys\n{}\nfrom oracle.cli import app\ntry:\n    app({!r})\nexcept SystemExit as end:\n"
        "    print('status', end.code, 'torch' in sys.modules)"
    )
    arguments = ["vectors", "check", str(wrong), "--against", str(tmp_path / "cases")]
    for before, more, loaded in (("", ["--out", str(tmp_path / "out")], "False"), ("import torch", [], "True")):
        script = code.format(before, arguments + more)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == f"status 1 {loaded}", done.stdout + done.stderr
