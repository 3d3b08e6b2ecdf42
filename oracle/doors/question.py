"""Numbers at which candidate and reference are asked the same, and what the reference answers."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manualbp import Quantity
from oracle.case import DTYPES
from oracle.doors.errors import DoorError
from oracle.inputs import generator
from oracle.rounding import callables
from oracle.rounding.callables import (
    NOISY,
    CallableScales,
    Keep,
    NotATensorError,
    Of,
    Upstream,
    callable_scales,
    callable_sides,
    forward,
    random_from,
    run,
)
from oracle.roundoff import size, unit_roundoff
from oracle.twins import to_numpy

#: What a reference may raise where it is run in float64, with other numbers than its own or with torch's operations taken apart.
NOT_MEASURED = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError)

Array = NDArray[Any]
#: Copies of the inputs that are rounded, and by how much more for those that are moved further.
ROUNDED, FURTHER = 4, 16.0
#: Files in which a callable is called: a TypeError there says that it was not even entered.
CALLERS = (callables.__file__, torch.nn.modules.module.__file__)
Named = Mapping[str, Tensor]


def array_of(tensor: Tensor) -> Array:
    """A tensor's numbers, at this moment, as an array; whole numbers and truth values in float64."""
    return to_numpy(tensor).copy() if tensor.is_floating_point() else tensor.detach().numpy().astype(np.float64)


