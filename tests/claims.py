"""The register of claims: what shows each threat and statement of docs/security.md.

A test names them with ``@pytest.mark.claim("S5", "T2")``. To write docs/claims.md from the tests:
`.venv/bin/python -m tests.claims`.
"""

import ast
import re
from collections import defaultdict

from demo.template import ROOT

SECURITY, PAGE = ROOT / "docs" / "security.md", ROOT / "docs" / "claims.md"
STATEMENT = re.compile(r"^- \*\*(S\d+)\*\* \((.+?)\) ", re.MULTILINE)
THREAT = re.compile(r"^- \*\*(T\d+)\*\* ", re.MULTILINE)
IS_CLAIM = re.compile(r"pytest\.mark\.claim\(").match
HEAD = """# Claims

What shows each threat (T) and statement (S) of [security](security.md): the tests name them, and
`.venv/bin/python -m tests.claims` writes this page.

"""


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


def claims() -> dict[str, list[str]]:
    """Return the numbers of docs/security.md, each threat with the statements that stop it."""
    text = SECURITY.read_text("utf-8")
    statements = [(number, stops.split(", ")) for number, stops in STATEMENT.findall(text)]
    stopping = {
        threat: [number for number, stops in statements if threat in stops]
        for threat in THREAT.findall(text)
    }
    return stopping | {number: [] for number, _ in statements}


def page() -> str:
    """Return the text of docs/claims.md."""
    shown = register()
    rows = (
        [f"- **{number}** {', '.join(statements)}".rstrip(), *(f"  - {it}" for it in shown[number])]
        for number, statements in claims().items()
    )
    return HEAD + "\n".join(line for row in rows for line in row) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
