"""docs/security.md names what shows each statement and threat, from the register of claims."""

import re

from tests.claims import CELL, PAGE, STATEMENT, THREAT, register, written


def test_each_statement_and_threat_is_shown() -> None:
    text, shown = PAGE.read_text("utf-8"), register().keys()
    statements = [row["number"] for row in re.finditer(STATEMENT + CELL, text, re.MULTILINE)]
    threats = [
        row["number"] for row in re.finditer(THREAT + CELL, text, re.MULTILINE) if row["cell"]
    ]
    assert statements == [f"S{n}" for n in range(1, 37)]
    assert threats == [f"T{n}" for n in range(1, 22)]
    assert {*statements} <= shown <= {*statements, *threats}
    assert written(text) == text, "run .venv/bin/python -m tests.claims"
