"""The door for a torch callable: an autograd.Function, a kernel, a fused or compiled operation, a module."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from oracle.case import DTYPES, parse_dtype
from oracle.doors.candidates import TorchCandidate, name_of
from oracle.doors.errors import DoorError
from oracle.doors.generate import USUAL, Kinks, check_regimes, described, inputs_like, numbers, to_dtype, variants
from oracle.doors.pairing import copied, hand_over
from oracle.doors.question import ask, checked_dtype
from oracle.doors.recognise import kinks_of
from oracle.doors.session import Session, checked_callable, checked_numbers, differentiated, input_names

if TYPE_CHECKING:
    import numpy as np

    from manualbp.domains import Interval
    from oracle.report import Report

#: Up to so many elements every one is compared.
MAX_ELEMENTS = 2**16
GIVEN = "given"


def check_function(
    candidate: Callable[..., Any],
    reference: Callable[..., Any],
    *inputs: Any,
    upstreams: int = 3,
    dtype: Any = None,
    seed: int = 0,
    regimes: Sequence[str] = (),
    domain: "str | Interval | None" = None,
    timeout: float = 60.0,
    max_elements: int = MAX_ELEMENTS,
    parameters: Mapping[str, str] | None = None,
    name: str = "",
) -> "Report":
    """Hold a torch callable and its gradient against a plain torch expression of the same.

    inputs        tensors or arrays; or descriptions such as "4x7", "4x7 positive", "4 labels 7" (see `oracle.doors.generate`),
                  for which ordinary numbers, constant rows and degenerate shapes are drawn. Those that require a gradient are
                  differentiated, or all that are real numbers where none does
    upstreams     how many random upstream gradients, the last of several the same number everywhere; 0 is tried besides
    dtype         the dtype of all real inputs, and of modules; their own unless given, and float32 or the reference's for
                  descriptions
    regimes       what is drawn besides what is given, some of generic, kinks, extremes, constant, shapes
    domain        the domain of what is drawn: real, positive, negative, unit, or an Interval
    timeout       seconds that one call of the candidate may take
    max_elements  up to so many elements all are compared. Of larger arrays those that differ most and some at random are,
                  and no more memory is used than for one pass in float64 and a few copies of the arrays
    parameters    for two modules: the candidate's name for each parameter of the reference that has another. Both are run
                  with the reference's parameters and buffers, and neither is changed
    name          what the report calls it; the candidate's own name unless given

    Raises DoorError where the call is wrong; what is wrong with the candidate is in the report.
    """
    checked_callable(candidate, "candidate", "MyFunction.apply")
    checked_callable(reference, "reference", "torch.nn.functional.gelu")
    checked_numbers(seed, timeout, upstreams=upstreams, max_elements=max_elements)
    called, kind = name or name_of(candidate), chosen(dtype)
    candidate, reference = (in_dtype(each, kind) for each in (candidate, reference))
    params, mapping = _parameters(candidate, reference, parameters or {})
    candidate = _with_buffers(candidate, reference)
    session = Session(TorchCandidate(candidate, called, timeout, mapping), reference, params, upstreams, seed, max_elements)
    named = cases(
        inputs,
        input_names(len(inputs), reference, candidate),
        regimes,
        domain,
        kind,
        dtype_of(reference),
        seed,
        params,
        reference,
    )
    return session.report(named, f"oracle.check_function of {called}")


def chosen(dtype: Any) -> str:
    """The name of a dtype, NumPy's or torch's; empty for None. Raises DoorError for one that is not compared."""
    if dtype is None:
        return ""
    import numpy as np

    text = str(dtype) if isinstance(dtype, torch.dtype | str) else str(np.dtype(dtype))
    try:
        return parse_dtype(text.removeprefix("torch."))
    except ValueError as error:
        raise DoorError(str(error)) from error


def in_dtype(function: Any, kind: str) -> Any:
    """A module's copy in this dtype, where one is named; anything else as it is. Raises DoorError for one that has no copy."""
    return copied(function).to(getattr(torch, kind)) if kind and isinstance(function, torch.nn.Module) else function


def dtype_of(function: Any) -> str:
    """The dtype of a module's first parameter; float32 for anything else."""
    held = function.parameters() if isinstance(function, torch.nn.Module) else ()
    return next((str(value.dtype).removeprefix("torch.") for value in held), "float32")


