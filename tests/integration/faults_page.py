"""Writes the tables of docs/fault-matrix.md, which show the outcomes of a run.

To update them: `PYTHONPATH=functions:examples/subscriber .venv/bin/python -m
tests.integration.faults_page`, with `connector` or `subscriber` as its argument to update only
those.
"""

import sys
from functools import partial

from demo.local_aws import LocalAws, ministack
from tests.integration import outcomes, subscriber_outcomes
from tests.integration.matrix import PAGE, run, section, tables
from tests.integration.matrix import cases as all_cases
from tests.support.connector import PARAMETERS
from tests.support.faults import microburst
from tests.support.packages import FOLDERS, packed


def _write(name: str, text: str) -> None:
    PAGE.write_text(PAGE.read_text("utf-8").replace(section(name), text), "utf-8")


def _write_connector(aws: LocalAws, url: str) -> None:
    ended = partial(outcomes.ended, {name: packed(name) for name in FOLDERS})
    with outcomes.lanes(aws, url) as lanes:
        _write("singles", tables(outcomes.COLUMNS, run(lanes, outcomes.failing, outcomes.SINGLES)))
        _write("pairs", outcomes.pair_tables(run(lanes, outcomes.pair_code, outcomes.PAIRS)))
        for name, cases in ("kills", outcomes.KILLS), ("time-outs", outcomes.TIMEOUTS):
            _write(name, outcomes.list_table(outcomes.ENDINGS[name], run(lanes[:4], ended, cases)))


def _write_subscriber(aws: LocalAws, url: str) -> None:
    with subscriber_outcomes.lanes(aws, url, aws.deploy(PARAMETERS).topic_arn) as lanes:
        for name, matrix in subscriber_outcomes.MATRICES.items():
            found = run(lanes, matrix.outcome, all_cases(matrix.calls))
            _write(name, tables(matrix.columns, found))


_WRITERS = {"connector": _write_connector, "subscriber": _write_subscriber}

if __name__ == "__main__":
    with ministack() as aws, microburst(aws) as url:
        for name in sys.argv[1:] or _WRITERS:
            _WRITERS[name](aws, url)
