"""What the documents say is what is there."""

import doctest
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from oracle.case import SHAPES
from support import ACTIVATIONS, LOSSES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["manualbp", "manualbp.networks", "manualbp.textbook.notes333", "oracle"])
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_quick_start_is_two_commands_in_two_blocks():
    start = README.split("## Quick start")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", start, flags=re.DOTALL)
    assert [len(block.strip().splitlines()) for block in blocks] == [1, 1]
    assert all("-c constraints.txt" in block for block in blocks)
    assert "oracle run" in blocks[0]
    assert "pytest" in blocks[1]
    assert README.index("```") == README.index(f"```sh\n{blocks[0]}"), ".ci/run takes the second block of the file"


def test_python_in_the_readme_runs():
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})


PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_there_are_pages():
    assert {"check-network", "check-module"} <= {page.stem for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_pages_runs_and_prints_what_they_show(page, capsys):
    """All blocks of a page in one namespace, in their order; what "It prints" is there, between dots, whatever the numbers."""
    namespace = {}
    text = page.read_text()
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, page.name, "exec"), namespace)
    printed = plain(capsys.readouterr().out)
    for shown in re.findall(r"It prints\n\n((?:    .*\n)+)", text):
        for part in shown.split(" ...\n"):
            assert plain(part) in printed, printed
            assert plain(f"{part} and no more") not in printed


def commands(page, folder):
    """Each command of a page that shows one on a file of its own, which is written, and the lines that it is to print."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page.read_text(), flags=re.DOTALL)
    for name, text in blocks:
        (folder / name).write_text(f"# {name}\n{text}")
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.DOTALL):
        command, *lines = block.splitlines()
        if any(name in command for name, _ in blocks):
            yield shlex.split(command.removeprefix("$ ")), [line for line in lines if line != "..." and line.strip()]


def plain(text):
    """Without line breaks and numbers."""
    return re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "N", " ".join(text.split()))


def missing(lines, output):
    """The first line that is not there behind the one before, whatever the numbers."""
    rest = iter([plain(line) for line in output.splitlines()])
    return next((line for line in lines if plain(line) not in rest), "")


@pytest.mark.parametrize("name", ["check", "pytest"])
def test_commands_in_the_pages_print_what_is_there(name, tmp_path):
    found = list(commands(ROOT / "docs" / f"{name}.md", tmp_path))
    assert found
    for (program, *arguments), lines in found:
        done = subprocess.run([sys.executable, "-m", program, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert missing(lines, done.stdout) == "", done.stdout
        assert missing([*lines, "and no such line"], done.stdout) == "and no such line"


def test_files_the_documents_point_to_exist():
    for document in (*ROOT.glob("*.md"), *PAGES):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"


def test_readme_counts_what_is_there():
    sentence = re.search(r"(\d+) activations and options, (\d+) losses and reductions, (\d+) shapes", README)
    assert sentence, "README states what the sweep covers"
    assert tuple(map(int, sentence.groups())) == (len(ACTIVATIONS), len(LOSSES), len(SHAPES))


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *PAGES, *ROOT.glob("reports/**/*.md")], ids=lambda path: path.name)
def test_documents_name_no_machine(document):
    assert not re.search(r"((?<![\w.])/(home|root|tmp|mnt|opt|Users)/|https?://(?!arxiv))", document.read_text())
