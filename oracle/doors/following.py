"""The operations of a reference, seen as it runs: what each is called, how it goes back, and how it would otherwise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from oracle.doors.composites import in_parts
from oracle.rounding.operations import names

#: A longer expression is cut.
LONG = 60
#: What moves numbers and computes none: what is left out there is left out before or behind it too.
MOVES = names("""
    T mT H view view_as reshape transpose permute movedim swapaxes t squeeze unsqueeze flatten unflatten expand expand_as
    contiguous clone to type double float half getitem detach requires_grad
""")
#: How tightly an operation binds that is written between its operands, and how it is written.
INFIX = {
    "add": (1, "+"),
    "sub": (1, "-"),
    "mul": (2, "*"),
    "div": (2, "/"),
    "truediv": (2, "/"),
    "matmul": (2, "@"),
    "mm": (2, "@"),
    "pow": (3, "**"),
}
_ATOM = 4


class Label(NamedTuple):
    """What a tensor is called: the expression that made it, and how tightly that binds."""

    text: str
    binds: int = _ATOM

    def within(self, binds: int) -> str:
        """The text as an operand of something that binds so tightly."""
        text = self.text if len(self.text) < LONG / 2 else "..."
        return f"({text})" if self.binds < binds and text != "..." else text


class Made(NamedTuple):
    """A result of the reference: what it is called, and what it was before the operation that kept its shape."""

    tensor: Tensor
    label: Label
    front: "Made | None" = None


@dataclass(frozen=True)
class Operation:
    """One operation of a reference, as it ran: `function` of its operands alone gives `result`.

    `upstreams` gets, on the way back, what comes from behind to the results of all operations, by their number.
    """

    number: int
    label: Label
    function: Callable[..., Tensor]
    operands: tuple[Made, ...]
    result: Tensor
    upstreams: dict[int, tuple[Label, Tensor]]

    @property
    def unary(self) -> bool:
        """One operand of the result's shape: an activation, a square, an exponential."""
        return len(self.operands) == 1 and self.operands[0].tensor.shape == self.result.shape

    def back(self, upstream: Tensor, instead: Mapping[int, Tensor] | None = None) -> list[Tensor]:
        """The right gradients of the operands; or those that are right for other operands in the place of some."""
        given = [(instead or {}).get(at, each.tensor) for at, each in enumerate(self.operands)]
        with torch.enable_grad():
            leaves = [each.detach().requires_grad_() for each in given]
            return list(torch.autograd.grad(self.function(*leaves), leaves, upstream, materialize_grads=True))

    def other(self, at: int) -> Made | None:
        """The other one of two operands."""
        return self.operands[1 - at] if len(self.operands) == 2 else None

    def later(self, upstream: Tensor) -> tuple[Label, Tensor] | None:
        """What comes from behind to the next operation that gets something else, of the same shape."""
        for number in sorted(self.upstreams):
            label, other = self.upstreams[number]
            if number > self.number and other.shape == upstream.shape and not torch.equal(other, upstream):
                return label, other
        return None


#: What an operation gives its operands for an upstream gradient, in place of what is right.
Spoilt = Callable[[Operation, Tensor], list[Tensor]]


class _Spoilt(torch.autograd.Function):
    """The result of an operation that goes back otherwise."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, operation: Operation, back: Spoilt, *_operands: Tensor) -> Tensor:
        ctx.back = operation, back
        return result.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        operation, back = ctx.back
        return None, None, None, *back(operation, upstream)


class Following(TorchFunctionMode):
    """Follows a reference on its way forward: numbers its operations, and lets those in `spoilt` go back as it says there.

    `held` are the inputs and parameters by name.
    """

    def __init__(self, held: Mapping[str, Tensor], spoilt: Mapping[int, Spoilt]) -> None:
        super().__init__()
        self.held, self.spoilt, self.count = held, spoilt, 0
        self.operations: list[Operation] = []
        self.made: list[Made] = []
        self.upstreams: dict[int, tuple[Label, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        number, self.count, kwargs = self.count, self.count + 1, kwargs or {}
        leaves, form = tree_flatten((args, kwargs))
        places = [at for at, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        parts, found = in_parts(func) if places else None, None
        if parts is not None:
            with self:  # also where it goes back otherwise as a whole: what comes after it keeps its number
                found = parts(*args, **kwargs)
        found = func(*args, **kwargs) if found is None or number in self.spoilt else found
        if not (places and isinstance(found, Tensor) and found.is_floating_point() and found.requires_grad):
            return found
        name, operands = _name(func), tuple(self._known(leaves[at]) for at in places)
        label = _written(name, [self._known(leaf).label if isinstance(leaf, Tensor) else leaf for leaf in leaves])
        picks = name == "getitem" and any(isinstance(leaf, Tensor) and not leaf.requires_grad for leaf in leaves)
        if picks or name not in MOVES:

            def again(*given: Tensor) -> Any:
                filled = list(leaves)
                for at, each in zip(places, given, strict=True):
                    filled[at] = each
                positional, named = tree_unflatten(filled, form)
                return func(*positional, **named)

            self.operations.append(Operation(number, label, again, operands, found.detach(), self.upstreams))
            if number in self.spoilt:
                given = (each.tensor for each in operands)
                found = _Spoilt.apply(found.detach(), self.operations[-1], self.spoilt[number], *given)  # type: ignore[no-untyped-call]

            def met(upstream: Tensor) -> None:
                self.upstreams[number] = label, upstream

            found.register_hook(met)
        same = len(operands) == 1 and operands[0].tensor.shape == found.shape
        self.made.append(Made(found, label, operands[0] if same else None))
        return found

    def _known(self, tensor: Tensor) -> Made:
        for each in self.made:
            if each.tensor is tensor:
                return each
        wide = tensor.detach().double()
        name = next((name for name, value in self.held.items() if torch.equal(value.detach().double(), wide)), "...")
        return Made(tensor, Label(name))


def _name(func: Any) -> str:
    """The name of a function, method or property."""
    own: str = getattr(func, "__name__", "operation")
    own = own if own != "__get__" else getattr(getattr(func, "__self__", None), "__name__", own)
    return own.strip("_")


def _written(name: str, given: Sequence[Any]) -> Label:
    """An operation as a reader would write it."""
    numbers = [Label(f"{each:.4g}") if isinstance(each, int | float) else each for each in given]
    labels = [each for each in numbers if isinstance(each, Label)]
    if name[:1] == "r" and name[1:] in INFIX:
        name, labels = name[1:], labels[::-1]
    if name in INFIX and len(labels) == 2:
        binds, sign = INFIX[name]
        first, second = labels
        return Label(f"{first.within(binds)} {sign} {second.within(binds + 1)}", binds)
    tensors = [each.text for each in given if isinstance(each, Label)]
    if name in MOVES and len(tensors) == 1:
        return Label(f"{labels[0].within(_ATOM)}.{name}" if len(labels) == 1 else f"{labels[0].within(_ATOM)}.{name}(..)")
    text = ", ".join(tensors)
    return Label(f"{name}({text if len(text) < LONG / 2 else '...'})")
