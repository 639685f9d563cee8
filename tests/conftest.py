"""What several kinds of tests need."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.packages import FOLDERS, pack


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both packages for this machine's processor, by the functions' logical ids."""
    if sys.platform != "linux":
        pytest.skip("the packages hold Linux libraries: they run on Linux alone")
    folders = [tmp_path_factory.mktemp(name) for name in FOLDERS]
    with ThreadPoolExecutor() as threads:
        return dict(zip(FOLDERS, threads.map(pack, FOLDERS, folders), strict=True))
