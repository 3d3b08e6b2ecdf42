"""The pictures of a report, as SVG that takes its colour from the page around it."""

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from oracle.tables import END_TO_END, LAYERWISE

if TYPE_CHECKING:
    from oracle.report.model import Report

#: Stands for the page's text colour inside matplotlib, and is replaced in the finished picture.
_INK = "#010203"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "oracle",  # the same table gives the same bytes
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}
_COLOURS = {"float64": "#3b7dd8", "float32": "#d9822b", "float16": "#4f9d69", "bfloat16": "#9b59b6"}
_QUANTITIES = ("z", "a", "loss", "dC/da", "delta", "dC/dW", "dC/db", "dC/dx")


def _svg(figure: Figure, label: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    picture = out.getvalue()
    picture = picture[picture.index("<svg") :].replace(_INK, "currentColor")
    return picture.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _heatmap(axes: Any, grid: pd.DataFrame, title: str) -> None:
    """Cells coloured by how much of the allowance is used, each with its number; an outline marks what fails."""
    values = grid.to_numpy(dtype=float)
    shown, crowded = np.clip(values, 0, 1), values.shape[1] > 12
    axes.imshow(shown, cmap="YlOrRd", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(grid.columns)), grid.columns, rotation=35, ha="right")
    axes.set_yticks(range(len(grid.index)), grid.index)
    axes.set_title(title, loc="left")
    axes.tick_params(length=0)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        fails = not value <= 1
        text = "fails" if np.isinf(value) else f"{value:.2f}" if value < 10 else f"{value:.0e}"
        axes.text(
            column, row, text.removeprefix("0") if crowded else text, ha="center", va="center", fontsize=5 if crowded else 7,
            color="#ffffff" if value > 0.6 else "#222222", fontweight="bold" if fails else "normal",
        )  # fmt: skip
        if fails:
            axes.add_patch(mpl.patches.Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, lw=2, ec="#222222"))


def _worst(report: "Report", table: pd.DataFrame) -> pd.Series:
    """The margin of each row; one that failed without a number is infinitely far, one that is settled otherwise counts as 0."""
    fails, agrees = table["verdict"].isin(report.fails), table["verdict"] == "agree"
    return table["margin"].fillna(np.inf).where(fails, table["margin"].fillna(0.0).where(agrees, 0.0))


def activation_by_loss(report: "Report") -> str:
    """Worst share of the allowance over all networks that contain the activation and end in the loss."""
    table = report.table
    margins = _worst(report, table).groupby(table["case"], observed=True).max()
    cells = [
        (type(activation).__name__, type(spec.loss).__name__, margins[name])
        for name, spec in report.specs.items()
        for activation in {spec.hidden, spec.output}
    ]
    if not cells:
        return ""
    frame = pd.DataFrame(cells, columns=["activation", "loss", "margin"])
    grid = frame.pivot_table(index="activation", columns="loss", values="margin", aggfunc="max")
    figure = Figure(figsize=(8.6, 0.9 + 0.28 * len(grid)))
    _heatmap(figure.subplots(), grid, "Worst discrepancy, as a share of what is allowed")
    return _svg(figure, "Heatmap of activation by loss: worst discrepancy as a share of the allowance")


def layer_by_quantity(report: "Report") -> str:
    """Worst share of the allowance by layer and quantity, end to end and layerwise side by side."""
    table = report.table
    kinds = [kind for kind in (END_TO_END, LAYERWISE) if (table["comparison"] == kind).any()]
    if not kinds:
        return ""
    layers = table["layer"].nunique()
    figure = Figure(figsize=(8.6, 1.1 + 0.28 * layers))
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        part = table[table["comparison"] == kind]
        grid = (
            pd.DataFrame({"layer": part["layer"], "quantity": part["quantity"].astype(str), "margin": _worst(report, part)})
            .pivot_table(index="layer", columns="quantity", values="margin", aggfunc="max")
            .reindex(columns=[name for name in _QUANTITIES if name in set(part["quantity"])])
        )
        grid.index = pd.Index([f"layer {layer}" for layer in grid.index])
        _heatmap(axes, grid, kind)
    figure.tight_layout()
    return _svg(figure, "Heatmaps of layer by quantity, end to end and layerwise")


