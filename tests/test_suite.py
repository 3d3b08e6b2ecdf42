"""What the sweep covers, read off the catalogue; and that a new activation is swept without being registered."""

import ast
import contextlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manualbp import Activation, Loss
from oracle.alone import Alone, build
from oracle.case import DTYPES, FULL_DTYPES, SHAPES, Spec, SpecError, parse_record, parse_shape
from oracle.suite import alone, specs
from support import ACTIVATIONS, LOSSES, for_rows

ALL = specs()
ALONE = alone()


def fits(record, shape):
    return record.extra_axes in (None, len(shape.extra))


def test_every_loss_meets_every_shape_and_every_dtype():
    found = {(str(spec.loss), spec.shape.name) for spec in ALL}
    for name, shape in SHAPES.items():
        assert {(str(for_rows(loss, shape.widths[-1])), name) for loss in LOSSES if fits(loss, shape)} <= found
    by_class = {(type(spec.loss), spec.shape.name, spec.dtype) for spec in ALL}
    several = [loss for loss in LOSSES if len(type(loss).examples()) > 1]
    for dtype in FULL_DTYPES:
        assert {(type(loss), name, dtype) for loss in several for name, s in SHAPES.items() if fits(loss, s)} <= by_class
    assert {(type(loss), dtype) for loss in several for dtype in DTYPES} <= {(kind, dtype) for kind, _, dtype in by_class}


def test_every_activation_meets_every_loss():
    found = {(str(spec.hidden), type(spec.loss)) for spec in ALL}
    everywhere = [record for record in ACTIVATIONS if record.extra_axes is None]
    assert {(str(record), type(loss)) for record in everywhere for loss in LOSSES} <= found


def test_every_activation_is_an_output_in_front_of_every_loss_that_allows_it():
    found = {(str(spec.output), type(spec.loss)) for spec in ALL}
    wanted = {
        (str(a), type(l)) for a in ACTIVATIONS for l in LOSSES
        if l.domain.covers(a.range) and {a.extra_axes, l.extra_axes} == {None} and not (len(l.inputs) > 1 and l.per_sample and a.kinks)
    }  # fmt: skip
    assert len(wanted - found) < 0.02 * len(wanted)  # a loss without options has fewer cases than there are activations
    assert len(wanted) > 600


def test_every_activation_meets_every_dtype_and_nearly_every_shape():
    found = {(str(spec.hidden), spec.shape.name) for spec in ALL}
    wanted = {(str(a), name) for a in ACTIVATIONS for name, s in SHAPES.items() if len(s.widths) > 2 and fits(a, s)}
    assert len(wanted - found) < 0.1 * len(wanted)
    assert {(str(a), dtype) for a in ACTIVATIONS for dtype in FULL_DTYPES} <= {(str(spec.hidden), spec.dtype) for spec in ALL}


def test_the_whole_product_is_there_on_request():
    some = specs(["GELU", "Tanh"], ["MSELoss", "BCELoss"], ["notes", "image"], ["float32"], full=True)
    hidden = {(str(spec.hidden), str(spec.loss), spec.shape.name) for spec in some}
    assert len(hidden) == 3 * (3 + 6) * 2
    assert len(specs(["GELU"], full=True)) > 10 * len(specs(["GELU"]))


def test_every_record_is_swept_alone_in_every_dtype_and_regime():
    found = {(type(spec.record), spec.dtype, spec.regime) for spec in ALONE}
    everything = {(type(r), dtype) for r in (*ACTIVATIONS, *LOSSES) for dtype in DTYPES}
    matrices = {(type(r), dtype) for r in LOSSES if r.parameter_shapes() for dtype in DTYPES}
    assert everything == {(kind, dtype) for kind, dtype, regime in found if regime == "generic"}
    assert everything - matrices == {(kind, dtype) for kind, dtype, regime in found if regime == "extremes"}
    assert {(type(r), dtype, "kinks") for r in (*ACTIVATIONS, *LOSSES) if r.kinks for dtype in DTYPES} <= found
    assert [Alone.parse(str(spec)) for spec in ALONE[::37]] == ALONE[::37]


def test_infinities_and_nan_are_among_the_extremes_of_all_but_whole_vectors():
    """Between infinitely long vectors there is no distance and no angle, nor is a probability infinite or NaN."""
    extremes = [spec for spec in ALONE if spec.regime == "extremes"]
    seen = {type(spec.record).__name__ for spec in extremes if np.isnan(build(spec).x.astype(np.float64)).any()}
    bounded = {"BCELoss"}
    finite = {type(spec.record).__name__ for spec in extremes} - seen - bounded
    assert finite == {
        "CosineEmbeddingLoss",
        "MultiLabelMarginLoss",
        "MultiMarginLoss",
        "TripletMarginLoss",
        "TripletMarginWithDistanceLoss",
    }


