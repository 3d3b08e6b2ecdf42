"""Many tasks on all cores: the order of the results, and what becomes of the processes when nobody takes these any more."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os, sys, time
from pathlib import Path
from oracle.workers import workers

def busy(folder, number):
    Path(folder, f"{number}.txt").write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    with workers(2) as run:
        run(busy, [(sys.argv[1], number) for number in range(4)], print)
"""


def alive(pid):
    """Whether a process runs: one that has ended, and that nobody has asked, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at the processes in /proc")
def test_the_processes_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", tmp_path], cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL
    )
    try:
        started = until(lambda: len(list(tmp_path.glob("?.txt"))) == 2, 60)
    finally:
        parent.kill()
        parent.wait()
    assert started
    pids = [int(file.read_text()) for file in tmp_path.glob("?.txt")]
    assert until(lambda: not any(map(alive, pids)), 10)
