"""The cases of a network's check: what is given is taken, the rest is drawn; with numbers of our own also degenerate shapes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manualbp import Activation, Layer, Linear, Loss, Network, init
from manualbp.domains import Domain
from oracle.case import DTYPES, Case
from oracle.check import check
from oracle.doors.errors import DoorError
from oracle.doors.forms import Form, as_array
from oracle.doors.reading import Reader
from oracle.inputs import GAIN, SPREAD, generator

#: torch's default for the label that is ignored.
IGNORED = -100
#: The batch is the first of these sizes that no width of the network has.
BATCHES = (7, 6, 8, 9, 11, 13)


@dataclass(frozen=True)
class Setup:
    """A network and what is known of its numbers, as manualbp keeps them; None where they are to be drawn.

    `structure` is what the caller gave as params, and the candidate gets back; `like` is what they gave as x and y.
    """

    form: Form
    name: str
    seed: int
    dtype: str
    params: tuple[dict[str, Any], ...] | None = None
    structure: Any = None
    x: Any = None
    y: Any = None
    like: tuple[Any, Any] = (None, None)

    def handed(self, which: int, array: Any) -> Any:
        """An array of the candidate's layout as input (0) or target (1) was given: a tensor, a list, or an array."""
        given = self.like[which]
        if isinstance(given, list | tuple):
            return array.tolist()
        if type(given).__module__.partition(".")[0] == "torch":
            from oracle.twins import parameter

            return parameter(array)
        return array

    @property
    def network(self) -> Network:
        return self.form.network

    def cases(self, *, degenerate: bool) -> Iterator[Case]:
        """What is compared; without an input, one sample as well, and without parameters one node in every hidden layer."""
        if self.x is not None:
            yield self._case(self.network, self.x)
            return
        rows = next((layer.in_features for layer in self.network.layers if isinstance(layer, Linear)), 0)
        if not rows or not isinstance(self.network.layers[0], Linear):
            raise DoorError("a network that does not begin with a Linear layer takes any number of features: pass x.")
        widths = {rows, *(layer.out_features for layer in self.network.layers if isinstance(layer, Linear))}
        batch = next((size for size in BATCHES if size not in widths), BATCHES[-1])
        extra = (2, 3)[: max(record.extra_axes or 0 for record in (*self.network.layers, self.network.loss))]
        tried = [(self.network, batch)]
        if degenerate:
            tried.append((self.network, 1))
            slim = narrow(self.network) if self.params is None else None
            tried += [(slim, batch)] if slim and slim != self.network else []
        for network, samples in tried:
            yield self._case(network, (rows, *extra, samples))

    def _case(self, network: Network, x: Any) -> Case:
        """A case with this input, or one drawn of this shape."""
        shape = x if isinstance(x, tuple) else x.shape
        name = f"{self.name}/{'-'.join(map(str, _widths(network, shape[0])))}x{'x'.join(map(str, shape[1:]))}"
        rng, dtype = generator(self.seed, name), DTYPES[self.dtype]
        params = init(network, rng, dtype=dtype, gain=GAIN) if self.params is None else self.params
        if isinstance(x, tuple):
            x = (SPREAD * rng.standard_normal(shape)).astype(dtype)
        target = self.y
        try:
            if target is None:
                target = _plain_domain(network.loss).sample(rng, network.loss.target_shape(network.output_shape(shape)), dtype)
            case = Case(name, network, params, x, target)
            check(case)
        except (TypeError, ValueError) as error:
            raise DoorError(f"the arguments do not fit the network: {error}") from error
        return case


def _plain_domain(loss: Loss) -> Domain:
    """Where targets come from: the first of several kinds, and none that is ignored unless somebody asked for it."""
    domain: Any = loss.target_domain
    (domain, *_) = getattr(domain, "kinds", (domain,))
    return replace(domain, ignore_index=None) if getattr(domain, "ignore_index", None) == IGNORED else domain