def test_no_case_is_swept_twice_and_each_name_reads_back():
    names = [str(spec) for spec in ALL]
    assert len(set(names)) == len(names)
    assert [Spec.parse(name) for name in names] == ALL


def test_shapes_cover_the_corners():
    shapes = SHAPES.values()
    assert any(shape.batch == 1 for shape in shapes)
    assert any(1 in shape.widths for shape in shapes)
    assert any(len(shape.widths) == 2 for shape in shapes), "depth 1"
    assert any(len(shape.widths) > 8 for shape in shapes), "deep"
    assert SHAPES["notes"].widths == (3, 3, 3)
    assert any(len({*shape.widths, shape.batch}) == len(shape.widths) + 1 for shape in shapes), "all sizes different"


def test_the_sweep_can_be_narrowed():
    some = specs(["GELU", "LeakyReLU(negative_slope=0.2)"], ["MSELoss"], ["notes", "4-8-3x2"], ["float32"])
    named = {"GELU", "GELU(approximate='tanh')", "LeakyReLU(negative_slope=0.2)"}
    assert {str(spec.hidden) for spec in some} == named == {str(spec.output) for spec in some}
    assert {str(spec.loss) for spec in some} == {"MSELoss", "MSELoss(reduction='sum')", "MSELoss(reduction='none')"}
    assert {str(spec.shape) for spec in some} == {"notes", "4-8-3x2"}
    assert {spec.dtype for spec in some} == {"float32"}


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: specs(["Gelu"]), r"unknown activation 'Gelu'. Did you mean GELU\? Known: CELU, ELU"),
        (lambda: specs((), ["MSE"]), r"unknown loss 'MSE'. Did you mean MSELoss\?"),
        (lambda: specs((), (), ["note"]), r"unknown shape 'note'. Did you mean notes\?"),
        (lambda: specs((), (), (), ["float99"]), r"unknown dtype 'float99'"),
        (lambda: parse_shape("4-0x3"), "from 1"),
        (lambda: parse_record("GELU(approximate='maybe')", Activation), "'none' or 'tanh'; got 'maybe'"),
        (lambda: parse_record("GELU(slope=2)", Activation), "cannot make activation"),
        (lambda: parse_record("__import__('os').system('true')", Activation), "cannot read activation"),
        (lambda: parse_record("GELU(approximate=open('x'))", Activation), "cannot read activation"),
        (lambda: parse_record("MSELoss(", Loss), "cannot read loss"),
        (lambda: Spec.parse("notes/float32/Tanh/MSELoss"), "5 parts; got 4"),
        (lambda: Alone.parse("alone/5x7/float64/MultiMarginLoss/kinks"), "a kink of MultiMarginLoss is a sample of 3 rows; got 5"),
        (lambda: Spec.parse("notes/float32/Tanh/Tanh/BCELoss"), r"takes inputs in \[0, 1\]; Tanh gives"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_named_with_what_does(read, message):
    with pytest.raises(SpecError, match=message):
        read()


@given(st.text())
def test_any_text_is_read_or_refused(text):
    for read in (Spec.parse, parse_shape, lambda words: parse_record(words, Activation)):
        with contextlib.suppress(SpecError):
            read(text)


SCRATCH = '''
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from manualbp.domains import Interval
from manualbp.layer import Elementwise

@dataclass(frozen=True)
class SlowTanh(Elementwise):
    """f(z) = z / (1 + |z|),  f'(z) = 1 / (1 + |z|)^2."""

    formula: ClassVar[str] = "z / (1 + |z|)"
    derivative_formula: ClassVar[str] = "1 / (1 + |z|)^2"
    range: ClassVar[Interval] = Interval(-1.0, 1.0)

    @classmethod
    def twin(cls):
        return "Softsign"

    def value(self, z):
        return z / (1 + np.abs(z))

    def derivative(self, z):
        return DERIVATIVE

from oracle.sweep import run_cases
from oracle.suite import alone, specs
texts = [str(spec) for spec in (*specs(), *alone()) if "SlowTanh" in str(spec) and not str(spec).endswith("extremes")]
rows = run_cases(texts[::13], 0).rows
print(len(texts), len(rows), sorted({row.verdict for row in rows if "SlowTanh" in row.module}))
'''  # fmt: skip


@pytest.mark.parametrize(
    ("derivative", "verdicts"),
    [("1 / (1 + np.abs(z)) ** 2", {"agree", "reference"}), ("1 / (1 + np.abs(z))", {"agree", "differ"})],
)
def test_one_class_is_all_it_takes_to_be_swept(derivative, verdicts):
    """In a process of its own, so that the scratch class is gone afterwards. A wrong derivative is found, too."""
    code = SCRATCH.replace("DERIVATIVE", derivative)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, rows, found = done.stdout.strip().split(" ", 2)
    assert int(count) > 100
    assert int(rows) > 200
    assert set(ast.literal_eval(found)) - {"reference"} == verdicts - {"reference"}
