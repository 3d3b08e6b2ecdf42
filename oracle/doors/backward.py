"""The door for a NumPy pair of the course kind: `out, cache = forward(x, w, b)` and `dx, dw, db = backward(dout, cache)`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from oracle.doors.candidates import NumpyPair, name_of
from oracle.doors.function import MAX_ELEMENTS, cases, chosen
from oracle.doors.session import Session, checked_callable, checked_numbers, input_names

if TYPE_CHECKING:
    from manualbp.domains import Interval
    from oracle.report import Report


def check_backward(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    reference: Callable[..., Any],
    *inputs: Any,
    upstreams: int = 3,
    dtype: Any = None,
    seed: int = 0,
    regimes: Sequence[str] = (),
    domain: "str | Interval | None" = None,
    timeout: float = 60.0,
    max_elements: int = MAX_ELEMENTS,
    name: str = "",
) -> "Report":
    """Hold a pair of NumPy functions against a torch expression of the same, in the same layout.

    `forward(*inputs)` returns (output, cache), and `backward(upstream, cache)` the gradients: a tuple in the order of the inputs
    (those of labels may be left out), a dictionary with keys such as dx or x, or one array. Several outputs are a tuple.

    The other arguments are those of `oracle.check_function`; descriptions are drawn in float64. Raises DoorError where the call
    is wrong; what is wrong with the pair is in the report.
    """
    checked_callable(forward, "forward", "affine_forward")
    checked_callable(backward, "backward", "affine_backward")
    checked_callable(reference, "reference", "lambda x, w, b: x @ w + b")
    checked_numbers(seed, timeout, upstreams=upstreams, max_elements=max_elements)
    called = name or name_of(backward)
    session = Session(NumpyPair(forward, backward, called, timeout), reference, {}, upstreams, seed, max_elements)
    named = cases(
        inputs, input_names(len(inputs), forward, reference), regimes, domain, chosen(dtype), "float64", seed, {}, reference
    )
    return session.report(named, f"oracle.check_backward of {called}")
