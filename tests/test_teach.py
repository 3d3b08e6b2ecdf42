"""The teaching page: its numbers are autograd's, it follows the network, and no text does it harm."""

import re
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from typer.testing import CliRunner

from manualbp import HalfSquaredError, ReLU, Sigmoid, Tanh
from manualbp.textbook import notes333
from oracle.case import Spec, SpecError
from oracle.cli import app
from oracle.explain import notes_case
from oracle.inputs import build
from oracle.mistakes import AssemblyMistake
from oracle.teach import lesson, mathml, read_network
from oracle.teach.differences import PLANTED
from oracle.torch_run import torch_run
from support import draw, planted, with_layer

CASES = [
    "notes/float64/Sigmoid/Sigmoid/BCELoss(reduction='sum')",
    "4-5-2x3/float64/GELU/LogSoftmax/NLLLoss",
    "3-4-2x5x6/float32/SwiGLU/Identity/MSELoss",
    "depth1/float64/Tanh/Identity/MSELoss(reduction='none')",
    "9-12-9x2/float64/ReLU/Softmax/CrossEntropyLoss",
    "notes/bfloat16/PReLU/Sigmoid/MSELoss",
    "3-4-2x3/float64/SwiGLU/Identity/MSELoss",
    "3-4-2x3/float64/Hardsigmoid/Identity/MSELoss",  # torch's slope has seven digits
]


@pytest.fixture(scope="module")
def notes():
    return lesson()


@pytest.fixture(scope="module")
def page(notes):
    return notes.to_html()


def shown(page, side):
    """By symbol, the numbers that a page shows on this side of each step, in full."""
    steps = page.split('<article class="step" data-symbol="')[1:]
    parts = {step.partition('"')[0]: step.partition(f'<div class="{side}">')[2].partition("</div>")[0] for step in steps}
    return {symbol: [float(number) for number in re.findall(r'data-full="([^"]+)"', part)] for symbol, part in parts.items()}


def with_weight(case, value):
    """The notes' network with another w47."""
    weight = case.params[2]["weight"].copy()
    weight[0, 0] = value
    return replace(case, params=(*case.params[:2], {**case.params[2], "weight": weight}, *case.params[3:]))


@pytest.mark.parametrize("w47", [notes333.PARAMETERS["w47"], -2.5])
def test_the_pages_numbers_are_autograds_and_follow_the_network(w47):
    case = with_weight(notes_case(), w47)
    found, wanted = lesson(case).to_html(), torch_run(case).quantities()
    autograd, by_hand = shown(found, "auto"), shown(found, "hand")
    assert len(autograd) == len(wanted) == 14
    for quantity, array in wanted.items():
        assert autograd[quantity.symbol] == np.ravel(array).tolist()
        np.testing.assert_allclose(by_hand[quantity.symbol], np.ravel(array), rtol=1e-14, atol=1e-17)


def test_another_weight_changes_the_page(page):
    other = lesson(with_weight(notes_case(), -2.5)).to_html()
    before, after = shown(page, "auto"), shown(other, "auto")
    assert {symbol for symbol in before if before[symbol] == after[symbol]} == {"z[1]", "a[1]"}


def test_a_wrong_layer_is_seen_on_the_page(page):
    wrong = planted(Sigmoid(), lambda result: (result[0] * (1 + 1e-9), result[1]))
    found = lesson(with_layer(notes_case(), 3, wrong)).to_html()
    verdicts = re.findall(r'class="verdict (bad)?">(\w+)', found)
    assert verdicts.count(("bad", "differ")) > 10
    assert {word for _, word in re.findall(r'class="verdict ( *)">(\w+)', page)} <= {"agree"}
    assert 'class="verdict bad"' not in page


