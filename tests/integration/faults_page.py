"""Writes the tables of docs/fault-matrix.md, which show the outcomes of a run.

To update them: `PYTHONPATH=functions:examples/subscriber .venv/bin/python -m
tests.integration.faults_page`, with `connector` or `subscriber` as its argument to update only
those.
"""

import re
import sys
from contextlib import ExitStack

from demo.local_aws import LocalAws, ministack
from tests.integration import tokens_outcomes
from tests.integration.connector import PARAMETERS, ROOT
from tests.integration.faults import microburst
from tests.integration.kills import KILLS, drip_table, kill_harness, kill_table, killed, timed_out
from tests.integration.outcomes import Call, outcomes, pair_tables, pairs, single_tables, singles
from tests.integration.subscriber_outcomes import (
    CALLS,
    COLUMNS,
    cases,
    cells,
    subscriber_outcomes,
    tables,
)
from tests.packages import FOLDERS, packed

_PAGE = ROOT / "docs" / "fault-matrix.md"
_MARKED = r"(<!-- begin {name} -->\n\n)(.*?)(\n*<!-- end {name} -->)"


def section(name: str) -> str:
    """Return the text of the section *name* in docs/fault-matrix.md."""
    found = re.search(_MARKED.format(name=name), _PAGE.read_text("utf-8"), re.DOTALL)
    assert found, name
    return found[2] + "\n"


def _write(name: str, text: str) -> None:
    page = _PAGE.read_text("utf-8")
    marked = _MARKED.format(name=name)
    page = re.sub(
        marked, lambda found: f"{found[1]}{text}\n{found[3].strip()}", page, flags=re.DOTALL
    )
    _PAGE.write_text(page, "utf-8")


def _write_connector(aws: LocalAws, url: str) -> None:
    with ExitStack() as block:
        found = block.enter_context(outcomes(aws, url))
        _write("singles", single_tables(found.of([case for *_, case in singles()])))
        _write("pairs", pair_tables(found.of([case for *_, case in pairs()])))
        packages = {name: packed(name) for name in FOLDERS}
        harness = block.enter_context(kill_harness(aws, url, aws.deploy(PARAMETERS), packages))
        _write("kills", kill_table([killed(harness, *moment) for moment in KILLS]))
        _write("time-outs", drip_table([timed_out(harness, call) for call in Call]))


def _write_subscriber(aws: LocalAws, url: str) -> None:
    topic_arn = aws.deploy(PARAMETERS).topic_arn
    with subscriber_outcomes(aws, url, topic_arn) as running:
        chosen = list(cases(CALLS))
        rows = map(cells, running.of(chosen))
        _write("subscriber", tables(COLUMNS, zip(chosen, rows, strict=True)))
    with tokens_outcomes.tokens_outcomes(aws, url, topic_arn) as running_tokens:
        of_tokens = list(cases(tokens_outcomes.CALLS))
        rows = map(tokens_outcomes.cells, running_tokens.of(of_tokens))
        _write("tokens", tables(tokens_outcomes.COLUMNS, zip(of_tokens, rows, strict=True)))


_WRITERS = {"connector": _write_connector, "subscriber": _write_subscriber}

if __name__ == "__main__":
    with ministack() as aws, microburst(aws) as url:
        for name in sys.argv[1:] or _WRITERS:
            _WRITERS[name](aws, url)