def ulp_histogram(report: "Report") -> str:
    """How many arrays have their worst element so many ulps away."""
    table = report.table[report.table["max_ulp"].notna()]
    if table.empty:
        return ""
    edges = np.concatenate([[-0.5], np.arange(0, 1 + np.ceil(np.log2(1 + table["max_ulp"].max())))])
    labels = ["0", *(f"{2 ** int(e)}" if e < 5 else f"$2^{{{int(e)}}}$" for e in edges[1:-1])]
    figure = Figure(figsize=(8.6, 2.6))
    axes = figure.subplots()
    by_dtype = list(table.groupby("dtype", observed=True))
    width = 0.8 / len(by_dtype)
    for offset, (dtype, part) in enumerate(by_dtype):
        ulps = part["max_ulp"].to_numpy()
        heights = np.histogram(np.where(ulps == 0, -0.25, np.log2(np.maximum(ulps, 1))), edges)[0]
        at = np.arange(len(heights)) + width * (offset - (len(by_dtype) - 1) / 2)
        axes.bar(at, heights, width=width, label=dtype, color=_COLOURS.get(str(dtype)))
    axes.set_yscale("log")
    axes.set_xticks(range(len(labels)), [label if at % (1 + len(labels) // 16) == 0 else "" for at, label in enumerate(labels)])
    axes.set_xlabel("ulps between hand and autograd at the worst element (from this number to below the next)")
    axes.set_ylabel("arrays")
    axes.legend(frameon=False)
    return _svg(figure, "Histogram of the worst discrepancy of each array in ulps")


def training_curves(report: "Report") -> str:
    """Each data set: both loss curves on top of each other, and their difference below."""
    curves = list(report.curves)
    if not curves:
        return ""
    names = list(dict.fromkeys(curve.data for curve in curves))
    figure = Figure(figsize=(8.6, 3.8))
    grid = figure.subplots(2, len(names), squeeze=False, sharex=True, height_ratios=(2, 1))
    for column, name in enumerate(names):
        above, below = grid[:, column]
        for curve in (curve for curve in curves if curve.data == name):
            steps, colour = np.arange(curve.steps + 1), _COLOURS.get(curve.dtype)
            difference = np.abs(np.subtract(curve.manual_loss, curve.torch_loss))
            above.plot(steps, curve.manual_loss, color=colour, lw=4, alpha=0.35, label=f"by hand, {curve.dtype}")
            above.plot(steps, curve.torch_loss, color=colour, lw=1, ls="--", label=f"torch, {curve.dtype}")
            below.plot(steps, np.where(difference > 0, difference, np.nan), ".", ms=2, color=colour)
        above.set_title(name.replace("_", " "), loc="left")
        differences = [abs(a - b) for curve in curves for a, b in zip(curve.manual_loss, curve.torch_loss, strict=True)]
        below.set_yscale("log")
        below.set_ylim(1e-18, 10 * max([1e-6, *(value for value in differences if np.isfinite(value))]))
        below.set_xlabel("step")
    grid[0, 0].set_ylabel("loss")
    grid[1, 0].set_ylabel("|difference|")
    labelled = {label: line for axes in grid[0] for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    grid[0, -1].legend(labelled.values(), labelled, frameon=False, fontsize=7)
    figure.tight_layout()
    return _svg(figure, "Training curves by hand and by torch, and their difference at each step")


def pictures(report: "Report") -> dict[str, str]:
    """All pictures by name; one that has nothing to show is empty."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # the stub wants the literal names of all options
        return {make.__name__: make(report) for make in (activation_by_loss, layer_by_quantity, ulp_histogram, training_curves)}
