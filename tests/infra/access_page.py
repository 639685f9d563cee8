"""Writes the tables of docs/security.md that show who may do what.

To update them: `PYTHONPATH=functions .venv/bin/python -m tests.infra.access_page`.
"""

import re

from demo.template import ROOT
from tests.infra.access import TABLES, Table

PAGE = ROOT / "docs" / "security.md"


def page() -> str:
    """Return docs/security.md with its tables written again from access.toml."""
    text = PAGE.read_text("utf-8")
    for name, table in TABLES.items():
        marked = rf"(<!-- begin access of {name} -->\n\n).*?(\n\n<!-- end access of {name} -->)"
        text, count = re.subn(marked, rf"\1{_rendered(table)}\2", text, flags=re.DOTALL)
        assert count == 1, name
    return text


def _rendered(table: Table) -> str:
    lines = [["", *table.columns], ["---"] * (len(table.columns) + 1)]
    for row in table.rows:
        decisions = ("yes" if column in row["may"] else "no" for column in table.columns)
        lines.append([row["action"], *decisions])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
