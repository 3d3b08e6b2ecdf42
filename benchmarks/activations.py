"""How fast each activation is, forward and backward, against torch eager, one thread each.

    python benchmarks/activations.py [--quick] [--only Tanh GELU]

Every number is manualbp's processor time divided by torch's, both measured in turn in this process: the median over the
rounds. Torch's side is `a = module(x); a.backward(g)` with a fresh gradient of x each time.
"""

import os

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # set on some machines, and slow; both or none
    os.environ.pop(name, None)

import argparse
import time
from collections.abc import Callable, Iterable
from statistics import geometric_mean, median

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from manualbp import Activation, catalogue

#: Elements and rounds.
SIZES = [(10_000, 300), (1_000_000, 15)]
DTYPES = ("float32", "float64")
#: Rows of the input: features here, axis 1 in torch. Those that mix the features are measured with many as well, in rows of their
#: own below the means.
ROWS, MANY = 10, 1000
MIXING = ("LogSoftmax", "Softmax", "Softmin")


def contestants(record: Activation, rows: int, size: int, dtype: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """The two calls on the same numbers: manualbp's, torch's."""
    rng = np.random.default_rng(0)
    others = (*[1] * (record.extra_axes or 0), size // rows)
    x = (2 * rng.standard_normal((rows, *others))).astype(dtype)
    g = rng.standard_normal((record.rows_out(rows), *others)).astype(dtype)
    params = {name: np.full(shape, 0.3, dtype) for name, shape in record.parameter_shapes().items()}
    module = getattr(torch.nn, record.twin())(**record.twin_options()).to(getattr(torch, dtype))
    module.train(getattr(record, "training", False))
    torch_x = torch.from_numpy(np.moveaxis(x, -1, 0).copy()).requires_grad_()
    torch_g = torch.from_numpy(np.moveaxis(g, -1, 0).copy())

    def manual() -> None:
        _, residuals = record.forward(params, x)
        record.backward(params, residuals, g)

    def eager() -> None:
        torch_x.grad = None
        module.zero_grad(set_to_none=True)
        module(torch_x).backward(torch_g)

    return manual, eager


def ratio(calls: tuple[Callable[[], object], Callable[[], object]], rounds: int) -> float:
    """Median over the rounds of the first call's time divided by the second's, after a few rounds that do not count."""
    ratios = []
    for count in range(-3, rounds):
        clock = [time.process_time()]
        for call in calls:
            call()
            clock.append(time.process_time())
        if count >= 0:
            ratios.append((clock[1] - clock[0]) / (clock[2] - clock[1]))
    return median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds each, to see that it runs")
    parser.add_argument("--only", nargs="*", metavar="CLASS", help="these classes alone")
    options = parser.parse_args()
    torch.set_num_threads(1)

    classes = [cls for name, cls in catalogue(Activation).items() if name in (options.only or [name])]
    records = [record for cls in classes if hasattr(torch.nn, cls.twin()) for record in cls.examples(ROWS)]
    mixing = [cls() for cls in classes if cls.__name__ in MIXING]
    runs = [(size, 3 if options.quick else rounds, dtype) for size, rounds in SIZES for dtype in DTYPES]
    table = Table("activation", *(f"{size:.0e} {dtype}" for size, _, dtype in runs), title="manual / torch", box=None)

    def ratios(record: Activation, rows: int) -> list[float]:
        with np.errstate(all="ignore"):
            return [ratio(contestants(record, rows, size, dtype), rounds) for size, rounds, dtype in runs]

    def add(name: object, values: Iterable[float]) -> None:
        table.add_row(str(name), *(f"{value:.2f}" for value in values))

    every = {record: ratios(record, ROWS) for record in track(records, "measuring", console=Console(stderr=True), transient=True)}
    for record, found in every.items():
        add(record, found)
    columns = list(zip(*every.values(), strict=True))
    table.add_section()
    add("geometric mean", map(geometric_mean, columns))
    add("worst", map(max, columns))
    table.add_section()
    for record in mixing:
        add(f"{record} over {MANY} features", ratios(record, MANY))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
