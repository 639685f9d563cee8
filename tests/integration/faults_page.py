"""Writes the tables of docs/fault-matrix.md, which show the outcomes of a run.

To update them: `PYTHONPATH=functions:examples/subscriber .venv/bin/python -m
tests.integration.faults_page`, with `connector` or `subscriber` as its argument to update only
those.
"""

import sys

from demo.local_aws import LocalAws, ministack
from tests.integration import outcomes, subscriber_outcomes
from tests.integration.matrix import PAGE, Case, cases, run, section, tables
from tests.support.connector import PARAMETERS
from tests.support.faults import microburst
from tests.support.packages import FOLDERS, packed


def _write(name: str, text: str) -> None:
    PAGE.write_text(PAGE.read_text("utf-8").replace(section(name), text), "utf-8")


def _write_connector(aws: LocalAws, url: str) -> None:
    packages = {name: packed(name) for name in FOLDERS}

    def outcome(lane: outcomes.Lane, case: Case) -> str:
        is_end = outcomes.is_end(case)
        return outcomes.ended(packages, lane, case) if is_end else outcomes.failed(lane, case)

    with outcomes.lanes(aws, url) as lanes:
        _write("connector", tables(outcomes.COLUMNS, run(lanes, outcome, outcomes.CASES)))


def _write_subscriber(aws: LocalAws, url: str) -> None:
    with subscriber_outcomes.lanes(aws, url, aws.deploy(PARAMETERS).topic_arn) as lanes:
        for name, matrix in subscriber_outcomes.MATRICES.items():
            _write(name, tables(matrix.columns, run(lanes, matrix.outcome, cases(matrix.calls))))


_WRITERS = {"connector": _write_connector, "subscriber": _write_subscriber}

if __name__ == "__main__":
    with ministack() as aws, microburst(aws) as url:
        for name in sys.argv[1:] or _WRITERS:
            _WRITERS[name](aws, url)