def cases(
    inputs: Sequence[Any],
    names: Sequence[str],
    regimes: Sequence[str],
    domain: "str | Interval | None",
    dtype: str,
    usual: str,
    seed: int,
    params: Mapping[str, Tensor],
    reference: Callable[..., Any] | None = None,
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The numbers of a check, each with a name. Raises DoorError, before any work, for inputs that are none."""
    if not inputs:
        raise DoorError("a check takes inputs: tensors, arrays, or descriptions such as '4x7'; got none.")
    check_regimes(regimes)
    wanted = described(inputs, domain)

    def points(drawn: Sequence[Tensor]) -> Sequence[float]:
        if reference is None:
            return ()
        return kinks_of(ask("kinks", "", reference, dict(zip(names, drawn, strict=True)), params, 1, seed))

    if wanted is not None:
        if not params and all(each.labels for each in wanted):
            raise DoorError("a gradient is that of real numbers; got only labels. Describe an input of real numbers too: '4x7'.")
        return _drawn(wanted, names, regimes or USUAL, DTYPES[dtype or usual], seed, points)
    tensors = [
        to_dtype(numbers(value, name), DTYPES[dtype] if dtype else None) for value, name in zip(inputs, names, strict=True)
    ]
    given = dict(zip(names, tensors, strict=True))
    for label, value in given.items():
        checked_dtype(value, label)
        if value.numel() == 0:
            raise DoorError(f"{label} takes at least one element; got the shape {tuple(value.shape)}.")
    differentiated(given, params)
    kinds = {value.dtype for value in given.values() if value.is_floating_point()}
    if len(kinds) > 1:
        raise DoorError(
            f"real inputs take one dtype; got {', '.join(sorted(map(str, kinds)))}. Say dtype=, or convert them; a number "
            "that is an option belongs into the functions: lambda x: f(x, 0.5)."
        )
    return _given(given, regimes, domain, seed, points)


def _given(
    given: dict[str, Tensor], regimes: Sequence[str], domain: "str | Interval | None", seed: int, kinks: Kinks
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    shapes = ",".join("x".join(map(str, value.shape)) or "scalar" for value in given.values())
    yield f"{shapes}/{GIVEN}", given
    if regimes:
        kept = {name: value.requires_grad for name, value in given.items()}
        real = next(value for value in given.values() if value.is_floating_point())
        like = inputs_like(*given.values(), domain=domain or "real")
        for label, drawn in _drawn(like, list(given), regimes, DTYPES[str(real.dtype).removeprefix("torch.")], seed, kinks):
            yield label, {name: value.requires_grad_(kept[name]) for name, value in drawn.items()}


def _drawn(
    wanted: Sequence[Any], names: Sequence[str], regimes: Sequence[str], dtype: "np.dtype[Any]", seed: int, kinks: Kinks
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    for label, tensors in variants(wanted, [regimes] if isinstance(regimes, str) else regimes, seed, dtype, kinks):
        yield label, dict(zip(names, tensors, strict=True))


def _with_buffers(candidate: Any, reference: Any) -> Any:
    """A module with the reference's buffers of the same names and shapes; a copy where they are not its own already."""
    if not (isinstance(candidate, torch.nn.Module) and isinstance(reference, torch.nn.Module)):
        return candidate
    held = dict(candidate.named_buffers())
    pairs = {name: value for name, value in reference.named_buffers() if name in held and held[name].shape == value.shape}
    if all(torch.equal(held[name].to(value.dtype), value) for name, value in pairs.items()):
        return candidate
    other = copied(candidate)
    hand_over(pairs.items(), dict(other.named_buffers()), str)
    return other


def _parameters(candidate: Any, reference: Any, mapping: Mapping[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The reference's parameters, and the candidate's names for them. Raises DoorError unless they pair up."""
    ours, theirs = (dict(each.named_parameters()) if isinstance(each, torch.nn.Module) else {} for each in (reference, candidate))
    for name, other in mapping.items():
        if name not in ours or other not in theirs:
            missing = f"the reference has no {name}" if name not in ours else f"the candidate has no {other}"
            raise DoorError(f"parameters takes the candidate's name by the reference's; {missing}.")
    pairs = {name: mapping.get(name, name) for name in ours}
    if set(pairs.values()) != set(theirs):
        raise DoorError(
            f"a candidate with parameters takes a reference with the same: the reference has {', '.join(ours) or 'none'}, the "
            f"candidate {', '.join(theirs) or 'none'}. Pass parameters={{'reference name': 'candidate name'}}, or pass them as "
            "inputs."
        )
    for name, other in pairs.items():
        if ours[name].shape != theirs[other].shape:
            raise DoorError(
                f"{name} has the shape {tuple(ours[name].shape)}, the candidate's {other} {tuple(theirs[other].shape)}."
            )
    return {name: value.detach().clone().requires_grad_() for name, value in ours.items()}, pairs