def _widths(network: Network, rows: int) -> Iterator[int]:
    yield rows
    yield from (layer.out_features for layer in network.layers if isinstance(layer, Linear))


def narrow(network: Network) -> Network | None:
    """The same network with as few nodes as can be in every hidden layer; None where there is no such network."""
    linear = [at for at, layer in enumerate(network.layers) if isinstance(layer, Linear)]
    layers: list[Layer] = list(network.layers)
    rows = 1
    for here, behind in zip(reversed(linear[:-1]), reversed(linear[1:]), strict=True):
        rows = 1
        between = [layer for layer in layers[here + 1 : behind] if isinstance(layer, Activation)]
        layers[behind] = replace(layers[behind], in_features=1)  # type: ignore[type-var]
        for layer in reversed(between):
            rows = layer.rows_in(rows)
        layers[here] = replace(layers[here], out_features=rows)  # type: ignore[type-var]
        for at, layer in enumerate(between, here + 1):
            layers[at] = layer.fitted(rows)
            rows = layers[at].rows_out(rows)
    try:
        return Network(tuple(layers), network.loss)
    except ValueError:
        return None


def setup(
    network: Any,
    params: Any,
    x: Any,
    y: Any,
    loss: Any,
    layout: str,
    transposed: bool,
    bias: str,
    dtype: str,
    seed: int,
    name: str,
) -> Setup:
    """All that `check_network` is told, checked. Raises DoorError where it does not fit together."""
    if isinstance(network, Network):
        if loss is not None:
            raise DoorError(f"a manualbp.Network holds its loss, {network.loss}; got loss={loss} besides. Leave it out.")
        form = Form(network, layout or "columns", transposed, bias)
        own = None if params is None else Reader(form).parameters(params)
    else:
        form, own, params = _of_torch(network, params, loss, layout, transposed, bias)
    if form.network.loss.reduction == "none":
        raise DoorError(f"check_network takes a loss that is one number; got {form.network.loss}. Say reduction='sum'.")
    if y is not None and x is None:
        raise DoorError("a target belongs to an input: pass x with y, or neither.")
    given, target = (_data(form, what, array) for what, array in (("x", x), ("y", y)))
    held = [given, *(array for each in own or () for array in each.values())]
    dtypes = {str(array.dtype) for array in held if array is not None} | ({dtype} if dtype else set())
    if len(dtypes) > 1:
        raise DoorError(f"x, params and dtype= take one dtype; got {', '.join(sorted(dtypes))}. Convert one of them.")
    chosen = next(iter(dtypes), "float64")
    if chosen not in DTYPES:
        raise DoorError(f"x and params take one of {', '.join(DTYPES)}; got {chosen}. Convert them: np.asarray(x, np.float64).")
    return Setup(form, name, seed, chosen, own, params, given, target, (x, y))


def _of_torch(
    model: Any, params: Any, loss: Any, layout: str, transposed: bool, bias: str
) -> tuple[Form, tuple[dict[str, Any], ...], Any]:
    import torch

    from oracle.doors.described import described

    if not isinstance(model, torch.nn.Module):
        raise DoorError(
            f"network takes a manualbp.Network, or a torch.nn.Sequential with loss=; got {type(model).__name__}. "
            "For example manualbp.Network.dense((4, 5, 3), Tanh(), Identity(), MSELoss())."
        )
    network, own = described(model, loss)
    form = Form(network, layout or "rows", transposed, bias)
    if params is not None:
        return form, Reader(form).parameters(params), params
    return form, tuple({name: as_array(value) for name, value in each.items()} for each in own), None


def _data(form: Form, what: str, given: Any) -> Any:
    """An input or target in manualbp's layout."""
    if given is None:
        return None
    array = as_array(given)
    if array is None:
        raise DoorError(f"{what} takes an array of numbers; got {type(given).__name__}.")
    return np.ascontiguousarray(form.data_in(array))