def test_version_2_is_the_textbooks(notes):
    wanted = notes333.backpropagate()
    for node in range(4, 10):
        z, a, _, error, bias = notes.nodes.of_node(node)
        assert a.by_hand == pytest.approx(wanted.a[node][0], rel=1e-15)
        assert error.by_hand == pytest.approx(wanted.error[node][0], rel=1e-14)
        assert bias.by_hand == pytest.approx(wanted[f"b{node}"], rel=1e-14)
        assert {w.off.verdict for w in (z, a, error, bias)} == {"agree"}
    for j, i in notes.nodes.edges:
        assert notes.nodes.weight_gradient(j, i).by_hand == pytest.approx(wanted[f"w{j}{i}"], rel=1e-14)
    titles = [title for title, _ in notes.nodes.in_full()]
    assert "The weight from node 4 to node 7, and the bias of node 7" in titles
    symbols = [w.symbol for _, items in notes.nodes.in_full() for w in items]
    assert [s for s in symbols if "w" in s or "b" in s] == ["dC/dw47", "dC/db7", "dC/dw14", "dC/db4"]


def test_the_forms_are_side_by_side(notes):
    assert set(notes.forms) == {"dC/dW[1]", "dC/db[1]", "dC/dW[2]", "dC/db[2]"}
    for row in notes.forms.values():
        assert set(row) == {"Version 1", "Version 2", "joined", "general chain"}
        assert {found.verdict for found in row.values()} == {"agree"}


def test_the_update_and_the_loss_after_it(notes):
    w47 = next(update for update in notes.updates if update.symbol == "W[2]")
    assert w47.after[0, 0] == pytest.approx(1.1 - 0.5 * notes333.backpropagate()["w47"], rel=1e-14)
    assert notes.explanation.loss_after < notes.explanation.loss_before
    assert notes.expected < notes.explanation.loss_after  # C curves upwards here


@pytest.mark.parametrize("text", CASES)
def test_any_network_has_a_page(text):
    case = build(Spec.parse(text))
    found = lesson(case)
    page = found.to_html()
    assert shown(page, "auto")["z[1]"] == pytest.approx(
        np.asarray(torch_run(case)["z[1]"], float).reshape(len(case.params[0]["weight"]), -1)[:6, :6].ravel().tolist(), rel=1e-12
    )
    assert ('class="verdict ">reference' in page) == ("Hardsigmoid" in text)
    assert ("Not drawn" in page) == bool(found.no_nodes) == ("SwiGLU" in text)
    assert len(page) < 1_500_000
    assert 'class="verdict bad"' not in page


EDGE = """
loss = "HalfSquaredError"
x = [{x}]
target = [0.0]
dtype = "{dtype}"
[[layer]]
weight = [[{w}]]
bias = [0.0]
activation = "Sigmoid"
"""


@pytest.mark.parametrize(
    ("x", "w", "dtype"),
    [
        ("1e200", "1e200", "float64"),
        ("100", "-300", "float64"),
        ("0.0", "0.0", "float64"),
        ("0.5", "0.3", "bfloat16"),
        ("9", "9", "float16"),
    ],
)
def test_networks_at_the_edge_of_what_can_be_computed_have_a_page(tmp_path, x, w, dtype):
    (tmp_path / "net.toml").write_text(EDGE.format(x=x, w=w, dtype=dtype))
    page = lesson(read_network(tmp_path / "net.toml")).to_html()
    assert 'data-symbol="delta[1]"' in page
    assert (">overflows<" in page) == (w == "-300")


def test_kinds_of_networks_the_notes_do_not_have():
    cross = lesson(draw([Tanh(), Sigmoid()], HalfSquaredError(), (3, 4, 2), 2))
    assert set(next(iter(cross.forms.values()))) == {"Version 1", "joined", "general chain"}
    without = lesson(draw([ReLU(), Sigmoid()], HalfSquaredError(), (3, 4, 2), 2, bias=False))
    assert without.forms == {}
    assert len(without.differences.curves) == 2
    without.to_html()


