"""The rounding scale of any torch callable: of its outputs, and of the gradient of each of its inputs and parameters."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from oracle.rounding.expressions import PlainOperations
from oracle.rounding.scales import anything, floor, format_of, furthest, jumps, lost, response
from oracle.rounding.single import Comparisons, SingleDecisions, SingleNoise
from oracle.verdict import TOLERANCE

#: Copies with noise, and copies in which comparisons fall otherwise.
NOISY, OTHERWISE = 16, 6
#: Where numbers tie inside an operation they are moved by this part of themselves; for inputs up to so many elements, in so many
#: orders: of k numbers that tie each is the largest in one of them, but for (1 - 1/k)^TIES.
NUDGE, FEW, TIES = 2.0**-40, 4096, 64

Named = Mapping[str, Tensor]
Upstream = Sequence[Tensor | None]


class Of(NamedTuple):
    """An output by its number, or the gradient of an input or parameter by its name, for an upstream gradient by its number."""

    kind: Literal["output", "gradient"]
    name: str
    upstream: int = 0


#: Picks of an array what is looked at; all of it unless given.
Keep = Callable[[Of, Tensor], Tensor]


class CallableScales(NamedTuple):
    """The rounding scale of everything, and the exact copy in float64, a witness of what is right."""

    sigma: dict[Of, NDArray[np.float64]]
    exact: dict[Of, NDArray[np.float64]]


def run(
    function: Callable[..., Any],
    inputs: Named,
    params: Named,
    upstreams: Sequence[Upstream],
    *,
    mode: Any = None,
    wide: bool = False,
    plain: bool = False,
    keep: Keep | None = None,
    seed: int = 0,
) -> dict[Of, Tensor]:
    """Call `function(*inputs)`, or a module with these parameters, and go back with every upstream gradient.

    What requires a gradient gets one: zeros where nothing flows back to it. `upstreams` holds for each way back a tensor for each
    output, None for those that are not real numbers. Nothing that is passed is changed; random numbers start at `seed`.
    """
    looked_at = keep or (lambda _, tensor: tensor)
    found: dict[Of, Tensor] = {}
    with random_from(seed), sdpa_kernel(SDPBackend.MATH) if wide else nullcontext(), torch.enable_grad():
        with mode or nullcontext(), PlainOperations() if plain else nullcontext():
            outputs, leaves = forward(function, inputs, params, wide=wide)
        for number, output in enumerate(outputs):
            of = Of("output", str(number))
            found[of] = looked_at(of, output.detach())
        for number, upstream in enumerate(upstreams):
            pairs = [(out, up) for out, up in zip(outputs, upstream, strict=True) if up is not None and out.requires_grad]
            grads = _back(pairs, leaves, mode, wide=wide, again=number + 1 < len(upstreams))
            for name, grad in grads.items():
                of = Of("gradient", name, number)
                found[of] = looked_at(of, grad)
    return found


def forward(
    function: Callable[..., Any], inputs: Named, params: Named, *, wide: bool = False
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """The outputs, in the graph of the numbers that they are made of, and those of them that require a gradient, by name."""
    given, own = ({name: _leaf(value, wide=wide) for name, value in each.items()} for each in (inputs, params))
    if isinstance(function, torch.nn.Module):
        held = {name: _leaf(value.detach(), wide=wide) for name, value in function.named_buffers()} | own
        result = functional_call(function, held, tuple(given.values()))
    else:
        result = function(*given.values())
    return outputs_of(result), {name: leaf for name, leaf in {**given, **own}.items() if leaf.requires_grad}


def buffers_after(
    module: torch.nn.Module, inputs: Named, params: Named, *, wide: bool = False, seed: int = 0
) -> dict[str, Tensor]:
    """What a module's buffers hold after a call; its own stay as they are."""
    held = {name: _leaf(value.detach(), wide=wide) for name, value in module.named_buffers()}
    given, own = ({name: _leaf(value, wide=wide) for name, value in each.items()} for each in (inputs, params))
    with random_from(seed), torch.no_grad():
        functional_call(module, held | own, tuple(given.values()))
    return held


def _back(pairs: Sequence[tuple[Tensor, Tensor]], leaves: Named, mode: Any, *, wide: bool, again: bool) -> dict[str, Tensor]:
    if not pairs or not leaves:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    outputs, upstream = zip(*pairs, strict=True)
    with mode or nullcontext():
        found = torch.autograd.grad(
            outputs,
            list(leaves.values()),
            [each.double() if wide else each for each in upstream],
            retain_graph=again,
            materialize_grads=True,
        )
    return dict(zip(leaves, found, strict=True))


class NotATensorError(TypeError):
    """A callable returns something else than tensors."""


def outputs_of(result: Any) -> tuple[Tensor, ...]:
    """The tensors that a callable returns, in order. Raises NotATensorError for anything else."""
    outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
    for output in outputs:
        if not isinstance(output, Tensor):
            inside = f" inside a {type(result).__name__}" if outputs[0] is not result else ""
            raise NotATensorError(f"a callable returns a tensor or a tuple of tensors; got {type(output).__name__}{inside}.")
    return outputs


def _leaf(value: Tensor, *, wide: bool) -> Tensor:
    """A copy, and where it is not in float64 one that lies in memory as it did."""
    copy = value.detach().clone()
    if wide and copy.is_floating_point():
        copy = copy.double()
    elif copy.stride() != value.stride():
        memory = value.untyped_storage().clone()  # type: ignore[no-untyped-call]
        copy = copy.new_empty(0).set_(memory, value.storage_offset(), value.shape, value.stride())
    return copy.requires_grad_(value.requires_grad)


