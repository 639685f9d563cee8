"""The fixture that several suites share, the order of tests, and what a run leaves out."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.packages import FOLDERS, packed
from tests.support.slow import SLOW

LONGEST = {
    "test_any_bytes",
    "test_connector",
    "test_outcomes",
    "test_subscriber",
    "test_tokens",
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


def pytest_report_header() -> str:
    """Say what this run leaves out."""
    slow = (
        ""
        if SLOW
        else (
            "Only make check runs the long form of models, faults and races, Firefox and WebKit, "
            "pages in every language, checkov, policies, and SAM's deployment.\n"
        )
    )
    return f"{slow}A stack in AWS is tested on demand: docs/first-deploy.md says how."
