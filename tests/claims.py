"""What shows each statement and threat of docs/security.md: the tests that are marked with it.

To write the page's last cells: `.venv/bin/python -m tests.claims`.
"""

import ast
import re
from collections import defaultdict

from demo.template import ROOT

PAGE = ROOT / "docs" / "security.md"
# A row without its last cell: a threat's, or a statement's with the threats that it stops.
THREAT = r"^(?P<row>\| (?P<number>T\d+) \| .+ \| )"
STATEMENT = r"^(?P<row>\| (?P<number>S\d+) \| .+ \| (?P<threats>T\d+(, T\d+)*) \| )"
IS_CLAIM = re.compile(r"pytest\.mark\.claim\(").match
CELL = r"(?P<cell>.*?) \|$"


def register() -> dict[str, list[str]]:
    """Return the tests of each statement and threat, as pytest names them, by its number."""
    tests: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        name = str(file.relative_to(ROOT))
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                marks, shown_by = node.decorator_list, f"`{name}::{node.name}`"
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                marks, shown_by = [node.value], f"`{name}`"
            else:
                continue
            for mark in filter(IS_CLAIM, map(ast.unparse, marks)):
                for number in re.findall(r"[ST]\d+", mark):
                    tests[number].append(shown_by)
    return tests


def written(page: str) -> str:
    """Return *page* with its last cells: a statement's tests, a threat's statements and tests."""
    shown = register()
    statements = defaultdict(list)
    for found in re.finditer(STATEMENT, page, re.MULTILINE):
        for threat in found["threats"].split(", "):
            statements[threat].append(found["number"])

    def row(found: re.Match[str]) -> str:
        number = found["number"]
        return f"{found['row']}{', '.join(statements[number] + shown[number])} |"

    page = re.sub(STATEMENT + CELL, row, page, flags=re.MULTILINE)
    return re.sub(THREAT + CELL, row, page, flags=re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
