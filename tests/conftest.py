"""The fixture that several suites share, the order of tests, and the summary of a run."""

import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from tests.support.packages import FOLDERS, packed
from tests.support.slow import SLOW

LONGEST = {
    "test_any_bytes",
    "test_outcomes",
    "test_replay",
    "test_subscriber",
    "test_subscriber_faults",
    "test_subscriber_model",
    "test_tokens",
    "test_tokens_model",
}


@pytest.fixture(scope="session")
def packages() -> dict[str, Path]:
    """Return both packages for this machine's processor, by the functions' logical ids."""
    if sys.platform != "linux":
        pytest.skip("the packages hold Linux libraries: they run on Linux alone")
    with ThreadPoolExecutor() as threads:
        return dict(zip(FOLDERS, threads.map(packed, FOLDERS), strict=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no worker begins one of them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the duration of each suite, and what this run leaves out."""
    tests: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            suite = report.nodeid.split("/")[1]
            tests[suite] += report.when == "call"
            seconds[suite] += report.duration
    if not seconds:
        return
    terminalreporter.section("suites (seconds of all workers together)")
    for suite in seconds:
        terminalreporter.line(f"{suite:12} {tests[suite]:5} tests {seconds[suite]:7.1f} s")
    if not SLOW and len(seconds) > 1:
        terminalreporter.line(
            "Only make check runs the long form of faults and races, kills, Firefox and WebKit, "
            "pages in every language, checkov, policies, and SAM's deployment."
        )
        terminalreporter.line("A stack in AWS is tested on demand: docs/first-deploy.md says how.")
