"""What a text on the command line names: something in a Python file or in a module, and where it is defined."""

import ast
import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from oracle.case import SpecError

FORMS = "file.py:name, package.module:name or package.module.name"


@dataclass(frozen=True)
class Target:
    """Something found by its name in a file or module, `place`; `file` is where that lies, if it is a file."""

    text: str
    place: str
    name: str
    file: str
    named: Any

    @property
    def value(self) -> Any:
        """What is to be called: the `apply` of an autograd.Function, an instance of a module class. Raises SpecError."""
        import torch

        if not inspect.isclass(self.named):
            return self.named
        if issubclass(self.named, torch.autograd.Function):
            return self.named.apply
        if not issubclass(self.named, torch.nn.Module):
            return self.named
        try:
            return self.named()
        except Exception as error:
            name = self.named.__name__
            raise SpecError(
                f"{self.text} is a class, and {name}() raises {_first(error)}. "
                f"Make one in a file, such as mine = {name}(...), and name that."
            ) from error

    @property
    def definition(self) -> tuple[str, int]:
        """The file and line where it is defined, or where its name is given to it."""
        held = self.place if self.place.endswith(".py") else self.file
        if line := _line(self.file, self.name.partition(".")[0]):
            return held, line
        try:  # it comes from another file
            named = inspect.unwrap(getattr(self.named, "__self__", self.named))
            return inspect.getsourcefile(named) or "", inspect.getsourcelines(named)[1]
        except (OSError, TypeError):
            return held, 0


def _line(file: str, name: str) -> int:
    """Where a file defines a name, or gives it to something; 0 where it does neither."""
    try:
        nodes = ast.walk(ast.parse(Path(file).read_text(encoding="utf-8")))  # the outermost first
    except (OSError, ValueError, SyntaxError):
        return 0
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node.lineno
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return node.lineno
    return 0


def find(text: str, beside: Target | None = None) -> Target:
    """What the text names; a name alone stands beside another target. Modules are found as `python -m` finds them.

    Raises SpecError, also where the file itself fails.
    """
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    place, colon, name = text.rpartition(":")
    if not colon and text.isidentifier() and beside is not None:
        place, name = beside.place, text
    elif not colon:
        place, name = _split(text)
    if not place or not name:
        raise SpecError(f"a target is {FORMS}; got {text!r}.")
    module = _file(place) if place.endswith(".py") else _module(place)
    return Target(text, place, name, getattr(module, "__file__", None) or "", _member(module, name, place))


def _split(text: str) -> tuple[str, str]:
    """package.module.name as the longest module of it, and the rest."""
    if text.endswith(".py") or "/" in text:
        module = _file(text)
        raise SpecError(f"a target in a file is {text}:name; got no name. It has {_listed(_names(module))}.")
    parts = text.split(".")
    for count in range(len(parts) - 1, 0, -1):
        place = ".".join(parts[:count])
        if _is_module(place):
            return place, ".".join(parts[count:])
    raise SpecError(f"a target is {FORMS}; got {text!r}, and there is no module {parts[0]!r}.")


def _is_module(place: str) -> bool:
    """Whether there is such a module, which imports what it lies in. Raises SpecError where that fails."""
    try:
        return importlib.util.find_spec(place) is not None
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}.")
        if absent or isinstance(error, TypeError | ValueError):  # not the name of a module
            return False
        raise SpecError(f"importing {place} raises {_first(error)}") from error


def _member(module: ModuleType, name: str, place: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [each for each in dir(found) if not each.startswith("_") and not inspect.ismodule(getattr(found, each, None))]
            near = difflib.get_close_matches(part, known, 3, 0.6)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"It has {_listed(_names(found))}."
            raise SpecError(f"there is no {name!r} in {place}. {hint}")
        found = getattr(found, part)
    return found


def _names(holder: Any) -> list[str]:
    """What can be called there, by name; in a file its own definitions first."""
    held = getattr(holder, "__dict__", {}).items()
    names = [name for name, value in held if not name.startswith("_") and callable(value)]
    own = [name for name in names if getattr(getattr(holder, name), "__module__", "") == getattr(holder, "__name__", None)]
    return own or names


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + " ..." * (len(names) > most) if names else "nothing that can be called"


def _module(place: str) -> ModuleType:
    if not _is_module(place):
        raise SpecError(f"a target is {FORMS}; there is no module {place!r}.")
    try:
        return importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise SpecError(f"importing {place} raises {_first(error)}") from error


def _file(place: str) -> ModuleType:
    """A file, run once, with what lies beside it to import."""
    path = Path(place).resolve()
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("__file__") == str(path):
            return module
    if not path.is_file() or path.suffix != ".py":
        near = difflib.get_close_matches(path.name, [file.name for file in path.parent.glob("*.py")], 3, 0.7)
        raise SpecError(f"there is no Python file {place}." + f" Did you mean {' or '.join(near)}?" * bool(near))
    name = path.stem if path.stem not in sys.modules else str(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise SpecError(f"{place} cannot be run: {_where(error, str(path))}{_first(error)}") from error
    return module


def _where(error: BaseException, path: str) -> str:
    """The last line of the file on the way to the error."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    lines = [step.lineno for step in traceback.extract_tb(error.__traceback__) if step.filename == path]
    return f"line {lines[-1]}: " if lines else ""


def _first(error: BaseException) -> str:
    told = error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
