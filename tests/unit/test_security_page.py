"""docs/security.md names a test for each statement and threat, and each named test exists."""

import ast
import re
from functools import cache

import pytest

from demo.template import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
# The first cell of a row is its number (E for environments), and the last one its tests.
STATEMENTS = re.findall(r"^\| (\d+|E) \| (.+) \| (.+?) \| (.*?) \|$", PAGE, re.MULTILINE)
THREATS = re.findall(r"^\| (T\d+) \| .+ \| (.*?) \|$", PAGE, re.MULTILINE)
NAMED = re.findall(r"`(tests/[\w/.]+)::(\w+)`", PAGE)


@cache
def functions_of(file: str) -> set[str]:
    """Return the names of the test functions of *file*."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_page_has_all_statements_in_order() -> None:
    assert [number for number, *_ in STATEMENTS] == [*map(str, range(1, 35)), "E"]


@pytest.mark.parametrize(("number", "tests"), [*THREATS, *((row[0], row[3]) for row in STATEMENTS)])
def test_each_statement_and_threat_names_a_test(number: str, tests: str) -> None:
    assert "::test_" in tests, number


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_named_test_exists(file: str, name: str) -> None:
    assert name in functions_of(file)


def test_each_statement_names_known_threats() -> None:
    threats = [number for number, _ in THREATS]

    assert threats == [f"T{number}" for number in range(1, len(threats) + 1)]
    for _, _, against, _ in STATEMENTS:
        assert set(against.split(", ")) <= set(threats)
