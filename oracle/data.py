"""Real data without a download: scikit-learn's bundled sets, each with a network that suits it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manualbp import (
    GELU,
    BCELoss,
    CrossEntropyLoss,
    Identity,
    LogSoftmax,
    MSELoss,
    Network,
    NLLLoss,
    ReLU,
    Sigmoid,
    Tanh,
    init,
)
from manualbp.blocks import Array
from oracle.case import FULL_DTYPES, Case, SpecError, parse_dtype, unknown
from oracle.inputs import generator

STEPS = 200
_STEP = "/step "


@dataclass(frozen=True)
class DataSet:
    """A data set, its network, the learning rate of plain gradient descent, and how its result is scored."""

    name: str
    network: Network
    alpha: float
    metric: str
    score: Callable[[Array, NDArray[Any]], float]
    steps: int = STEPS


def accuracy(output: Array, target: NDArray[Any]) -> float:
    """Share of the samples whose largest output is that of their class."""
    return float(np.mean(output.argmax(axis=0) == target))


def binary_accuracy(output: Array, target: NDArray[Any]) -> float:
    """Share of the samples whose probability is on the right side of 1/2."""
    return float(np.mean((output > 0.5) == (target > 0.5)))


def r2(output: Array, target: NDArray[Any]) -> float:
    """The coefficient of determination: 1 - (residual sum of squares) / (total sum of squares)."""
    return float(1 - np.sum((output - target) ** 2) / np.sum((target - target.mean()) ** 2))


DATA: dict[str, DataSet] = {
    data.name: data
    for data in (
        DataSet("digits", Network.dense((64, 32, 10), ReLU(), Identity(), CrossEntropyLoss()), 0.5, "accuracy", accuracy),
        DataSet("iris", Network.dense((4, 8, 5, 3), Tanh(), LogSoftmax(), NLLLoss()), 0.3, "accuracy", accuracy),
        DataSet(
            "breast_cancer",
            Network.dense((30, 12, 1), Sigmoid(), Sigmoid(), BCELoss()),
            0.5,
            "accuracy",
            binary_accuracy,
        ),
        DataSet("diabetes", Network.dense((10, 14, 1), GELU(), Identity(), MSELoss()), 0.1, "R2", r2),
    )
}


def is_data(text: str) -> bool:
    """True for the text of a real-data case, data/NAME/DTYPE, and of a step of its training."""
    return text.startswith("data/")


def step_name(text: str, step: int) -> str:
    """The case name of one step of a training."""
    return f"{text}{_STEP}{step}"


def without_step(name: str) -> str:
    """The data case that a step of a training belongs to; any other name as it is."""
    return name.partition(_STEP)[0]


def parse_data(text: str) -> tuple[DataSet, str]:
    """Read data/NAME/DTYPE. Raises SpecError for a name that does not exist."""
    parts = text.split("/")
    if len(parts) != 3:
        raise SpecError(f"a data case is written data/NAME/DTYPE, such as data/iris/float64; got {text!r}.")
    if parts[1] not in DATA:
        raise unknown("data set", parts[1], list(DATA))
    return DATA[parts[1]], parse_dtype(parts[2], FULL_DTYPES)


def data_names(names: list[str] | None = None, dtypes: list[str] | None = None) -> list[str]:
    """The data cases for these data sets and dtypes, all of them unless named."""
    return [f"data/{name}/{dtype}" for name in names or DATA for dtype in dtypes or FULL_DTYPES]


def load(text: str, seed: int = 0) -> tuple[DataSet, Case]:
    """The whole data set as one batch, features scaled to mean 0 and variance 1, with freshly drawn parameters."""
    from sklearn import datasets

    data, dtype = parse_data(text)
    bunch = getattr(datasets, f"load_{data.name}")()
    features, labels = bunch.data.T, bunch.target
    spread = features.std(axis=1, keepdims=True)
    x = (features - features.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    if np.issubdtype(labels.dtype, np.floating):  # a regression: scale the target likewise
        labels = (labels - labels.mean()) / labels.std()
    target = labels if data.network.loss.per_sample else labels[None, :].astype(dtype)
    params = init(data.network, generator(seed, data.name), dtype=dtype)
    return data, Case(text, data.network, params, x.astype(dtype), target)
