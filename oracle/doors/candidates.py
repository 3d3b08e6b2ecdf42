"""The two kinds of candidates, called alike: a torch callable, and a pair of NumPy functions."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from oracle.doors.errors import FormError
from oracle.doors.guard import Outcome, guarded
from oracle.doors.question import Array, Named, array_of
from oracle.rounding.callables import NotATensorError, Of, Upstream, outputs_of, random_from
from oracle.twins import to_numpy


class Pair(NamedTuple):
    """An array after a call and before it."""

    after: Array
    before: Array


class Given(NamedTuple):
    """What a candidate gives, None for what it lacks; how the call went; and what was passed to it, after and before."""

    values: dict[Of, Any]
    outcome: Outcome
    passed: Mapping[str, Pair] = MappingProxyType({})

    @property
    def failure(self) -> str:
        return self.outcome.error


class Candidate(Protocol):
    """Somebody else's gradient; a call fills `found` as far as it gets, and `passed` with what must not change."""

    name: str
    timeout: float

    def call(
        self, inputs: Named, params: Named, upstreams: Sequence[Upstream], found: dict[Of, Any], passed: dict[str, Pair]
    ) -> None:
        """Outputs, and the gradients for every upstream gradient."""

    def between(self, inputs: Named, others: Named, params: Named, upstream: Upstream) -> dict[Of, Any] | None:
        """The gradients at the inputs, on whose way back one goes after a call with other inputs; None of who has no cache."""


def give(candidate: Candidate, inputs: Named, params: Named, upstreams: Sequence[Upstream], seed: int = 0) -> Given:
    """Call a candidate under guard. What it changes of the numbers that it is given is put back."""
    found: dict[Of, Any] = {}
    passed: dict[str, Pair] = {}

    def call() -> None:
        state = np.random.get_state()  # noqa: NPY002 # a candidate may draw from NumPy's global generator
        np.random.seed(seed)  # noqa: NPY002
        try:
            candidate.call(inputs, params, upstreams, found, passed)
        finally:
            np.random.set_state(state)  # noqa: NPY002

    with put_back(inputs, upstreams), random_from(seed):
        return Given(found, guarded(call, timeout=candidate.timeout), passed)


@contextmanager
def put_back(inputs: Named, upstreams: Sequence[Upstream]) -> Iterator[None]:
    """What is changed inside of the numbers of a question is put back; what is expanded belongs to none."""
    numbers = [*inputs.values(), *(each for upstream in upstreams for each in upstream if each is not None)]
    before = [each.detach().clone() for each in numbers]
    yield
    with torch.no_grad():
        for each, earlier in zip(numbers, before, strict=True):
            if 0 not in each.stride() and not torch.equal(each, earlier):
                each.copy_(earlier)


@dataclass
class TorchCandidate:
    """A torch callable or module; `mapping` gives its own name for a parameter of the reference, where that is another."""

    function: Callable[..., Any]
    name: str
    timeout: float
    mapping: Mapping[str, str] = field(default_factory=dict)

    def call(
        self, inputs: Named, params: Named, upstreams: Sequence[Upstream], found: dict[Of, Any], passed: dict[str, Pair]
    ) -> None:
        before = {name: array_of(value) for name, value in inputs.items()}
        given, own, result = self._forward(inputs, params)
        try:
            outputs = outputs_of(result)
        except NotATensorError as error:
            raise FormError(str(error).replace("a callable", "the candidate", 1)) from error
        found |= {Of("output", str(number)): array_of(output) for number, output in enumerate(outputs)}
        for upstream in upstreams[:1]:
            if len(upstream) != len(outputs):
                raise FormError(f"the candidate returns {_count(outputs)}, and the reference {_count(upstream)}")
        for at, (output, up) in enumerate(zip(outputs, upstreams[0] if upstreams else (), strict=False)):
            if up is not None and output.shape != up.shape:
                which = f"output {at + 1}" if len(outputs) > 1 else "the output"
                raise FormError(f"{which} has the shape {tuple(output.shape)}, and the reference's {tuple(up.shape)}")
        leaves = {name: leaf for name, leaf in {**given, **own}.items() if leaf.requires_grad}
        for number, upstream in enumerate(upstreams):
            handed = [None if each is None else array_of(each) for each in upstream]
            grads = _backward(outputs, upstream, leaves)
            found |= {Of("gradient", name, number): grad for name, grad in grads.items()}
            for at, each in enumerate(handed):
                if each is not None:
                    passed[f"upstream gradient{f' {at + 1}' * (len(outputs) > 1)}"] = Pair(array_of(_certain(upstream[at])), each)
        passed |= {name: Pair(array_of(value), before[name]) for name, value in given.items()}

    def _forward(self, inputs: Named, params: Named) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
        """The leaves, which share the inputs' memory, and what the function makes of them."""
        given = {name: value.detach().requires_grad_(value.requires_grad) for name, value in inputs.items()}
        own = {name: value.detach().clone().requires_grad_(value.requires_grad) for name, value in params.items()}
        if not isinstance(self.function, torch.nn.Module):
            return given, own, self.function(*given.values())
        held = {name: value.detach().clone() for name, value in self.function.named_buffers()}
        held |= {self.mapping.get(name, name): value for name, value in own.items()}
        return given, own, functional_call(self.function, held, tuple(given.values()))

    def between(self, inputs: Named, others: Named, params: Named, upstream: Upstream) -> dict[Of, Any] | None:
        """The gradients at the inputs, on whose way back one goes after a call with other inputs; None of who has no cache."""
        given, own, result = self._forward(inputs, params)
        self._forward(others, params)
        leaves = {name: leaf for name, leaf in {**given, **own}.items() if leaf.requires_grad}
        return {Of("gradient", name): grad for name, grad in _backward(outputs_of(result), upstream, leaves).items()}

    def twice(self, inputs: Named, params: Named, upstream: Upstream) -> dict[Of, Any]:
        """The gradients that .grad holds after two ways back."""
        given, own, result = self._forward(inputs, params)
        pairs = [(out, up) for out, up in zip(outputs_of(result), upstream, strict=True) if up is not None and out.requires_grad]
        for _ in range(2):
            torch.autograd.backward([out for out, _ in pairs], [up for _, up in pairs], retain_graph=True)
        leaves = {**given, **own}.items()
        return {
            Of("gradient", name): None if leaf.grad is None else array_of(leaf.grad)
            for name, leaf in leaves
            if leaf.requires_grad
        }


