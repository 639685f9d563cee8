"""The policies of both stacks, evaluated as AWS does, and the page that shows the results."""

import shutil

import pytest

from demo.template import ROOT
from tests.infra.access import PAGE, ROWS, differences, page, statements
from tests.infra.golden import STACKS
from tests.support.slow import SLOW

evaluated = pytest.mark.skipif(
    not (SLOW and shutil.which("node") and (ROOT / ".node" / ".ready").exists()),
    reason="slow, and needs Node.js and the policy evaluator: run `make .node/.ready` once",
)
ROLES = {"app": "AppRoleArn", "token reader": "TokenReaderRoleArn", "operator": "OperatorRoleArn"}


def test_page_shows_who_may_do_what() -> None:
    """`PYTHONPATH=functions .venv/bin/python -m tests.infra.access` writes the page."""
    assert PAGE.read_text("utf-8") == page()


@evaluated
@pytest.mark.claim("S26", "S28", "S33", "T10")
def test_policies_decide_as_the_tables_say() -> None:
    assert differences(ROWS) == []


@evaluated
def test_omitted_role_allows_nobody() -> None:
    omitted = {"parameters": dict.fromkeys(ROLES.values(), "")}
    rows = [row | omitted | {"may": set(row["may"]) - ROLES.keys()} for row in ROWS["subscriber"]]

    assert differences({"subscriber": rows}) == []


@evaluated
@pytest.mark.parametrize("statement", [each for each in statements() if "WriteLogs" not in each])
@pytest.mark.claim("S26")
def test_loss_of_a_statement_is_found(statement: str) -> None:
    """The tables have no row for a function's own log."""
    logical_id, _, _ = statement.partition(".")
    [stack] = [name for name, each in STACKS.items() if logical_id in each["Resources"]]
    tables = {name: ROWS[name] for name in (stack, "services")}

    assert differences(tables, without=statement)
