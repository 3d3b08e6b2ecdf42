"""Where a gradient goes wrong: read off the layers' own rows, or inferred from the pattern of what is right."""

from collections.abc import Callable
from dataclasses import dataclass

from oracle.diagnosis.evidence import Evidence, Slot


@dataclass(frozen=True)
class Location:
    """Where to look.

    positions  in backward order: the layers whose own rows fail; where that is inferred, every layer it may be. Empty
               where all layers are right, or nothing is wrong
    symbols    the quantities that are wrong there; where inferred, those that may be
    inferred   True where there are no layerwise rows to say so
    assembly   True where each layer is right and the network is not
    forward    True where a value is wrong, on the way forward
    reason     one or two sentences
    """

    positions: tuple[int, ...] = ()
    symbols: tuple[str, ...] = ()
    inferred: bool = False
    assembly: bool = False
    forward: bool = False
    reason: str = ""


def locate(evidence: Evidence) -> Location:
    """The first place, in backward order, where something is wrong of itself; a wrong value forward comes before all."""
    if not evidence.own:
        return infer(evidence)
    failing = evidence.wrong(evidence.own)
    forward = [slot for slot in failing if not evidence.slots[slot].is_gradient]
    backward = [slot for slot in failing if slot not in forward]
    if forward:
        positions = tuple(dict.fromkeys(evidence.slots[slot].position for slot in forward))
        reason = "Given autograd's own input, its output is already wrong: the fault is in the forward pass."
        return Location(positions, evidence.symbols(forward), forward=True, reason=reason)
    if backward:
        positions = tuple(dict.fromkeys(evidence.slots[slot].position for slot in backward))
        reason = "Given autograd's own input and upstream gradient, it returns something else: the fault is its own."
        if len(positions) > 1:
            reason = "Each of these, given autograd's own input and upstream gradient, returns something else."
        return Location(positions, evidence.symbols(backward), reason=reason)
    wrong = evidence.wrong(evidence.distances)
    if not wrong:
        return Location()
    reason = "Every layer is right by itself and the network is not: they are put together wrongly."
    return Location((), evidence.symbols(wrong), assembly=True, reason=reason)


def infer(evidence: Evidence, *, sums_prove: bool = True) -> Location:
    """The places where the fault can be, from which of the network's own arrays are right.

    A parameter's gradient is a sum over the samples, and may be right where what flows in is not: errors cancel. It counts as
    proof unless `sums_prove` says otherwise.
    """
    wrong = evidence.wrong(evidence.distances)
    if not wrong:
        return Location(inferred=True)
    forward = [slot for slot in wrong if not evidence.slots[slot].is_gradient]
    if forward:
        first = evidence.slots[forward[0]].position
        known = {slot for slot in evidence.distances if not evidence.slots[slot].is_gradient}
        start = max((evidence.slots[slot].position + 1 for slot in known if evidence.slots[slot].position < first), default=0)
        symbols = evidence.symbols([slot for slot in evidence.slots if slot.what in ("values", "loss")])
        between = symbols[max(start - 1, 0) : first + 1] if start < first else (evidence.slots[forward[0]].symbol,)
        reason = f"Inferred: {evidence.slots[forward[0]].symbol} is the first value that is wrong on the way forward."
        return Location(tuple(range(start, first + 1)), between, inferred=True, forward=True, reason=reason)
    return _inferred_backward(evidence, wrong, sums_prove=sums_prove)


def _inferred_backward(evidence: Evidence, wrong: list[Slot], *, sums_prove: bool) -> Location:
    """Walk back from the loss to the first array that is wrong; what is right before and behind it narrows the range."""
    at = max(evidence.slots[slot].position for slot in wrong)
    here = [slot for slot in wrong if evidence.slots[slot].position == at]
    names = " and ".join(evidence.symbols(here))
    come, are = ("comes", "is") if len(here) == 1 else ("come", "are")
    alone = all(slot.what == "parameter" for slot in here)

    def proves(slot: Slot) -> bool:
        return evidence.shows_right(slot) and (sums_prove or slot.what != "parameter")

    right_here = [slot for slot in evidence.flows[at] if proves(slot)]
    behind = any(proves(slot) for position in range(at) for slot in evidence.flows[position])
    if alone and (right_here or behind):
        proof = ", ".join(evidence.symbols(right_here)) or "what comes after it on the way back"
        verb = "is" if len(right_here) < 2 else "are"
        reason = f"Inferred: {names} alone {are} wrong and {proof} {verb} right, so what flows through this layer is right."
        return Location((at,), evidence.symbols(here), inferred=True, reason=reason)
    # The step that makes the upstream gradient of this layer is the last whose result is not known to be right.
    start = at
    while start < evidence.count and not _confirming(evidence, start + 1, proves):
        start += 1
    if start == at:
        before = (
            f"{_confirming(evidence, at + 1, proves)} before it is right" if at < evidence.count else "it is the first step back"
        )
        on = "" if behind else ", and nothing known behind it is right"
        reason = f"Inferred: walking back from the loss, {names} {come} first of what is wrong; {before}{on}."
        return Location((at,), evidence.symbols(here), inferred=True, reason=reason)
    between = [Slot("gradients", position) for position in range(start, at, -1)]
    suspects = [slot for slot in between if slot in evidence.slots] + here
    known = [slot for slot in evidence.flows[start] if proves(slot)]
    verb = "is" if len(known) < 2 else "are"
    after = f"{' and '.join(evidence.symbols(known))} {verb} right" if known else "nothing before it is known"
    reason = (
        f"Inferred, since the values in between are not given: {names} {come} first of what is wrong, and {after}. "
        f"The fault is in one of {', '.join(evidence.symbols(suspects))}."
    )
    return Location(tuple(range(start, at - 1, -1)), evidence.symbols(suspects), inferred=True, reason=reason)


def _confirming(evidence: Evidence, node: int, proves: Callable[[Slot], bool]) -> str:
    """The sign of an array that shows that dC/d(node) is right: itself, or what a layer's parameters got from it; else empty."""
    itself = Slot("gradients", node)
    used_by = [slot for slot in evidence.flows[node - 1] if slot.what == "parameter"] if node > 0 else []
    known = [slot for slot in (itself, *used_by) if slot in evidence.slots and proves(slot)]
    return evidence.slots[known[0]].symbol if known else ""
