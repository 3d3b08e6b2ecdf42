"""How every template is filled: one Jinja environment for all pages."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

if TYPE_CHECKING:
    import pandas as pd

#: Rows of the longest tables, and how many are left where a text must become shorter.
SHOWN = (20, 8, 3, 1)
#: Characters of a page in Markdown: a comment on a pull request takes 65,536.
MARKDOWN = 40_000


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


def filled(template: Template, tables: "Mapping[str, pd.DataFrame]", **fixed: Any) -> str:
    """The template with the first rows of the tables, as `rows` by name; in Markdown so few that a comment takes the text."""
    text = ""
    for shown in SHOWN:
        rows = {name: table.head(shown).to_dict("records") for name, table in tables.items()}
        text = template.render(**fixed, rows=rows, shown=shown, counts={name: len(table) for name, table in tables.items()})
        if len(text) <= MARKDOWN or not str(template.name).endswith(".md.j2"):
            break
    return text.rstrip() + "\n"
