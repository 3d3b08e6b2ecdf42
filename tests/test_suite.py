"""What the sweep covers, read off the catalogue; and that a new activation is swept without being registered."""

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manualbp import Activation, Loss
from oracle.case import DTYPES, SHAPES, Spec, SpecError, parse_record, parse_shape
from oracle.suite import PLAIN_HIDDEN, specs
from support import ACTIVATIONS, LOSSES

ALL = specs()


def test_every_activation_is_swept_as_hidden_with_every_loss_shape_and_dtype():
    deep = [name for name, shape in SHAPES.items() if len(shape.widths) > 2]
    assert len(deep) >= 8
    found = {(str(spec.hidden), str(spec.loss), spec.shape.name, spec.dtype) for spec in ALL}
    wanted = {(str(a), str(l), shape, dtype) for a in ACTIVATIONS for l in LOSSES for shape in deep for dtype in DTYPES}
    assert wanted <= found


def test_every_activation_is_swept_as_output_wherever_the_loss_allows_it():
    found = {(str(spec.output), str(spec.loss), spec.shape.name, spec.dtype) for spec in ALL}
    wanted = {
        (str(a), str(l), shape, dtype)
        for a in ACTIVATIONS for l in LOSSES if l.domain.covers(a.range) for shape in SHAPES for dtype in DTYPES
    }  # fmt: skip
    assert wanted <= found
    assert len(wanted) > 1500


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
    assert {str(spec.hidden) for spec in some} == {
        "GELU",
        "GELU(approximate='tanh')",
        "LeakyReLU(negative_slope=0.2)",
        PLAIN_HIDDEN,
    }
    assert {str(spec.shape) for spec in some} == {"notes", "4-8-3x2"}
    assert {spec.dtype for spec in some} == {"float32"}


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: specs(["Gelu"]), r"unknown activation 'Gelu'. Did you mean GELU\? Known: GELU, Identity"),
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
class Softsign(Elementwise):
    """f(z) = z / (1 + |z|),  f'(z) = 1 / (1 + |z|)^2."""

    formula: ClassVar[str] = "z / (1 + |z|)"
    derivative_formula: ClassVar[str] = "1 / (1 + |z|)^2"
    range: ClassVar[Interval] = Interval(-1.0, 1.0)

    def value(self, z):
        return z / (1 + np.abs(z))

    def derivative(self, z, a):
        return DERIVATIVE

from oracle.sweep import run_cases
from oracle.suite import specs
texts = [str(spec) for spec in specs() if "Softsign" in str(spec)]
rows = run_cases(texts[::17], 0).rows
print(len(texts), len(rows), sorted({row.verdict for row in rows}))
'''  # fmt: skip


@pytest.mark.parametrize(
    ("derivative", "verdicts"), [("1 / (1 + np.abs(z)) ** 2", "['agree']"), ("1 / (1 + np.abs(z))", "['agree', 'differ']")]
)
def test_one_class_is_all_it_takes_to_be_swept(derivative, verdicts):
    """In a process of its own, so that the scratch class is gone afterwards. A wrong derivative is found, too."""
    code = SCRATCH.replace("DERIVATIVE", derivative)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, rows, found = done.stdout.strip().split(" ", 2)
    assert int(count) > 300
    assert int(rows) > 500
    assert found == verdicts
