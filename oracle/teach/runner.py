"""Runs a student's file apart from everything else: `python runner.py FILE FOLDER`. NumPy is all it needs.

FOLDER/calls.json says which functions to call with which arrays; what each returned is left as an array, and a line in
FOLDER/log.jsonl says how it went, so that what was done before a crash or an endless loop is known.
"""

import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np


def main(file: str, folder: Path) -> None:
    """Run the file, then make every call."""
    log = folder / "log.jsonl"

    def note(**entry: Any) -> None:
        with log.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")

    note(call="file", state="began")
    sys.path.insert(0, str(Path(file).parent))
    try:
        names = runpy.run_path(file, run_name="exercise")
    except BaseException as error:  # whatever it is, the student is to be told
        note(call="file", state="raised", message=told(error, file))
        return
    note(call="file", state="returned")
    for number, call in enumerate(json.loads((folder / "calls.json").read_text(encoding="utf-8"))):
        note(call=number, state="began")
        note(call=number, **attempt(names, call, file, folder, number))
    note(call="end", state="returned")


def attempt(names: dict[str, Any], call: dict[str, Any], file: str, folder: Path, number: int) -> dict[str, str]:
    """One call and what came of it."""
    function = names.get(call["function"])
    if not callable(function):
        return {"state": "raised", "message": f"there is no function {call['function']} any more."}
    given = [load(folder, argument) for argument in call["arguments"]]
    kept = [load(folder, argument) for argument in call["arguments"]]
    try:
        result = function(*given)
    except BaseException as error:  # ditto
        shapes = ", ".join(str(array.shape) for array in kept if isinstance(array, np.ndarray))
        return {"state": "raised", "message": f"{told(error, file)}; it was given the shapes {shapes}"}
    if not same(given, kept):
        return {"state": "raised", "message": "it changes what it was given: work on a copy, or return a new array."}
    try:
        return keep(result, call["returns"], folder / f"result-{number}")
    except ValueError as error:
        return {"state": "raised", "message": str(error)}


def load(folder: Path, argument: Any) -> Any:
    """An array, or a dictionary of arrays by layer, read anew."""
    if isinstance(argument, dict):
        return {int(layer): load(folder, name) for layer, name in argument.items()}
    return np.load(folder / f"{argument}.npy", allow_pickle=False)


def same(given: list[Any], kept: list[Any]) -> bool:
    """Whether the arguments are as they were."""
    for found, before in zip(given, kept, strict=True):
        if isinstance(before, dict):
            if found.keys() != before.keys() or not same([found[key] for key in before], list(before.values())):
                return False
        elif not np.array_equal(found, before, equal_nan=True):
            return False
    return True


def keep(result: Any, returns: str, place: Path) -> dict[str, str]:
    """Save what was returned; dictionaries one array for each layer."""
    if result is None:
        return {"state": "open"}
    if returns == "array":
        np.save(place.with_suffix(".npy"), numbers(result, "what it returns"))
        return {"state": "returned"}
    pair = isinstance(result, tuple) and len(result) == 2 and all(isinstance(part, dict) for part in result)
    if not pair:
        raise ValueError(f"it returns {kind(result)}; two dictionaries are wanted, dC_dW and dC_db.")
    if not any(result):
        return {"state": "open"}
    for name, part in zip(("weight", "bias"), result, strict=True):
        for layer, array in part.items():
            if array is not None and isinstance(layer, int):
                np.save(f"{place}-{name}-{layer}.npy", numbers(array, f"dC/d{'W' if name == 'weight' else 'b'}[{layer}]"))
    return {"state": "returned"}


def numbers(result: Any, what: str) -> Any:
    """The result as an array of float64. Raises ValueError where it is none."""
    try:
        array = np.asarray(result)
    except ValueError:
        raise ValueError(f"{what} is a list whose rows have different lengths.") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} is {kind(result)}; an array of numbers is wanted.")
    return array.astype(np.float64)


def kind(result: Any) -> str:
    """What sort of thing was returned."""
    dtype = f" of dtype {result.dtype}" if isinstance(result, np.ndarray) else ""
    return f"a {type(result).__name__}{dtype}"


def told(error: BaseException, file: str) -> str:
    """The error in one line, with the line of the student's file."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f"line {frames[-1].lineno}: " if frames else ""
    said = str(error).splitlines()
    return f"{where}{type(error).__name__}{': ' + said[0][:300] if said else ''}"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
