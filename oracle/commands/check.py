"""`oracle check`: somebody else's gradient, found by its name."""

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console

from oracle.shell import Json, Out, Seed, command_line, errors, finish, interruptible, refusing, write


def check(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="What is checked: file.py:name, package.module:name or package.module.name.")
    ],
    reference: Annotated[
        str,
        typer.Option(metavar="NAME", help="What it should compute, written likewise; a name alone is one in TARGET's file."),
    ],
    shapes: Annotated[
        str | None,
        typer.Option(metavar="SHAPES", help="Inputs: 4x7,3x7 or '4x7 positive,4 labels 7'; equal sizes are one axis."),
    ] = None,
    backward: Annotated[
        str | None, typer.Option(metavar="NAME", help="TARGET is the forward of a NumPy pair, and this its backward.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(metavar="NAME", help="float64, float32, float16 or bfloat16.")] = None,
    regimes: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="What is drawn: some of generic, kinks, extremes, constant, shapes, with commas."),
    ] = None,
    domain: Annotated[str | None, typer.Option(metavar="NAME", help="Inputs are real, positive, negative or unit.")] = None,
    upstreams: Annotated[int | None, typer.Option(metavar="N", help="How many random upstream gradients.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="So long one call of TARGET, or reading its file, may last.")
    ] = None,
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Hold a gradient against torch.autograd: an autograd.Function, a function, a module, a NumPy pair, or a whole network.

    A module is looked at submodule by submodule where the reference has submodules. Where the reference is a manualbp.Network,
    TARGET is a function of params, x and y that returns the gradients. What TARGET prints is told in the report; what its file
    prints goes to standard error. Files are written with --out alone.

    The exit status is 0 when all agrees, 1 when something does not, 2 when the call was wrong.
    """
    from oracle.files import check_folder

    given: dict[str, Any] = {"seed": seed, "dtype": dtype, "domain": domain, "upstreams": upstreams, "timeout": timeout}
    given["regimes"] = None if regimes is None else regimes.split(",")
    options = {name: value for name, value in given.items() if value is not None}
    inputs = [] if shapes is None else shapes.split(",")
    with interruptible(), _aside(), refusing():
        if out:
            check_folder(out)
        from oracle.commands.checked import checked

        command = command_line()
        with errors.status("checking"):
            report = checked(target, reference, backward or "", inputs, options, command)
        write(report, out)

    def show(console: Console) -> None:
        from oracle.terminal import show_report

        show_report(console, report)

    finish(report, show, out and out / "report.html", report.annotations, as_json=as_json)


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """What somebody else's code prints inside or later, in Python or in C, goes to standard error."""
    ours = sys.__stdout__
    in_charge = ours is not None and sys.stdout is ours
    if ours is not None and in_charge:
        ours.flush()
        sys.stdout = os.fdopen(os.dup(ours.fileno()), "w", encoding=ours.encoding, errors=ours.errors)
        os.dup2(sys.stderr.fileno(), ours.fileno())
    with contextlib.redirect_stdout(sys.stderr):
        yield
    if in_charge:
        atexit.register(setattr, sys, "stdout", sys.stderr)  # before what was registered inside
