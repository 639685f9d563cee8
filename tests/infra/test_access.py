"""The policies of both stacks, evaluated as AWS does, and the page that shows the results."""

import pytest

from demo.template import load
from tests.infra.access import (
    CONNECTOR,
    SERVICES,
    SUBSCRIBER,
    TABLES,
    WITHOUT_ROLES,
    differences,
    missing,
    statements,
)
from tests.infra.access_page import rendered, section
from tests.slow import slow

evaluated = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.mark.parametrize("name", TABLES)
def test_page_shows_who_may_do_what(name: str) -> None:
    assert section(name) == rendered(TABLES[name])


@slow
@evaluated
def test_policies_decide_as_the_tables_say() -> None:
    assert differences(TABLES.values()) == []


@slow
@evaluated
def test_omitted_role_allows_nobody() -> None:
    assert differences([WITHOUT_ROLES]) == []


@slow
@evaluated
@pytest.mark.parametrize("statement", [each for each in statements() if "WriteLogs" not in each])
def test_loss_of_a_statement_is_found(statement: str) -> None:
    """The tables have no row for a function's own log."""
    connector = statement.partition(".")[0] in load()["Resources"]

    assert differences([CONNECTOR if connector else SUBSCRIBER, SERVICES], without=statement)