def _count(outputs: Sequence[Any]) -> str:
    return f"{len(outputs)} output{'s' * (len(outputs) > 1)}"


def _certain(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def _backward(outputs: Sequence[Tensor], upstream: Upstream, leaves: Named) -> dict[str, Any]:
    """The gradients as arrays; None where none flows back."""
    pairs = [(out, up.to(out.dtype)) for out, up in zip(outputs, upstream, strict=True) if up is not None]
    if not any(out.requires_grad for out, _ in pairs):
        raise FormError("the output does not require a gradient: is it computed under torch.no_grad(), or from detached numbers?")
    given, up = zip(*[pair for pair in pairs if pair[0].requires_grad], strict=True)
    try:
        grads: Sequence[Tensor | None] = torch.autograd.grad(
            given, list(leaves.values()), up, retain_graph=True, allow_unused=True
        )
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
        torch.autograd.backward(given, up, retain_graph=True)  # which checkpoints of the older kind ask for
        grads = [leaf.grad for leaf in leaves.values()]
        for leaf in leaves.values():
            leaf.grad = None
    return {name: None if grad is None else array_of(grad) for name, grad in zip(leaves, grads, strict=True)}


@dataclass
class NumpyPair:
    """`output, cache = forward(*inputs)` and `gradients = backward(upstream, cache)`."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    name: str
    timeout: float

    def call(
        self, inputs: Named, params: Named, upstreams: Sequence[Upstream], found: dict[Of, Any], passed: dict[str, Pair]
    ) -> None:
        arrays = {name: as_laid_out(value) for name, value in inputs.items()}
        before = {name: value.copy() for name, value in arrays.items()}
        outputs, cache = self._forward(arrays)
        kinds = [up.dtype for up in (upstreams[0] if upstreams else ()) if up is not None]
        found |= {
            Of("output", str(at)): _as_array(output, kinds[at] if at < len(kinds) else None) for at, output in enumerate(outputs)
        }
        wanted = [name for name, value in inputs.items() if value.requires_grad]
        for number, upstream in enumerate(upstreams):
            if number:
                outputs, cache = self._forward(arrays)
            handed = [as_laid_out(each) for each in upstream if each is not None]
            copies, held = ([each.copy() for each in arrays] for arrays in (handed, arrays_in(cache)))
            result = self.backward(handed[0] if len(outputs) == 1 else tuple(handed), cache)
            found |= {Of("gradient", name, number): grad for name, grad in read_gradients(result, wanted, list(inputs)).items()}
            passed |= {
                f"upstream gradient{f' {at + 1}' * (len(handed) > 1)}": Pair(after.copy(), earlier)
                for at, (after, earlier) in enumerate(zip(handed, copies, strict=True))
            }
            caches = enumerate(zip(arrays_in(cache), held, strict=False))
            passed |= {f"cache, array {at}": Pair(after.copy(), earlier) for at, (after, earlier) in caches}
        passed |= {name: Pair(value.copy(), before[name]) for name, value in arrays.items()}

    def between(self, inputs: Named, others: Named, params: Named, upstream: Upstream) -> dict[Of, Any] | None:
        """The gradients at the inputs, on whose way back one goes after a call with other inputs; None of who has no cache."""
        arrays, turned = ({name: as_laid_out(value) for name, value in each.items()} for each in (inputs, others))
        _, cache = self._forward(arrays)
        if cache is None:  # as of a layer that is an object: it keeps the numbers of one call
            return None
        self._forward(turned)
        handed = [as_laid_out(each) for each in upstream if each is not None]
        result = self.backward(handed[0] if len(upstream) == 1 else tuple(handed), cache)
        wanted = [name for name, value in inputs.items() if value.requires_grad]
        return {Of("gradient", name): grad for name, grad in read_gradients(result, wanted, list(inputs)).items()}

    def _forward(self, arrays: Mapping[str, Array]) -> tuple[tuple[Any, ...], Any]:
        result = self.forward(*arrays.values())
        if not isinstance(result, tuple | list) or len(result) != 2:
            got = f"{len(result)} values" if isinstance(result, tuple | list) else type(result).__name__
            raise FormError(f"forward returns (output, cache); the candidate's returns {got}")
        output, cache = result
        return tuple(output) if isinstance(output, tuple) else (output,), cache


def as_laid_out(tensor: Tensor) -> Array:
    """A tensor as an array with the same strides."""
    if tensor.is_contiguous():
        return to_numpy(tensor) if tensor.is_floating_point() else tensor.detach().numpy()
    if tensor.dtype == torch.bfloat16:
        return to_numpy(tensor)
    array = tensor.detach().numpy()
    return np.broadcast_to(array, array.shape) if 0 in array.strides else array  # which NumPy lets nobody write to


def _as_array(value: Any, kind: torch.dtype | None) -> Any:
    """A number or an array; one number that is Python's own has the dtype of whoever asks."""
    if isinstance(value, float) and not isinstance(value, np.generic) and kind is not None:
        return to_numpy(torch.tensor(value, dtype=kind))
    array = _numbers("the output", value)
    return array if array.dtype.kind not in "iub" else array.astype(np.float64)


def _numbers(what: str, value: Any) -> Array:
    """A copy of an array. Raises TypeError where it holds no numbers."""
    if value is None:
        raise FormError(f"{what} is an array of numbers; the candidate gives None")
    array = np.array(value)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise FormError(f"{what} is an array of numbers; the candidate gives {type(value).__name__} of dtype {array.dtype}")
    return array


def arrays_in(value: Any) -> list[Array]:
    """Every array in a nested structure, in order; also those that objects keep."""
    if isinstance(value, np.ndarray):
        return [value]
    inside = (
        value.values()
        if isinstance(value, Mapping)
        else value
        if isinstance(value, tuple | list)
        else getattr(value, "__dict__", {}).values()
    )
    return [array for each in inside for array in arrays_in(each)]


def read_gradients(result: Any, wanted: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """The gradients that backward returns, by input: a dictionary, a tuple in the order of the inputs, or one array."""
    if isinstance(result, Mapping):
        by_name = {
            str(key).casefold().removeprefix("dc/").removeprefix("grad_").removeprefix("d_"): value
            for key, value in result.items()
        }
        given = {name: by_name.get(name.casefold(), by_name.get(f"d{name.casefold()}")) for name in wanted}
        known = {key for name in names for key in (name.casefold(), f"d{name.casefold()}")}
        if any(value is None for value in given.values()) and not by_name.keys() <= known:
            keys, got = f"d{wanted[0]} or {wanted[0]}", ", ".join(map(str, result))
            raise FormError(f"backward returns gradients of {', '.join(wanted)}, as keys {keys}; got {got}")
    else:
        items = list(result) if isinstance(result, tuple | list) else [result]
        order = names if len(items) == len(names) else wanted
        if len(items) > len(order):
            raise FormError(f"backward returns gradients of {', '.join(wanted)}, in this order; got {len(items)} of them")
        given = dict.fromkeys(wanted) | {name: item for name, item in zip(order, items, strict=False) if name in wanted}
    return {name: None if value is None else _numbers(f"the gradient of {name}", value) for name, value in given.items()}


def name_of(candidate: Any) -> str:
    """What a callable is called: MyFunction for MyFunction.apply."""
    owner = getattr(candidate, "__self__", None)
    if inspect.isclass(owner) and getattr(candidate, "__name__", "") == "apply":
        return owner.__name__
    name = getattr(candidate, "__name__", type(candidate).__name__)
    return "candidate" if name in ("<lambda>", "partial") else name