def test_the_shorthand_is_really_tried(notes):
    rows = {row[0][1].title: dict(row) for row in notes.cares}
    assert len(rows) == 7
    transpose = rows["The transpose on a"]
    assert transpose["1 sample"].literal.error.startswith("ValueError: matmul")
    assert transpose["3 samples"].outcome == "No error, the right shape, and wrong numbers."
    assert rows["The sum over the batch"]["1 sample"].outcome == "No error, and the shape is (3, 1) where (3,) is right."
    assert not any(care.same for row in rows.values() for care in row.values())
    np.testing.assert_array_equal(transpose["1 sample"].right.result, notes.bench.honest["dC/dW[2]"])
    jacobian = rows["The dimension of ∂z/∂W"]["1 sample"]
    np.testing.assert_allclose(jacobian.right.result, notes.bench.honest["dC/dW[2]"], rtol=1e-14)


def test_where_the_shorthand_happens_to_be_right_it_says_so():
    square = lesson(draw([Sigmoid(), Sigmoid()], HalfSquaredError(), (1, 1, 1), 1))
    outcomes = {row[0][1].title: row[0][1].outcome for row in square.cares}
    assert outcomes["The transpose on W"] == "Here both are the same."


def test_every_mistake_is_broken_where_it_is_planted(notes):
    choices = notes.breaking.choices
    assert len(choices) >= 20
    assert not [cell for cell in notes.breaking.right.values() if cell.verdict != "agree"]
    named, places = 0, 0
    for choice in choices:
        for broken in choice.places:
            own = set(notes.breaking.names) - {broken.name}
            guilty = {symbol for name, symbols in notes.breaking.layers if name in own for symbol in symbols}
            innocent = [broken.picture["layerwise", symbol].verdict for symbol in guilty]
            assert set(innocent) == {"agree"}, choice.mistake.name
            assert broken.failing[0] > 0
            assert (broken.failing[1] == 0) == isinstance(choice.mistake, AssemblyMistake)
            places += 1
            named += f"'{choice.mistake.name}'" in broken.said
    assert named >= 0.95 * places


def test_finite_differences_end_where_the_page_says(notes):
    forward, central, complex_step = notes.differences.curves
    assert 1e-10 < forward.best[1] < 1e-7
    assert 1e-13 < central.best[1] < 1e-10
    assert max(complex_step.errors[-20:]) < 1e-15
    assert forward.errors[0] > 100 * forward.best[1] < forward.errors[-1]
    assert notes.differences.name == "dC/dw47"
    assert notes.differences.truth == pytest.approx(notes333.backpropagate()["w47"], rel=1e-14)
    assert notes.differences.error(notes.differences.by_hand) < 1e-15
    assert notes.differences.allowed < PLANTED
    assert notes.differences.seen == (True, False)


def test_no_number_is_typed_into_the_template():
    text = (files("oracle.report") / "templates" / "teach.html.j2").read_text()
    prose = re.sub(r"<(style|script|svg).*?</\1>|\{%.*?%\}|\{\{.*?\}\}|<[^>]*>", " ", text, flags=re.DOTALL)
    assert not re.findall(r"\d+\.\d+|\d+e.?\d|\d{2,}", prose)


@pytest.mark.parametrize(
    "name", ["</style></script><script>alert(1)</script> & \" ' {{ 7*7 }} עברית \u202e \x00 🦊", "x" * 1_000_000, ""]
)
def test_no_name_harms_the_page(name):
    page = lesson(replace(notes_case(), name=name)).to_html()
    assert len(page) < 500_000
    assert page.count("<script") == 2
    assert page.count("</style>") == 2
    assert "49" not in re.findall(r"Network: (.{0,40})", page)[0]


def test_a_formula_that_cannot_be_read_is_shown_as_it_is():
    assert mathml.formula("P(path | <b>)") == "<math><mtext>P(path | &lt;b&gt;)</mtext></math>"
    assert "<mfrac>" in mathml.formula("dC/dW[l] = delta[l] a[l-1]^T")
    deep = mathml.formula("(" * 5000 + ")" * 5000)
    assert deep.startswith("<math>")


