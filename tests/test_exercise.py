"""The exercise: written open, never over something, and told step by step what is right, open, wrong, and what it looks like."""

import json
import time

import pytest
from typer.testing import CliRunner

from oracle.cli import app
from oracle.files import OutputError
from oracle.teach import check_exercise, write_exercise

LINES = {
    "from_the_cost": "return a - y",
    "through_activation": "return dC_da * g(z) * (1 - g(z))",
    "weight_gradient": "return delta @ a_left.T",
    "bias_gradient": "return delta.sum(axis=1)",
    "through_weights": "return W.T @ delta",
    "backpropagate": """dC_da = from_the_cost(a[len(W)], y)
    for l in range(len(W), 0, -1):
        delta = through_activation(dC_da, z[l])
        dC_dW[l], dC_db[l] = weight_gradient(delta, a[l - 1]), bias_gradient(delta)
        dC_da = through_weights(W[l], delta)""",
}


@pytest.fixture
def fill(tmp_path):
    """Fill in some functions of the open file."""
    written = write_exercise(tmp_path / "mine.py").read_text()

    def filled(**lines):
        head, *parts = written.split("\ndef ")
        for number, part in enumerate(parts):
            name = part.partition("(")[0]
            if name in lines:
                assert part.count("    ...\n") == 1
                parts[number] = part.replace("    ...\n", f"    {lines[name]}\n")
        (tmp_path / "mine.py").write_text("\ndef ".join([head, *parts]))
        return tmp_path / "mine.py"

    return filled


def first(count):
    return dict(list(LINES.items())[:count])


def test_solved_step_by_step(fill):
    for count, name in enumerate(LINES):
        progress = check_exercise(fill(**first(count)))
        assert progress.next == name
        assert [progress.state(each) for each in LINES] == ["right"] * count + ["open"] * (len(LINES) - count)
        assert not progress.ok
        assert progress.advice == {}
    progress = check_exercise(fill(**LINES))
    assert (progress.ok, progress.next, progress.stopped) == (True, "", "")


@pytest.mark.parametrize(
    ("name", "line", "named"),
    [
        ("through_activation", "return dC_da * g(g(z)) * (1 - g(g(z)))", "derivative at a for z"),
        ("bias_gradient", "return delta.mean(axis=1)", "db averaged"),
        ("through_weights", "return W @ delta", "W not transposed"),
        ("from_the_cost", "return y - a", "the loss's sign"),
        ("weight_gradient", "return a_left @ delta.T", "transposed"),
    ],
)
def test_a_wrong_turn_is_named(fill, name, line, named):
    progress = check_exercise(fill(**{**LINES, name: line}))
    assert progress.state(name) == "wrong"
    assert named in " ".join(progress.advice[name])
    assert [other for other in LINES if progress.state(other) == "wrong"] == [name, "backpropagate"]
    assert progress.next == name


def test_what_is_wrong_in_the_last_digits_or_no_number_is_wrong(fill):
    progress = check_exercise(
        fill(**{**LINES, "from_the_cost": "return (a - y).astype('f4')", "bias_gradient": "return delta[:, 0] * np.nan"})
    )
    said = progress.functions["from_the_cost"][0].said
    gives, right = said.removeprefix("at ").partition("it gives ")[2].removesuffix(" is right.").split("; ")
    assert gives != right
    assert float(gives) == pytest.approx(float(right), rel=1e-6)
    assert progress.state("bias_gradient") == "wrong"


def test_shapes_and_errors_are_told_layer_by_layer(fill):
    progress = check_exercise(fill(**{**first(2), "weight_gradient": "return delta @ a_left"}))
    said = [outcome.said for outcome in progress.functions["weight_gradient"]]
    assert all("ValueError: matmul" in text and "line" in text for text in said)
    progress = check_exercise(fill(**{**first(3), "bias_gradient": "return delta"}))
    assert progress.functions["bias_gradient"][0].said == "it returns the shape (2, 5); (2,) is wanted."


