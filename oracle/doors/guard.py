"""Runs somebody else's code: within its time, with what it prints kept, and with torch's global state as it was."""

import contextlib
import ctypes
import importlib
import io
import math
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from oracle.doors.errors import FormError

#: Where code lies that is no candidate's.
NOT_THEIRS = tuple(str(Path(where).parent) + os.sep for where in (str(Path(__file__).parent), np.__file__, torch.__file__))
#: What torch imports at the first way back: not there, where it may be interrupted half-way.
LATE = "torch.fx.experimental.symbolic_shapes"
#: So much of what a candidate prints is shown.
SHOWN = 300


class TooLongError(BaseException):
    """The time is up; not an Exception, so that the candidate does not catch it."""


class Outcome(NamedTuple):
    """What came of a call: its value, or why there is none; what it printed; what it changed that is not its own; whether it was
    interrupted.
    """

    value: Any = None
    error: str = ""
    printed: str = ""
    changed: tuple[str, ...] = ()
    late: bool = False

    @property
    def notes(self) -> str:
        """All of it in words; empty where there is nothing to say."""
        said = [self.error] * bool(self.error)
        said += [f"it leaves torch's {name} changed; put it back" for name in self.changed]
        said += [self.told] * bool(self.told)
        return "; ".join(said)

    @property
    def told(self) -> str:
        """What it printed, in one line, clipped; empty where it printed nothing."""
        text = " ".join(self.printed.split())
        return f"it printed: {text[:SHOWN]}{' ...' if len(text) > SHOWN else ''}" if text else ""


#: Settings that are everyone's: how each is read, and how it is put back.
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "random seed": (torch.initial_seed, torch.manual_seed),
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
}


def guarded(function: Callable[..., Any], *arguments: Any, timeout: float = 60.0) -> Outcome:
    """Call a function; whatever it raises, prints or changes is told in the outcome, and nothing of it comes through.

    A call that takes longer than `timeout` seconds is interrupted between two steps of Python.
    """
    importlib.import_module(LATE)
    before = {name: read() for name, (read, _) in SETTINGS.items()}
    said, value, error, late = io.StringIO(), None, "", False
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
            limited(timeout),
        ):
            warnings.simplefilter("ignore")
            value = function(*arguments)
    except TooLongError:
        late = True
        error = f"the candidate did not end within {timeout:g} second{'s' * (timeout != 1)} (timeout=)"
    except KeyboardInterrupt:
        raise
    except FormError as refused:
        error = str(refused)
    except BaseException as raised:  # SystemExit, GeneratorExit, what an event loop ends its tasks with
        error = f"the candidate raised {_told(raised)}"
    changed = []
    for name, (read, put) in SETTINGS.items():
        if read() != before[name]:
            changed.append(name)
            put(before[name])
    return Outcome(value, error, said.getvalue(), tuple(changed), late)


def _told(raised: BaseException) -> str:
    """The error, and the last line of the candidate's own code on its way."""
    steps = [step for step in traceback.extract_tb(raised.__traceback__) if not step.filename.startswith(NOT_THEIRS)]
    where = f" (line {steps[-1].lineno}: {steps[-1].line})" if steps and steps[-1].line else ""
    try:
        said = str(raised).partition("\n")[0].strip().removesuffix(".")
    except Exception:
        said = "its text raises another"
    return f"{type(raised).__name__}{f': {said}' * bool(said)}{where}"


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrupts what runs inside when the time is up: by a signal in the main thread, which also ends a sleep.

    Infinitely many seconds are no limit.
    """
    if math.isinf(seconds):
        yield
        return
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):

        def stop(*_: Any) -> None:
            raise TooLongError

        earlier = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, earlier)
        return
    here = ctypes.c_ulong(threading.get_ident())
    raised = ctypes.py_object(TooLongError)
    timer = threading.Timer(seconds, ctypes.pythonapi.PyThreadState_SetAsyncExc, (here, raised))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