TOML = """
name = "mine"
loss = "HalfSquaredError"
x = [0.5, -1]
target = [[1.0]]
[[layer]]
weight = [[0.2, -0.5], [0.7, 0.3], [1, 2]]
bias = [0.1, -0.2, 0]
activation = "Tanh"
[[layer]]
weight = [[1, 2, 3]]
activation = "Sigmoid"
"""


def test_a_network_from_a_file(tmp_path):
    (tmp_path / "net.toml").write_text(TOML)
    case = read_network(tmp_path / "net.toml")
    assert (case.name, case.network.depth, case.x.shape) == ("mine", 2, (2, 1))
    assert shown(lesson(case).to_html(), "auto")["a[2]"] == np.ravel(torch_run(case)["a[2]"]).tolist()
    labels = (
        TOML.replace("HalfSquaredError", "CrossEntropyLoss")
        .replace("[[1.0]]", "[1]")
        .replace("[[1, 2, 3]]", "[[1, 2, 3], [4, 5, 6]]")
        .replace("Sigmoid", "Identity")
    )
    (tmp_path / "net.toml").write_text(labels)
    assert read_network(tmp_path / "net.toml").target.tolist() == [1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', "name = 3", "name takes a name in quotes; got 3"),
        ('"Tanh"', '"Tanch"', "Did you mean Tanh?"),
        ("[0.1, -0.2, 0]", "[0.1, -0.2]", "takes a bias of shape (3,); got (2,)"),
        ("[[1, 2, 3]]", "[[1, 2]]", "Linear"),
        ("[[1, 2, 3]]", "[[1, 2], [3]]", "layer 2: weight takes a list of numbers, or a list of rows"),
        ("[[1, 2, 3]]", "[[nan, 2, 3]]", "layer 2: weight takes a list of numbers"),
        ("[[1, 2, 3]]", '"much"', "layer 2: weight takes"),
        ("x = [0.5, -1]", "", "x takes a list of numbers, or a list of rows of the same length; got nothing"),
        ("x =", "xs =", "a network file takes name, dtype, loss, x, target, layer; got 'xs'"),
        ("target = [[1.0]]", "target = [[1.0, 2.0]]", "target"),
        ('loss = "HalfSquaredError"', "", "loss takes a name in quotes"),
        ("[[layer]]", "[[ layer", "this is not TOML"),
        ("[[layer]]", "[[lager]]", "got 'lager'"),
        ('"Tanh"', '"PReLU"', "activations without parameters"),
    ],
)
def test_what_a_file_gets_wrong_is_told(tmp_path, old, new, message):
    assert old in TOML
    (tmp_path / "net.toml").write_text(TOML.replace(old, new))
    with pytest.raises(SpecError, match=re.escape(message)):
        read_network(tmp_path / "net.toml")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 2_000_000, b"x = " + b"[" * 50_000], ids=["bytes", "large", "deep"])
def test_a_hostile_file_is_refused(tmp_path, content):
    (tmp_path / "net.toml").write_bytes(content)
    with pytest.raises(SpecError):
        read_network(tmp_path / "net.toml")


def test_the_command_writes_the_page(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, ["explain", *map(str, arguments)])

    written = call("--html")
    assert (written.exit_code, "reports/latest-teach/teach.html" in written.stdout) == (0, True)
    assert (tmp_path / "reports/latest-teach/teach.html").read_text() == page, "the same lesson is the same page"
    (tmp_path / "net.toml").write_text(TOML)
    assert call("--network", "net.toml", "--html", "--out", "mine", "--alpha", "0.1").exit_code == 0
    assert "net.toml" in (tmp_path / "mine/teach.html").read_text()
    assert '"case": "mine"' in call("--network", "net.toml", "--json").stdout
    both = call("--network", "net.toml", "--case", CASES[0])
    assert (both.exit_code, "leave one of them away" in both.stderr) == (2, True)
    missing = call("--network", "none.toml")
    assert (missing.exit_code, "none.toml" in missing.stderr) == (2, True)
    assert call("--html", "--out", "/dev/null/x").exit_code == 2
