"""The exercise: a small file with the backward pass left open, and a run of it apart from everything else."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from manualbp import Trace
from oracle.case import Case, Spec
from oracle.files import OutputError
from oracle.inputs import build

#: The network of the exercise. Two layers have the same form, so that a forgotten transpose is a wrong number there, and
#: elsewhere a wrong shape.
NETWORK = "3-4-4-2x5/float64/Sigmoid/Sigmoid/HalfSquaredError"
NAME = Path("exercise.py")

#: Of what a student's file prints so much is kept.
PRINTED = 2000


def write_exercise(path: Path = NAME) -> Path:
    """Write the open file. Raises OutputError where there is a file already, or none can be written."""
    text = (files("oracle.report") / "templates" / "exercise.py.txt").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text.format(name=path.name if re.fullmatch(r"[\w.-]+", path.name) else "FILE"))
    except FileExistsError:
        raise OutputError(f"{path} is there already and stays as it is. Choose another name, or check it with --check.") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


class Call(NamedTuple):
    """One call of a student's function: its arguments by name, and the place of a trace that the result belongs to.

    `position` is the layer of the chain whose backward step it is; `name` the parameter whose gradient it returns, or empty.
    """

    function: str
    layer: int
    arguments: tuple[Any, ...]
    position: int = -1
    name: str = ""
    returns: str = "array"


class Answer(NamedTuple):
    """What came of a call: "open", "returned" or "raised"; `result` is an array, or arrays by parameter and layer."""

    state: str
    message: str = ""
    result: Any = None


@dataclass(frozen=True)
class Answers:
    """What a file did: by number an answer for each call that was reached, what it printed, and why it ended early."""

    found: dict[int, Answer]
    printed: str = ""
    stopped: str = ""


@cache
def exercise_case() -> Case:
    """The network with its numbers."""
    return replace(build(Spec.parse(NETWORK)), grad_loss=1.0)


def calls(trace: Trace) -> list[Call]:
    """Every call that is made of a file, the way back; `trace` is autograd's, whose numbers the functions are given."""
    L = trace.network.depth
    made = [Call("from_the_cost", L, (f"a{L}", "y"), 2 * L)]
    for l in range(L, 0, -1):
        made += [
            Call("through_activation", l, (f"da{l}", f"z{l}"), 2 * l - 1),
            Call("weight_gradient", l, (f"delta{l}", f"a{l - 1}"), 2 * l - 2, "weight"),
            Call("bias_gradient", l, (f"delta{l}",), 2 * l - 2, "bias"),
            Call("through_weights", l, (f"W{l}", f"delta{l}"), 2 * l - 2),
        ]
    W, b = ({l: f"{letter}{l}" for l in range(1, L + 1)} for letter in "Wb")
    return [*made, Call("backpropagate", 0, (W, b, "a0", "y"), returns="dictionaries")]


def _arrays(case: Case, trace: Trace) -> dict[str, Any]:
    """Everything the calls are given, by name."""
    given = {"y": case.target, "a0": case.x}
    for l in range(1, trace.network.depth + 1):
        own = case.params[2 * l - 2]
        given |= {f"W{l}": own["weight"], f"b{l}": own["bias"]}
        given |= {f"z{l}": trace.values[2 * l - 1], f"a{l}": trace.values[2 * l]}
        given |= {f"delta{l}": trace.gradients[2 * l - 1], f"da{l}": trace.gradients[2 * l]}
    return given


def run_file(path: Path, trace: Trace, timeout: float) -> Answers:
    """Run a file in a process of its own and make the calls. Raises OutputError where there is no file."""
    if not path.is_file():
        raise OutputError(f"{path}: no such file. `oracle exercise {path}` writes it.")
    made = calls(trace)
    with tempfile.TemporaryDirectory(prefix="exercise-") as name:
        folder = Path(name)
        for key, array in _arrays(exercise_case(), trace).items():
            np.save(folder / f"{key}.npy", array)
        listed = [{"function": call.function, "arguments": call.arguments, "returns": call.returns} for call in made]
        (folder / "calls.json").write_text(json.dumps(listed), encoding="utf-8")
        runner = Path(__file__).with_name("runner.py")
        ended, printed = _process([sys.executable, "-P", str(runner), str(path.resolve()), name], timeout)
        return _read(folder, made, printed, ended)


def _process(command: list[str], timeout: float) -> tuple[str, str]:
    """Run a command in a group of its own, ended when it takes too long: how it ended, and the start of what it printed."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"},
    )
    kept = bytearray()

    def read() -> None:
        assert process.stdout
        with process.stdout as pipe:
            while chunk := pipe.read1(65536):  # type: ignore[attr-defined]
                kept.extend(chunk[: max(0, 4 * PRINTED - len(kept))])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        status = process.wait(timeout)
        ended = "" if status == 0 else f"it ended Python itself, with exit status {status}"
    except subprocess.TimeoutExpired:
        ended = f"it was still running after {timeout:g} s: is there a loop that never ends?"
    finally:
        _end(process)
    reader.join(1)
    return ended, kept.decode("utf-8", "replace")[:PRINTED]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process, and what it may have started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


def _read(folder: Path, made: list[Call], printed: str, ended: str) -> Answers:
    log = folder / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    found: dict[int, Answer] = {}
    for entry in entries:
        number = entry["call"]
        if isinstance(number, int) and entry["state"] != "began":
            result = _result(made[number], folder / f"result-{number}") if entry["state"] == "returned" else None
            found[number] = Answer(entry["state"], entry.get("message", ""), result)
    last, ended = entries[-1] if entries else {}, ended or "it ended Python itself"
    ended += "." * (ended[-1] not in ".?")
    if last.get("state") == "began" and isinstance(last["call"], int):
        found[last["call"]] = Answer("raised", ended)
    return Answers(found, printed, _stopped(made, last, ended))


def _stopped(made: list[Call], last: dict[str, Any], ended: str) -> str:
    """Why the last entry of the log is not the end."""
    if last.get("call") == "end":
        return ""
    if not isinstance(last.get("call"), int):
        return f"{last['message']}" if last.get("state") == "raised" else f"while your file was read, {ended}"
    call = made[last["call"]]
    return f"in {call.function}{f', layer {call.layer}' if call.layer else ''}, {ended}"


def _result(call: Call, place: Path) -> Any:
    if call.returns == "array":
        return np.load(place.with_suffix(".npy"), allow_pickle=False)
    return {
        (name, int(file.stem.rpartition("-")[2])): np.load(file, allow_pickle=False)
        for name in ("weight", "bias")
        for file in sorted(place.parent.glob(f"{place.name}-{name}-*.npy"))
        if file.stem.rpartition("-")[2].isdigit()
    }
