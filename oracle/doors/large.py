"""Large arrays: of each the elements that differ most and some at random are compared, and rounding is measured for those.

Where the reference does to a selection of elements, or of rows, what it does to all of them (which is tried), only the
selection is computed many times. Otherwise all of it is, but less often and one copy after the other, and of each the selection
is kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from oracle.discrepancy import ulps
from oracle.doors.candidates import Given
from oracle.doors.question import Question
from oracle.inputs import generator
from oracle.rounding.callables import Of

#: Of each array so many elements that differ most absolutely, as many that do so relatively, and as many at random; of those that
#: differ most one in each of so many pieces of the array.
PICKED, PIECES = 128, 1024
#: Copies with noise.
FEWER = 8
#: Torch's vector units and its loops for what is left over round differently: so many ulps.
VECTOR = 8.0

Select = Callable[[Tensor], Tensor]


class Selection(NamedTuple):
    """A question about a part, what the candidate gave of it, and where in the whole each element of an array is."""

    question: Question
    given: Given
    at: dict[Of, np.ndarray]
    commutes: bool


def selection(question: Question, given: Given) -> Selection:
    """The part of a large question that is compared."""
    picked = {of: _picks(question, of, given.values.get(of)) for of in question.answers}
    if _elementwise(question):
        together = torch.unique(torch.cat(list(picked.values())))
        found = _part(question, given, lambda x: x.flatten()[together], dict.fromkeys(picked, together))
        if found:
            return found
    rows = _rows(question)
    if rows:
        width = max(answer[0].numel() for answer in question.answers.values())
        chosen = _worst_rows(question, picked, given, max(len(picked) * 3 * PICKED // width, 2))
        places = {
            of: (chosen[:, None] * answer[0].numel() + torch.arange(answer[0].numel())) for of, answer in question.answers.items()
        }
        found = _part(question, given, lambda x: x[chosen], places)
        if found:
            return found
    kept = replace(question, keep=lambda of, tensor: tensor.flatten()[picked[of]], replicas=FEWER)
    vars(kept)["answers"] = question.answers
    values = {of: _taken(given.values.get(of), picked[of], question.answers[of]) for of in picked}
    return Selection(kept, given._replace(values=values), {of: at.numpy() for of, at in picked.items()}, commutes=False)


def _picks(question: Question, of: Of, found: Any) -> Tensor:
    """The places in a flattened array."""
    wanted = question.answers[of].detach().flatten()
    count, rng = wanted.numel(), generator(question.seed, str(of))
    some = torch.from_numpy(rng.integers(0, count, min(PICKED, count)))
    if found is None or np.shape(found) != question.answers[of].shape or not wanted.is_floating_point():
        return torch.unique(some)
    wide = torch.float64 if wanted.itemsize == 8 else torch.float32
    array = (
        torch.from_numpy(np.ascontiguousarray(found if found.dtype.itemsize > 2 else found.astype(np.float32))).flatten().to(wide)
    )
    apart = (array - wanted.to(wide)).abs_().nan_to_num_(torch.inf)
    most = _most(apart)
    relative = _most(apart.div_(wanted.to(wide).abs()).nan_to_num_(0.0))
    return torch.unique(torch.cat([most, relative, some]))


def _worst_rows(question: Question, picked: Mapping[Of, Tensor], given: Given, count: int) -> Tensor:
    """So many rows: three of four hold what differs most, by turns of each array, the others are any that hold a place picked."""
    ranked = []
    for of, at in picked.items():
        wanted, found = question.answers[of].detach().double(), given.values.get(of)
        rows = torch.unique(at // wanted[0].numel())
        if found is not None and np.shape(found) == tuple(wanted.shape):
            apart = (torch.from_numpy(np.asarray(found[rows.numpy()], np.float64)) - wanted[rows]).abs().nan_to_num(torch.inf)
            rows = rows[apart.reshape(len(rows), -1).amax(1).argsort(descending=True)]
        ranked.append(rows.tolist())
    order = list(dict.fromkeys(row for turn in zip_longest(*ranked) for row in turn if row is not None))
    worst, others = order[: count - count // 4], order[count - count // 4 :]
    return torch.tensor(sorted(worst + others[:: max(len(others) // max(count // 4, 1), 1)][: count // 4]))


def _most(numbers: Tensor) -> Tensor:
    """Where the largest numbers are, the largest of all among them."""
    length = -(-len(numbers) // PIECES)
    pieces = torch.nn.functional.pad(numbers, (0, -len(numbers) % length), value=-1.0).view(-1, length).max(1)
    chosen = torch.topk(pieces.values, min(PICKED, len(pieces.values)), sorted=False).indices
    return (chosen * length + pieces.indices[chosen]).clamp_max_(len(numbers) - 1)


def _elementwise(question: Question) -> bool:
    """Whether all arrays have one shape."""
    shapes = {tuple(value.shape) for value in (*question.inputs.values(), *question.answers.values())}
    return len(shapes) == 1 and not question.params


def _rows(question: Question) -> int:
    """The size of the first axis that all arrays share, of at least two; 0 where they do not."""
    arrays = (*question.inputs.values(), *question.answers.values())
    sizes = {value.shape[0] if value.ndim else 0 for value in arrays}
    return sizes.pop() if len(sizes) == 1 and not question.params else 0


def _part(question: Question, given: Given, select: Select, at: dict[Of, Tensor]) -> Selection | None:
    """The question about a selection; None where the reference does something else to it than to the whole."""
    inputs = {name: select(value.detach()).clone().requires_grad_(value.requires_grad) for name, value in question.inputs.items()}
    upstreams = tuple(tuple(None if each is None else select(each) for each in upstream) for upstream in question.upstreams)
    part = replace(question, inputs=inputs, upstreams=upstreams, replicas=FEWER)
    try:
        for of, array in part.wanted.items():
            whole = question.answers[of].detach().flatten()[at[of]].numpy() if array.dtype.itemsize > 2 else None
            if whole is None or whole.shape != array.shape or not (ulps(array, whole) <= VECTOR).all():
                return None
    except (RuntimeError, ValueError, IndexError, TypeError):
        return None
    values = {of: _taken(given.values.get(of), at[of], question.answers[of]) for of in at}
    return Selection(part, given._replace(values=values), {of: each.numpy() for of, each in at.items()}, commutes=True)


def _taken(found: Any, at: Tensor, whole: Tensor) -> Any:
    """The selected elements of what the candidate gave; all of it where it has another shape."""
    return found if found is None or np.shape(found) != whole.shape else found.reshape(-1)[at.numpy()]


def told(selected: Selection, question: Question, rows: list[Any]) -> list[Any]:
    """The rows with the shape and the places of the whole, and a note of how much was compared."""
    by_symbol = {question.quantity(of).symbol: of for of in question.answers}
    found = []
    for row in rows:
        of = by_symbol[row.symbol]
        whole, places = tuple(question.answers[of].shape), selected.at[of].reshape(-1)
        shape = selected.question.wanted[of].shape
        index = ""
        if row.worst_index and row.shape != "0":
            at = np.ravel_multi_index(tuple(map(int, row.worst_index.strip("()").split(","))), shape) if shape else 0
            index = "(" + ", ".join(map(str, (int(i) for i in np.unravel_index(int(places[at]), whole)))) + ")"
        note = f"{len(places):,} of {int(np.prod(whole)):,} elements compared, those that differ most among them"
        found.append(
            row._replace(shape="x".join(map(str, whole)), worst_index=index, note="; ".join(filter(None, (row.note, note))))
        )
    return found
