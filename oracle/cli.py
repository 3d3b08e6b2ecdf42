"""The command line. torch and pandas are imported by the commands that compute, not by --help."""

from typing import Annotated

import typer

from oracle.commands import accuracy, calibrate, check, compare, exercise, explain, index, mutants, run, vectors

app = typer.Typer(
    help="Is a hand-written gradient right? The oracle holds it against torch.autograd, layer by layer.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"oracle {installed('manualbp-oracle')}")
        raise typer.Exit


for command in (
    run.run,
    accuracy.accuracy,
    calibrate.calibrate,
    mutants.mutants,
    check.check,
    explain.explain,
    exercise.exercise,
    compare.compare,
    index.index,
):
    app.command()(command)
app.add_typer(vectors.app, name="vectors")