@dataclass(frozen=True)
class Question:
    """`case` names the numbers, `module` the function. What requires a gradient among inputs and parameters is asked for it.

    upstreams  for each way back the gradient of every output; None for those that are not real numbers
    keep       picks the elements of each array that are looked at, where not all of them are
    """

    case: str
    module: str
    reference: Callable[..., Any]
    inputs: Named
    params: Named
    upstreams: tuple[Upstream, ...] = ()
    seed: int = 0
    keep: Keep | None = None
    replicas: int = NOISY

    @property
    def modules(self) -> tuple[str, ...]:
        """What the positions of its quantities are called."""
        return (self.module,)

    @cached_property
    def answers(self) -> dict[Of, Tensor]:
        """The reference's own outputs and gradients, all of them."""
        return run(self.reference, self.inputs, self.params, self.upstreams, seed=self.seed)

    @cached_property
    def wanted(self) -> dict[Of, Array]:
        """What is looked at of them."""
        keep = self.keep or (lambda _, tensor: tensor)
        return {of: array_of(keep(of, tensor)) for of, tensor in self.answers.items()}

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The dtype whose rounding is measured: that of the first input, or parameter, that is differentiated."""
        first = next(value for value in (*self.inputs.values(), *self.params.values()) if value.requires_grad)
        return DTYPES[str(first.dtype).removeprefix("torch.")]

    @cached_property
    def scales(self) -> CallableScales:
        """The rounding scale of everything that is looked at. Raises DoorError where the reference fails in float64."""
        given = (self.reference, self.inputs, self.params, self.upstreams, self.wanted, self.dtype)
        try:
            return callable_scales(*given, keep=self.keep, replicas=self.replicas, seed=self.seed)
        except NOT_MEASURED as error:
            raise _not_measured(error) from error

    @cached_property
    def eased(self) -> dict[Of, NDArray[np.float64]]:
        """The scales; and where a number is smaller than what rounding the inputs does to it, that instead.

        As of a variance of equal numbers: what is left there depends on the order of the operations, and on nothing else. A
        gradient that is 0 everywhere, as behind a softmax over one class, has the rounding of an ordinary one.
        """
        unit, exact = unit_roundoff(self.dtype), self.scales.exact
        copies, further = ([self._rounded(each, copy) for copy in range(ROUNDED)] for each in (unit, FURTHER * unit))

        def furthest(of: Of, found: Sequence[dict[Of, Array]]) -> Array:
            with np.errstate(all="ignore"):
                moved = np.max([np.abs(copy[of] - exact[of]) for copy in found], axis=0)
            return np.where(np.isfinite(moved), moved, 0.0)

        up = max(size(array_of(each)) for upstream in self.upstreams for each in upstream if each is not None)
        out = max(size(array) for of, array in exact.items() if of.kind == "output")
        held = {**self.inputs, **self.params}
        found = {}
        for of, sigma in self.scales.sigma.items():
            moved = furthest(of, copies)
            jumps = furthest(of, further) < np.sqrt(FURTHER) * moved  # at a kink, which no rounding moves further
            found[of] = np.where((np.abs(exact[of]) <= moved) & ~jumps, np.maximum(sigma, moved), sigma)
            if of.kind == "gradient" and not exact[of].any():
                found[of] = np.maximum(found[of], unit * up * out / (min(size(array_of(held[of.name])), 1.0) or 1.0))
        return found

    def _rounded(self, unit: float, copy: int) -> dict[Of, Array]:
        """What the reference gives in float64 for numbers that are rounded, each up or down by so much of itself."""
        rng = generator(self.seed, f"rounded {copy}")

        def off(value: Tensor) -> Tensor:
            if not value.is_floating_point():
                return value
            signs = torch.from_numpy(rng.choice([-unit, unit], tuple(value.shape)))
            return (value.detach().double() * (1 + signs)).requires_grad_(value.requires_grad)

        inputs, params = ({name: off(value) for name, value in each.items()} for each in (self.inputs, self.params))
        upstreams = [tuple(None if each is None else off(each) for each in upstream) for upstream in self.upstreams]
        found = run(self.reference, inputs, params, upstreams, wide=True, keep=self.keep, seed=self.seed)
        return {of: value.double().numpy() for of, value in found.items()}

    @cached_property
    def sides(self) -> dict[Of, Array]:
        """What each array may be at a kink, along a leading axis. Raises DoorError as `scales` does."""
        try:
            return callable_sides(self.reference, self.inputs, self.params, self.upstreams, keep=self.keep)
        except NOT_MEASURED as error:
            raise _not_measured(error) from error

    @cached_property
    def size(self) -> int:
        """Elements of the largest array."""
        return max(tensor.numel() for tensor in (*self.inputs.values(), *self.params.values(), *self.answers.values()))

    def quantity(self, of: Of) -> Quantity:
        """The name of an output or gradient in a table."""
        outputs = sum(each.kind == "output" for each in self.answers)
        if of.kind == "output":
            name = "output" + f" {of.name}" * (outputs > 1)
            return Quantity(0, 1, name, name)
        name = f"dC/d{of.name}"
        return Quantity(0, 1, name, name + f", upstream gradient {of.upstream + 1}" * (len(self.upstreams) > 1))


def _not_measured(error: Exception) -> DoorError:
    first = str(error).partition("\n")[0]
    return DoorError(f"the reference raises {type(error).__name__} where its rounding is measured: {first}")


def ask(
    case: str,
    module: str,
    reference: Callable[..., Any],
    inputs: Named,
    params: Named,
    ways: int,
    seed: int,
) -> Question:
    """A question with so many random upstream gradients, the last of several the same number everywhere.

    Raises DoorError where the reference does not take these inputs.
    """
    shown = ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
    try:
        with random_from(seed), torch.enable_grad():
            outputs, leaves = forward(reference, inputs, params)
    except NotATensorError as error:
        raise DoorError(f"the reference is written in torch: {error}") from error
    except Exception as error:
        first = str(error).partition("\n")[0].strip().removesuffix(".")
        if isinstance(error, TypeError) and traceback.extract_tb(error.__traceback__)[-1].filename in CALLERS:
            raise DoorError(f"the reference takes other arguments than {shown}: {first}.") from error
        hint = "Do the shapes fit it?"
        if "dtype" in first:
            hint = "Do the dtypes fit? Real inputs and modules have that of dtype= where it is given."
        raise DoorError(f"the reference raises {type(error).__name__} for {shown}: {first}. {hint}") from error
    if not any(output.is_floating_point() for output in outputs):
        raise DoorError(f"the reference returns floating-point numbers; got {', '.join(str(out.dtype) for out in outputs)}.")
    if not any(output.requires_grad for output in outputs):
        raise DoorError(
            f"the reference is differentiable by autograd; no gradient flows from its output to {', '.join(leaves)}. "
            "Does it detach, go through NumPy, or compute under torch.no_grad()?"
        )
    rng = generator(seed, case)
    drawn = tuple(_upstream(outputs, rng, constant=ways > 1 and way == ways - 1) for way in range(ways))
    return Question(case, module, reference, inputs, params, drawn, seed)


def _upstream(outputs: Sequence[Tensor], rng: np.random.Generator, *, constant: bool) -> Upstream:
    """A random gradient for every output: two digits, so that it can be shown."""

    def draw(output: Tensor) -> Tensor:
        shape = () if constant else tuple(output.shape)
        drawn = torch.from_numpy(np.asarray(rng.random(shape, dtype=np.float32))).sub_(0.5)
        numbers = drawn.mul_(3.4).add_(drawn.sign().mul_(0.3))  # from 0.3 to 2, of both signs
        return numbers.mul_(100).round_().to(output.dtype).div_(100).expand(output.shape).contiguous()

    return tuple(draw(output) if output.is_floating_point() else None for output in outputs)


def checked_dtype(tensor: Tensor, name: str) -> None:
    """Raise DoorError unless numbers of this dtype are compared."""
    known = [getattr(torch, each) for each in DTYPES]
    if tensor.is_floating_point() and tensor.dtype not in known:
        raise DoorError(f"{name} takes one of {', '.join(DTYPES)}; got {tensor.dtype}. Convert it.")
    if tensor.is_complex():
        raise DoorError(f"{name} takes real numbers; got {tensor.dtype}. Pass real and imaginary part as two inputs.")
