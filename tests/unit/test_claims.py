"""docs/security.md names what shows each statement and threat, from the register of claims."""

import re

from tests.claims import CELL, PAGE, STATEMENT, THREAT, register, written

TEXT = PAGE.read_text("utf-8")
STATEMENTS = list(re.finditer(STATEMENT + CELL, TEXT, re.MULTILINE))
THREATS = list(re.finditer(THREAT + CELL, TEXT, re.MULTILINE))


def test_each_statement_and_threat_is_shown() -> None:
    numbers = [row["number"] for row in (*STATEMENTS, *THREATS)]

    assert [row["number"] for row in (*STATEMENTS, *THREATS) if not row["cell"]] == []
    assert register().keys() <= set(numbers)
    assert {row["number"] for row in STATEMENTS} <= register().keys()
    assert [row["number"] for row in STATEMENTS] == [f"S{n}" for n in range(1, 37)]
    assert [row["number"] for row in THREATS] == [f"T{n}" for n in range(1, 22)]


def test_page_is_written_from_the_register() -> None:
    assert written(TEXT) == TEXT, "run .venv/bin/python -m tests.claims"
