"""The notebook runs from top to bottom, and the committed page is that of the notes' network."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from oracle.explain import notes_case
from oracle.torch_run import torch_run
from test_teach import shown

ROOT = Path(__file__).parents[1]
BOOK = json.loads((ROOT / "docs" / "teach.ipynb").read_text())


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the cells leave behind, run in one namespace, and the value of each cell's last line."""
    found, last = {}, []
    for cell in BOOK["cells"]:
        if cell["cell_type"] == "code":
            *body, end = ast.parse("".join(cell["source"])).body
            ends = isinstance(end, ast.Expr)
            exec(compile(ast.Module(body if ends else [*body, end], []), "teach.ipynb", "exec"), found)
            last.append(eval(compile(ast.Expression(end.value), "teach.ipynb", "eval"), found) if ends else None)
    return {**found, "last": last}


def test_the_notebook_runs_and_shows_what_it_says(names, capsys):
    assert names["last"][0][0] == names["last"][0][1]
    assert len(names["broken"]) >= 20
    assert list(names["failing"]["symbol"]) == ["dC/dW[2]"]
    assert list(names["failing"]["worst_index"]) == ["(0, 0)"]
    assert names["progress"].next == "from_the_cost"
    assert names["last"][-1] is names["taught"]
    assert names["last"][-1]._repr_html_().startswith("<iframe")
    assert "&lt;section" in names["last"][-1]._repr_html_()


def test_the_notebook_is_committed_without_results():
    assert BOOK["nbformat"] == 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in BOOK["cells"] if cell["cell_type"] == "code")


def test_the_committed_page_is_that_of_the_notes():
    page = (ROOT / "reports" / "teach" / "teach.html").read_text()
    assert len(page.encode()) < 1_500_000
    found = shown(page, "auto")
    for quantity, array in torch_run(notes_case()).quantities().items():
        np.testing.assert_allclose(found[quantity.symbol], np.ravel(array), rtol=1e-12, atol=1e-16)
