"""The calibration as a page and as Markdown, through two templates."""

from typing import Any

from oracle.calibration.model import MEDIAN, SHARE, Calibration
from oracle.calibration.picture import STYLE, picture
from oracle.report.environment import environment
from oracle.report.text import short

#: Alarms listed on the page; all are in summary.json.
SHOWN = 20


def brief(module: str) -> str:
    """The name of a layer or loss; without its options where they would fill lines."""
    return module if len(module) <= 40 else module.partition("(")[0]


def spread(limits: Any) -> str:
    """A range as a person reads it."""
    low, high = (f"{value:.3g}" if isinstance(value, float) else f"{value:,}" for value in limits)
    return low if low == high else f"{low} to {high}"


def render(calibration: Calibration, template: str) -> str:
    """Fill a template with the calibration; everything that comes from a case is escaped in HTML."""
    histograms = {
        dtype: (calibration.bins(dtype, settled=False), calibration.bins(dtype, settled=True)) for dtype in calibration.dtypes
    }
    text = (
        environment(short=short, spread=spread, brief=brief)
        .get_template(template)
        .render(
            calibration=calibration,
            summary=calibration.summary(),
            shown=calibration.alarms[:SHOWN],
            median=MEDIAN,
            share=SHARE,
            style=STYLE,
            picture=picture(calibration.figures, histograms),
        )
    )
    return text.rstrip() + "\n"