def test_right_parts_put_together_wrongly(fill):
    early = LINES["backpropagate"].replace("range(len(W), 0, -1)", "range(len(W), 1, -1)")
    progress = check_exercise(fill(**{**LINES, "backpropagate": early}))
    assert progress.functions["backpropagate"][0].said == "missing: dC/dW[1], dC/db[1]."
    before = LINES["backpropagate"].replace("through_weights(W[l], delta)", "W[l].T @ (delta + 0 * delta) * 2")
    progress = check_exercise(fill(**{**LINES, "backpropagate": before}))
    assert progress.state("through_weights") == "right"
    assert "not right: dC/dW[2], dC/db[2], dC/dW[1], dC/db[1]." in progress.functions["backpropagate"][0].said
    assert progress.advice["backpropagate"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return 'delta'", "what it returns is a str; an array of numbers is wanted."),
        ("return [[1, 2], [3]]", "a list whose rows have different lengths"),
        ("dC_da *= g(z); return dC_da", "it changes what it was given"),
        ("return input()", "EOFError"),
        ("return (dC_da * g(z))[:, :, None]", "it returns the shape"),
        ("return dC_da * 1j", "dtype complex128"),
    ],
)
def test_whatever_a_function_does_is_told_and_the_others_are_judged(fill, line, told):
    progress = check_exercise(fill(**{**first(5), "through_activation": line}))
    assert all(told in outcome.said for outcome in progress.functions["through_activation"])
    assert progress.state("weight_gradient") == "right"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("while True: pass", "in through_activation, layer 3, it was still running after 1.5 s"),
        ("import os; os._exit(0)", "in through_activation, layer 3, it ended Python itself."),
        ("import os; os._exit(7)", "it ended Python itself, with exit status 7."),
    ],
)
def test_a_file_that_comes_to_no_end(fill, line, told):
    path, begin = fill(**{**first(5), "through_activation": line}), time.perf_counter()
    progress = check_exercise(path, timeout=1.5)
    assert told in progress.stopped
    assert progress.state("from_the_cost") == "right"
    assert progress.state("through_activation") == "wrong"
    assert progress.next == "through_activation"
    assert "?." not in progress.stopped
    assert not progress.ok
    assert time.perf_counter() - begin < 15


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:\n", "line 1: SyntaxError"),
        ("x = 1\nimport not_a_module\n", "line 2: ModuleNotFoundError: No module named 'not_a_module'"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("while True: pass", "while your file was read, it was still running"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, text, told):
    path = tmp_path / "broken.py"
    path.write_text(text)
    progress = check_exercise(path, timeout=1.5)
    assert told in progress.stopped
    assert not progress.ok


def test_what_is_printed_is_shown_in_part(fill):
    progress = check_exercise(fill(from_the_cost="print('here', a.shape); print('x' * 10**6); return a - y"))
    assert progress.printed.startswith("here (2, 5)")
    assert len(progress.printed) <= 2000
    assert progress.state("from_the_cost") == "right"


def test_an_empty_file_says_what_is_missing(tmp_path):
    (tmp_path / "empty.py").write_text("")
    progress = check_exercise(tmp_path / "empty.py")
    assert progress.functions["bias_gradient"][0].said == "there is no function bias_gradient any more."


def test_a_strange_name_does_no_harm(tmp_path):
    path = write_exercise(tmp_path / 'a """ {b}.py')
    assert "oracle exercise FILE --check" in path.read_text()
    assert check_exercise(path).next == "from_the_cost"


def test_the_file_is_never_written_over(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("my work")
    with pytest.raises(OutputError, match="is there already and stays as it is"):
        write_exercise(path)
    assert path.read_text() == "my work"


def test_the_commands(tmp_path, monkeypatch, fill):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, ["exercise", *map(str, arguments)])

    assert call().exit_code == 0
    assert "oracle exercise exercise.py --check" in (tmp_path / "exercise.py").read_text()
    assert call().exit_code == 2
    started = call("--check")
    assert (started.exit_code, "Next: from_the_cost" in started.stdout) == (1, True)
    wrong = call(fill(**{**LINES, "bias_gradient": "return delta.mean(axis=1)"}), "--check")
    assert wrong.exit_code == 1
    assert "It matches 'db averaged'" in wrong.stdout
    solved = call(fill(**LINES), "--check", "--json")
    assert (solved.exit_code, json.loads(solved.stdout)["ok"]) == (0, True)
    missing = call("nowhere.py", "--check")
    assert (missing.exit_code, "no such file" in missing.stderr) == (2, True)
    assert call("--check", "--timeout", "-1").exit_code == 2
