"""The policies of both stacks, evaluated as AWS does, and the page that shows the results."""

import shutil

import pytest

from demo.template import ROOT, load
from tests.infra.access import TABLES, differences, statements
from tests.infra.access_page import PAGE, page
from tests.slow import slow

evaluated = pytest.mark.skipif(
    not (shutil.which("node") and (ROOT / ".node" / ".ready").exists()),
    reason="needs Node.js and the policy evaluator: run `make .node/.ready` once",
)


def test_page_shows_who_may_do_what() -> None:
    """`PYTHONPATH=functions .venv/bin/python -m tests.infra.access_page` writes the page."""
    assert PAGE.read_text("utf-8") == page()


@slow
@evaluated
@pytest.mark.claim("S26", "S28", "S33", "T10")
def test_policies_decide_as_the_tables_say() -> None:
    assert differences(TABLES.values()) == []


@slow
@evaluated
def test_omitted_role_allows_nobody() -> None:
    roles = {
        "app": "AppRoleArn",
        "token reader": "TokenReaderRoleArn",
        "operator": "OperatorRoleArn",
    }
    table = TABLES["subscriber"]
    change = {"parameters": dict.fromkeys(roles.values(), "")}
    rows = [row | change | {"may": set(row["may"]) - roles.keys()} for row in table.rows]

    assert differences([table._replace(rows=rows)]) == []


@slow
@evaluated
@pytest.mark.parametrize("statement", [each for each in statements() if "WriteLogs" not in each])
@pytest.mark.claim("S26")
def test_loss_of_a_statement_is_found(statement: str) -> None:
    """The tables have no row for a function's own log."""
    stack = "connector" if statement.partition(".")[0] in load()["Resources"] else "subscriber"

    assert differences([TABLES[stack], TABLES["services"]], without=statement)
