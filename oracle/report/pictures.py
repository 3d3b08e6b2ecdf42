"""The pictures of a report, as SVG that takes its colour from the page around it; each with a caption that says what to see."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from oracle.tables import END_TO_END
from oracle.verdict import TOLERANCE, Verdict

if TYPE_CHECKING:
    from oracle.report.model import Report


class Picture(NamedTuple):
    """A picture with its title, what to see in it, and the name that the page knows it by."""

    name: str
    title: str
    caption: str
    svg: str


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
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}
_COLOURS = {"float64": "#3b7dd8", "float32": "#d9822b", "float16": "#4f9d69", "bfloat16": "#9b59b6"}
_MARKERS = {"float64": "o", "float32": "s", "float16": "^", "bfloat16": "D"}
_WIDE = 8.6


def _svg(figure: Figure, label: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    picture = out.getvalue()
    picture = picture[picture.index("<svg") :].replace(_INK, "currentColor")
    return picture.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _by_dtype(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for dtype, part in table.groupby("dtype", observed=True):
        yield str(dtype), part


def _bars(axes: Any, counts: dict[str, NDArray[Any]], labels: list[str]) -> None:
    """How many arrays of each dtype are in each bin, side by side."""
    width = 0.8 / len(counts)
    for offset, (dtype, heights) in enumerate(counts.items()):
        at = np.arange(len(heights)) + width * (offset - (len(counts) - 1) / 2)
        axes.bar(at, heights, width=width, label=dtype, color=_COLOURS.get(dtype))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.set_xticks(range(len(labels)), [label if at % (1 + len(labels) // 16) == 0 else "" for at, label in enumerate(labels)])
    axes.set_ylabel("arrays")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(counts), fontsize=8)


#: Upper ends of the bins in sigmas; the first holds what is equal to the last bit, the last what is beyond the allowance.
_SIGMAS = (0.0, *(2.0**power for power in range(-5, int(np.log2(TOLERANCE)) + 1)), np.inf)


def sigma_histogram(report: "Report") -> Picture | None:
    """How many arrays have their worst element so many sigmas away; what the referee or a kink settles is left out."""
    settled = [verdict for verdict in (Verdict.REFERENCE, Verdict.KINK) if verdict not in report.fails]
    table = report.table[report.table["sigmas"].notna() & ~report.table["verdict"].isin(settled)]
    if table.empty:
        return None
    sigmas = table["sigmas"].to_numpy(float)
    counts = {
        dtype: np.bincount(np.searchsorted(_SIGMAS, part["sigmas"].to_numpy(float)), minlength=len(_SIGMAS))
        for dtype, part in _by_dtype(table)
    }
    labels = ["0", *(f"{end:g}" if end >= 1 else f"1/{1 / end:g}" for end in _SIGMAS[1:-1]), "more"]
    figure = Figure(figsize=(_WIDE, 2.6))
    axes = figure.subplots()
    _bars(axes, counts, labels)
    axes.axvline(len(labels) - 1.5, color=_INK, lw=1, ls=":")
    axes.set_xlabel("sigmas at the worst element of each array, up to (dotted: what is allowed)")
    beyond = int((sigmas > TOLERANCE).sum())
    caption = (
        f"{100 * np.mean(sigmas == 0):.0f} % of the arrays are equal to the last bit, {100 * np.mean(sigmas <= 2):.3g} % are "
        f"within 2 sigmas; {beyond:,} of {len(sigmas):,} are beyond the {TOLERANCE:g} allowed. A right gradient has its arrays "
        "around one sigma and none beyond the dotted line."
    )
    return Picture(
        "sigma_histogram", "Error over sigma", caption, _svg(figure, "Histogram of the worst error of each array in sigmas")
    )


def depth_and_width(report: "Report") -> Picture | None:
    """The errors of the drawn networks, end to end, against how deep and how wide they are."""
    sizes = pd.DataFrame(
        {
            name: (len(spec.shape.widths) - 1, max(spec.shape.widths))
            for name, spec in report.specs.items()
        },
        index=["depth", "width"],
    ).T  # fmt: skip
    if sizes.empty:
        return None
    table = report.table[(report.table["verdict"] == Verdict.AGREE) & (report.table["comparison"] == END_TO_END)]
    table = table.join(sizes, on="case", how="inner")
    if table.empty or all(table[size].nunique() < 2 for size in sizes):
        return None
    figure = Figure(figsize=(_WIDE, 2.8))
    for axes, (size, label) in zip(
        figure.subplots(1, 2, sharey=True), {"depth": "layers", "width": "nodes of the widest layer"}.items(), strict=True
    ):
        for dtype, part in _by_dtype(table):
            found = part.groupby(size)["sigmas"].quantile(np.array([0.5, 1.0])).unstack()
            look = {"color": _COLOURS.get(dtype), "marker": _MARKERS.get(dtype, "o"), "ms": 4}
            axes.plot(found.index, found[1.0], lw=1, label=f"{dtype}, worst", **look)
            axes.plot(found.index, found[0.5], lw=1, ls=":", label=f"{dtype}, median", **look, mfc="none")
        axes.axhline(TOLERANCE, color=_INK, lw=1, ls="--")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
        axes.set_title(f"against {size}", loc="left")
        axes.set_xlabel(label)
    figure.axes[0].set_ylabel("sigmas, end to end")
    figure.axes[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    caption = (
        "Each array that agrees, end to end, by the size of its network; dashed: what is allowed. Sigma is measured for each "
        "element of each network, so that one limit serves all sizes: a line that climbs with the size of the networks would say "
        "that errors grow faster than rounding does."
    )
    return Picture("depth_and_width", "Error against depth and width", caption, _svg(figure, "Sigmas against depth and width"))


def ulp_histogram(report: "Report") -> Picture | None:
    """How many arrays have their worst element so many ulps away."""
    table = report.table[report.table["max_ulp"].notna()]
    if table.empty:
        return None
    most = int(np.ceil(np.log2(1 + table["max_ulp"].max())))
    step = 1 + most // 24
    edges = np.array([-0.5, *range(0, most + step, step)])
    labels = ["0", *(f"{2 ** int(e)}" if e < 5 else f"$2^{{{int(e)}}}$" for e in edges[1:-1])]

    def binned(ulps: NDArray[Any]) -> NDArray[Any]:
        return np.histogram(np.where(ulps == 0, -0.25, np.log2(np.maximum(ulps, 1))), edges)[0]

    figure = Figure(figsize=(_WIDE, 2.6))
    axes = figure.subplots()
    _bars(axes, {dtype: binned(part["max_ulp"].to_numpy()) for dtype, part in _by_dtype(table)}, labels)
    axes.set_xlabel("ulps between hand and autograd at the worst element (from this number to below that of the next bars)")
    caption = (
        "An ulp is the step from one floating-point number to the next. Many ulps at one element are no error where large terms "
        "cancelled: the verdict measures against what rounding can do to that element."
    )
    return Picture(
        "ulp_histogram", "Difference in ulps", caption, _svg(figure, "Histogram of the worst difference of each array in ulps")
    )


def training_curves(report: "Report") -> Picture | None:
    """Each data set: both loss curves on top of each other, and their difference below."""
    curves = list(report.curves)
    if not curves:
        return None
    names = list(dict.fromkeys(curve.data for curve in curves))
    figure = Figure(figsize=(_WIDE, 3.8))
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
    grid[0, -1].legend(labelled.values(), labelled, fontsize=7)
    figure.tight_layout()
    most = max(curve.steps for curve in curves)
    caption = (
        "By hand (wide line) and by torch.optim.SGD (dashed) from the same start; where the gradients are right one line lies on "
        "the other. Below, the difference of the two losses at each step; where they are equal there is no dot."
    )
    title = f"Real data: {most} steps of gradient descent"
    return Picture("training_curves", title, caption, _svg(figure, "Training curves by hand and by torch, and their difference"))


def pictures(report: "Report") -> list[Picture]:
    """All pictures that have something to show."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # the stub wants the literal names of all options
        made = [make(report) for make in (sigma_histogram, depth_and_width, ulp_histogram, training_curves)]
    return [picture for picture in made if picture]