@contextmanager
def random_from(seed: int) -> Iterator[None]:
    """Torch's random numbers on the processor start at this seed, and go on afterwards as if nothing had been."""
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Many small operations wait longer for each other than they take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def callable_scales(
    function: Callable[..., Any],
    inputs: Named,
    params: Named,
    upstreams: Sequence[Upstream],
    reference: Mapping[Of, NDArray[Any]],
    dtype: np.dtype[Any],
    *,
    keep: Keep | None = None,
    replicas: int = NOISY,
    seed: int = 0,
) -> CallableScales:
    """How far rounding in `dtype` moves each element of everything that `run` gives; `reference` holds its own numbers.

    The copies run one after the other, so that no more is held than one of them in float64, and of each what `keep` picks.
    """
    seen, plain = Comparisons(), _takes_plain(function, inputs, params, upstreams, seed)

    def copies(modes: Sequence[Any]) -> dict[Of, NDArray[np.float64]]:
        found = [
            run(function, inputs, params, upstreams, mode=mode, wide=True, plain=plain, keep=keep, seed=seed) for mode in modes
        ]
        return {of: np.stack([each[of].double().numpy() for each in found]) for of in found[0]}

    with np.errstate(all="ignore"), _one_thread():
        noise = [SingleNoise(format_of(dtype), copy, replicas, seed, seen) for copy in range(replicas + 1)]
        moved = copies(noise)
        sigma = {of: np.maximum(floor(reference[of], array[0], dtype), _response(array)) for of, array in moved.items()}
        reach = seen.reach(TOLERANCE)
        if any(each is not None for each in reach):
            fallen = copies([SingleDecisions(copy, seen, reach) for copy in range(1, OTHERWISE + 1)])
            free = copies([SingleNoise(format_of(dtype), copy, replicas, seed + 1, None) for copy in range(1, replicas + 1)])
            for of, scale in sigma.items():
                sigma[of] = scale + jumps(scale, *(furthest(moved[of][0], array[of]) for array in (fallen, free)))
        for of, array in moved.items():
            sigma[of] = np.where(lost(array), anything(array[0]), sigma[of])
    return CallableScales(sigma, {of: array[0] for of, array in moved.items()})


def _response(copies: NDArray[np.float64]) -> NDArray[np.float64]:
    """The response of an array of any shape, the exact copy first."""
    flat = copies.reshape(len(copies), -1)
    return response(flat[0], flat[1:]).reshape(copies.shape[1:])


def callable_sides(
    function: Callable[..., Any], inputs: Named, params: Named, upstreams: Sequence[Upstream], *, keep: Keep | None = None
) -> dict[Of, NDArray[np.float64]]:
    """What each array is when comparisons of equal numbers fall either way, along a leading axis of the ways tried.

    Comparisons are turned where torch makes them one by one. Inside an operation that selects, such as a maximum over an axis,
    the numbers themselves decide: ties among them are broken by moving each by NUDGE of itself, in one order after another.
    """
    plain = _takes_plain(function, inputs, params, upstreams, 0)
    modes = [None, *(SingleDecisions(copy, ties=True) for copy in range(1, OTHERWISE + 1))]
    rng, size = np.random.default_rng(0), sum(value.numel() for value in (*inputs.values(), *params.values()))
    with _one_thread():
        found = [run(function, inputs, params, upstreams, mode=mode, wide=True, plain=plain, keep=keep) for mode in modes]
        for order in range(TIES if size <= FEW else OTHERWISE):
            given, own = ({name: _nudged(value, rng, order) for name, value in each.items()} for each in (inputs, params))
            found.append(run(function, given, own, upstreams, wide=True, plain=plain, keep=keep))
    stacked = {of: np.stack([each[of].double().numpy() for each in found]) for of in found[0]}
    return {of: _jumps_alone(array) for of, array in stacked.items()}


def _nudged(value: Tensor, rng: np.random.Generator, order: int) -> Tensor:
    """The numbers in float64, no two of them equal any more: rising, falling, and then in any order."""
    if not value.is_floating_point():
        return value
    ramp = np.linspace(-1, 1, value.numel()) * (-1.0 if order % 2 else 1.0)
    up = torch.from_numpy(ramp if order < 2 else rng.permutation(ramp)).view(value.shape)
    wide = value.detach().double()
    moved = wide + up * (NUDGE * wide.abs() + torch.finfo(torch.float64).tiny)
    return torch.where(wide.isfinite(), moved, wide).requires_grad_(value.requires_grad)


def _jumps_alone(ways: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same with the first way's number wherever another is none, or all only follow the nudge instead of going elsewhere."""
    ways = np.where(np.isfinite(ways), ways, ways[0])
    with np.errstate(all="ignore"):
        follows = np.ptp(ways, axis=0) <= np.sqrt(NUDGE) * np.abs(ways).max(axis=0)
    return np.where(follows, ways[0], ways)


def _takes_plain(function: Callable[..., Any], inputs: Named, params: Named, upstreams: Sequence[Upstream], seed: int) -> bool:
    """Whether torch's kernels can be taken apart here, or these arguments are not for the plain ones."""
    try:
        run(function, inputs, params, upstreams, wide=True, plain=True, seed=seed)
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False
    return True
