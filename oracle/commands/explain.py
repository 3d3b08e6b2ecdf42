"""`oracle explain`: one network step by step, in the terminal, as JSON, or as a page to work through."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from oracle.shell import AGREE, FAILS, Json, Out, Seed, errors, refusing, stop

if TYPE_CHECKING:
    from oracle.explain import Explanation

PAGE_OUT = Path("reports/latest-teach")


def explain(
    out: Out = None,
    as_json: Json = False,
    seed: Seed = 0,
    case: Annotated[
        str | None,
        typer.Option(
            metavar="CASE", help="A case, for example 4-5-2x3/float64/Tanh/Identity/MSELoss. Left out: the notes' 3-3-3."
        ),
    ] = None,
    network: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A network with its numbers in a TOML file, instead of a case.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Learning rate of the update at the end.")] = 0.5,
    html: Annotated[bool, typer.Option("--html", help="Write the page to work through, into reports/latest-teach.")] = False,
) -> None:
    """Go through one network step by step: formula, by hand, autograd, discrepancy.

    With --html it is a page: the network drawn, forward and back under buttons, both versions of the notes with all numbers,
    where their shorthand needs care, mistakes to plant, finite differences.
    """
    from oracle.case import Spec
    from oracle.files import Batch, check_folder

    folder = out or (PAGE_OUT if html else None)
    if not (0 < alpha < float("inf")):
        stop(f"--alpha takes a learning rate above 0; got {alpha}.")
    if case is not None and network is not None:
        stop("--case and --network each name the network; leave one of them away.")
    with refusing():
        from oracle.teach.network_file import read_network

        given = read_network(network) if network is not None else None
        spec = Spec.parse(case) if case is not None else None
        if folder:
            check_folder(folder)
    from oracle import inputs
    from oracle.explain import nodes, notes_case
    from oracle.teach import lesson
    from oracle.terminal import show_explanation
    from oracle.verdict import all_agree

    chosen = given or (inputs.build(spec, seed) if spec else notes_case())
    taught = lesson(chosen, alpha, source=str(network or case or ""))
    explanation = taught.explanation
    node_lines = [] if given or spec else list(nodes())
    if as_json:
        typer.echo(json.dumps(_explained(explanation), indent=2))
    elif not html:
        show_explanation(Console(), explanation, node_lines)
    if html and folder:
        from oracle.teach.page import write

        with errors.status("writing the page"), refusing():
            page = write(taught, folder)
        (errors if as_json else Console()).print(f"The page: {page}", highlight=False, soft_wrap=True, markup=False)
    elif folder:
        recorder = Console(record=True, width=110, file=io.StringIO())
        show_explanation(recorder, explanation, node_lines)
        with refusing(), Batch(folder) as batch:
            batch.text("explain.txt", recorder.export_text())
            batch.text("explain.json", json.dumps(_explained(explanation), indent=2) + "\n")
    raise typer.Exit(AGREE if all_agree(step.row.verdict for step in explanation.steps) else FAILS)


def _plain(array: Any) -> Any:
    """An array or scalar as lists and numbers; None where a side does not give it."""
    return array.tolist() if hasattr(array, "tolist") else array


def _explained(explanation: "Explanation") -> dict[str, Any]:
    from oracle.report.model import readable

    document: dict[str, Any] = readable(
        {
            "case": explanation.case.name,
            "steps": [
                {
                    "part": step.part,
                    "symbol": step.symbol,
                    "formula": step.formula,
                    "by_hand": _plain(step.by_hand),
                    "autograd": _plain(step.autograd),
                    "max_abs": step.row.max_abs,
                    "verdict": step.row.verdict,
                }
                for step in explanation.steps
            ],
            "alpha": explanation.alpha,
            "loss_before": explanation.loss_before,
            "loss_after": explanation.loss_after,
        }
    )
    return document
