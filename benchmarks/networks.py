"""How fast the hand-written pass is, as ratios measured side by side in one process, one thread each.

    python benchmarks/networks.py [--quick] [--activation Tanh] [--loss CrossEntropyLoss]

manual / torch       forward and backward by manualbp against torch eager, both with the gradient of the input
manual / products    against the bare matrix products of the same sizes, three for each layer, and nothing else
products / torch     how low the first ratio could go with NumPy's BLAS if everything but the products were free

Each round runs the three one after the other; a ratio is the median over the rounds.
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # set on some machines, and slow; both or none
    os.environ.pop(name, None)

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from manualbp import Activation, Identity, Loss, Network, backpropagate, init
from oracle.case import parse_record
from oracle.twins import twin
from oracle.workers import one_thread

#: Widths, batch, rounds.
SIZES = [
    ((3, 3, 3), 1, 2000),
    ((4, 8, 8, 3), 16, 2000),
    ((64, 64, 64, 10), 64, 500),
    ((784, 256, 128, 10), 128, 60),
    ((1024, 1024, 1024, 1024, 1024), 256, 9),
]


def contestants(network: Network, batch: int, dtype: str) -> dict[str, Callable[[], object]]:
    """The three calls on the same numbers: manual, torch, products."""
    rng = np.random.default_rng(0)
    params = init(network, rng, dtype=dtype)
    linear = [own["weight"] for own in params if own]
    widths = [linear[0].shape[1], *(weight.shape[0] for weight in linear)]
    x = rng.standard_normal((widths[0], batch)).astype(dtype)
    target = network.loss.target_domain.sample(rng, (widths[-1], batch), np.dtype(dtype))
    values = [rng.standard_normal((width, batch)).astype(dtype) for width in widths]

    model = torch.nn.Sequential(*(_module(layer, own) for layer, own in zip(network.layers, params, strict=True)))
    torch_loss = twin(network.loss)
    torch_x = torch.from_numpy(np.ascontiguousarray(x.T)).requires_grad_()
    torch_target = torch.from_numpy(np.ascontiguousarray(np.moveaxis(target, -1, 0)))

    def eager() -> None:
        model.zero_grad(set_to_none=True)
        torch_x.grad = None
        torch_loss(model(torch_x), torch_target).backward()

    def products() -> None:
        for weight, a in zip(linear, values, strict=False):
            weight @ a
        for weight, (a, delta) in zip(reversed(linear), reversed(list(pairwise(values))), strict=True):
            delta @ a.T
            weight.T @ delta

    return {"manual": lambda: backpropagate(network, params, x, target), "torch": eager, "products": products}


def _module(layer: object, own: dict[str, np.ndarray]) -> torch.nn.Module:
    if not own:
        return twin(layer)
    module = getattr(torch.nn, layer.twin())(**layer.twin_options())  # type: ignore[attr-defined]
    for name, value in own.items():
        setattr(module, name, torch.nn.Parameter(torch.from_numpy(value.copy())))
    return module


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, after a few rounds that do not count."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for count in range(-3, rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if count >= 0:
                spent[name].append(time.perf_counter() - begin)
    return spent


def ratio(spent: dict[str, list[float]], above: str, below: str) -> float:
    """Median over the rounds of one call's time divided by another's in the same round."""
    return median(a / b for a, b in zip(spent[above], spent[below], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds each, to see that it runs")
    parser.add_argument("--activation", default="Tanh", help="hidden activation")
    parser.add_argument("--loss", default="CrossEntropyLoss")
    options = parser.parse_args()
    hidden, loss = parse_record(options.activation, Activation), parse_record(options.loss, Loss)
    one_thread()

    columns = ("manual / torch", "manual / products", "products / torch")
    table = Table("network", "batch", "dtype", *columns, title=f"{hidden}, {loss}, one thread", box=None)
    runs = [(size, dtype) for size in SIZES for dtype in ("float32", "float64")]
    for (widths, batch, rounds), dtype in track(runs, "measuring", console=Console(stderr=True), transient=True):
        network = Network.dense(widths, hidden, Identity(), loss)
        spent = measure(contestants(network, batch, dtype), 3 if options.quick else rounds)
        ratios = (ratio(spent, *column.split(" / ")) for column in columns)
        table.add_row("-".join(map(str, widths)), str(batch), dtype, *(f"{value:.2f}" for value in ratios))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
