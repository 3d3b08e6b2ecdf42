"""The door for the gradient of a whole network: `candidate(params, x, y)` against autograd, array by array."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from manualbp import Loss, Network
from oracle.diagnosis import Line
from oracle.diagnosis.advice import Advice
from oracle.discrepancy import Row
from oracle.doors import decay
from oracle.doors.drawing import setup
from oracle.doors.errors import DoorError
from oracle.doors.function import chosen
from oracle.doors.judged import Candidate, Judged
from oracle.doors.session import checked_numbers
from oracle.tables import table
from oracle.verdict import Verdict

if TYPE_CHECKING:
    import torch

    from oracle.report import Report


def check_network(
    candidate: Candidate,
    network: "Network | torch.nn.Module",
    *,
    params: Any = None,
    x: Any = None,
    y: Any = None,
    loss: "Loss | torch.nn.Module | None" = None,
    layout: str = "",
    transposed: bool = False,
    bias: str = "flat",
    l2: decay.L2 = 0.0,
    dtype: Any = None,
    degenerate: bool = True,
    seed: int = 0,
    timeout: float = 60.0,
    name: str = "network",
) -> "Report":
    """Check somebody else's backpropagation of a network: which layer is wrong, and which mistake it is.

    `candidate(params, x, y)` returns the gradients of all parameters: a dictionary by symbol (W1, dW1, dC/dW[1], 0.weight), a
    list with a dictionary or a pair for each layer, lists of weights and of biases, or one after the other; before them the loss,
    or in the dictionary any other quantity (dx, z1, a1, da1, delta1). What it does not give is not asked for, but for the
    gradients of parameters.

    network     a manualbp.Network; or a torch.nn.Sequential, whose own parameters are then `params`, with its `loss`
    params      in any of the forms above, which is also how the candidate gets them; drawn, they are a dictionary W1, b1, ...
    x, y        input and target, in the candidate's layout. What is not given is drawn from the seed
    layout      "columns", one sample per column, or "rows"; rows unless given where the network is torch's
    transposed  weights are (in, out), and their gradients
    bias        a bias is "flat", (n,), or a "column", (n, 1), or a "row", (1, n)
    l2          lambda, where the candidate's cost has the term lambda / 2 |W|^2 of every weight matrix; or a function of the
                batch size
    degenerate  where the numbers are drawn: also with one sample, and with one node in every hidden layer

    Raises DoorError (a ValueError) or TypeError, before any work, where the arguments do not fit each other.
    """
    from oracle.report import Report

    begin = time.perf_counter()
    if not callable(candidate):
        raise DoorError(f"check_network takes a function candidate(params, x, y); got {type(candidate).__name__}.")
    checked_numbers(seed, timeout)
    for option, value in (("transposed", transposed), ("degenerate", degenerate)):
        if not isinstance(value, bool):
            raise DoorError(f"{option} takes True or False; got {value!r}.")
    known = setup(network, params, x, y, loss, layout, transposed, bias, chosen(dtype), seed, name)
    found: list[Row] = []
    advice: dict[Any, Advice] = {}
    for number, case in enumerate(list(known.cases(degenerate=degenerate))):
        door = Judged(candidate, case, known, decay.factor(l2, case), timeout)
        found += (rows := [*door.rows, *(door.other_numbers if number == 0 else ())])
        raised = bool(door.calls[1].error)
        if any(Verdict(row.verdict).fails for row in rows) and not (raised and "raised" in advice):
            said = door.advice(rows)
            if number and raised:
                hint = "Is it made for these widths and this batch alone? Then say degenerate=False."
                said = replace(said, lines=(*said.lines, Line("known", hint)))
            kind = tuple(match["name"] for match in said.matches) or said.location
            advice.setdefault("raised" if raised else kind, said)
        if door.calls[1].late:
            break
    return Report(
        table(found),
        diagnoses=tuple(advice.values()),
        seed=seed,
        seconds=time.perf_counter() - begin,
        command=f"oracle.check_network, {name}",
    )
