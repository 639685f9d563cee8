"""Writes the tables of docs/security.md that show who may do what.

To update them: `PYTHONPATH=functions .venv/bin/python -m tests.infra.access_page`.
"""

import re

from demo.template import ROOT
from tests.infra.access import TABLES, Table

_PAGE = ROOT / "docs" / "security.md"
_MARKED = r"(<!-- begin access of {name} -->\n\n)(.*?)(\n\n<!-- end access of {name} -->)"


def rendered(table: Table) -> str:
    """Return *table* in Markdown."""
    rows = [
        [row.action, *("yes" if column in row.may else "no" for column in table.columns)]
        for row in table.rows
    ]
    lines = [["", *table.columns], ["---"] * (len(table.columns) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def section(name: str) -> str:
    """Return the table *name* as docs/security.md shows it."""
    found = re.search(_MARKED.format(name=name), _PAGE.read_text("utf-8"), re.DOTALL)
    assert found, name
    return found[2]


if __name__ == "__main__":
    page = _PAGE.read_text("utf-8")
    for name, table in TABLES.items():
        lines = rendered(table)
        page = re.sub(_MARKED.format(name=name), rf"\1{lines}\3", page, flags=re.DOTALL)
    _PAGE.write_text(page, "utf-8")
