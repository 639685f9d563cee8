"""docs/security.md: every statement and every threat has a test, and every test named exists."""

import ast
import re
from functools import cache

import pytest

from demo.template import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
# A row: its number, its cells, and last the tests.
STATEMENTS = re.findall(r"^\| (\d+) \| (.+) \| (.+?) \| (.*?) \|$", PAGE, re.MULTILINE)
THREATS = re.findall(r"^\| (T\d+) \| .+ \| (.*?) \|$", PAGE, re.MULTILINE)
NAMED = re.findall(r"`(tests/[\w/.]+)::(\w+)`", PAGE)


@cache
def functions_of(file: str) -> set[str]:
    """Return the names of the test functions of *file*."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_all_26_statements_are_there() -> None:
    assert [int(number) for number, *_ in STATEMENTS] == list(range(1, 27))


@pytest.mark.parametrize(("number", "tests"), [*THREATS, *((it[0], it[3]) for it in STATEMENTS)])
def test_each_statement_and_each_threat_names_a_test(number: str, tests: str) -> None:
    assert "::test_" in tests, number


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in functions_of(file)


def test_each_statement_is_against_threats_of_the_page() -> None:
    threats = [number for number, _ in THREATS]

    assert threats == [f"T{number}" for number in range(1, len(threats) + 1)]
    for _, _, against, _ in STATEMENTS:
        assert set(against.split(", ")) <= set(threats)
