"""How every template is filled: one Jinja environment for all pages."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def environment(**filters: Callable[..., Any]) -> Environment:
    """The templates of the reports with these filters; in HTML everything is escaped, and a name that is not there raises."""
    made = Environment(
        loader=PackageLoader("oracle.report"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    return made
