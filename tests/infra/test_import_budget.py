"""Limits the imports of a cold start, because the user waits for each of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packages import FOLDERS, MAKEFILE_FOLDER

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-west-3",
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": "client-1",
    "SCOPE": "organization.read",
    "REDIRECT_URI": "https://connect.example.com/callback",
    "TABLE_NAME": "states",
    "TOPIC_ARN": "arn:aws:sns:eu-west-3:000000000000:authorizations",
}
# Besides the standard library and the function's own modules.
PACKAGES = {
    "aws_lambda_powertools",
    *("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"),
    *("annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"),
}
# Large modules of the standard library that the functions do not need. boto3 needs multiprocessing.
NEVER = {"asyncio", "ctypes", "sqlite3", "unittest", "wsgiref"}
MODULES = {"StartFunction": 452, "CallbackFunction": 454}


@pytest.mark.parametrize("name", FOLDERS)
def test_cold_start_imports_only_the_listed_packages(packages: dict[str, Path], name: str) -> None:
    imported = _imported(packages[name], f"{FOLDERS[name]}.handler")

    top = {module.partition(".")[0] for module in imported}
    ours = {FOLDERS[name], "pages", *(path.stem for path in MAKEFILE_FOLDER.glob("*.py"))}
    library = sys.stdlib_module_names | {each for each in top if each.startswith("_sysconfigdata")}
    library |= {"__mp_main__"}  # multiprocessing's name for the main module
    assert top - library - ours == PACKAGES
    assert top.isdisjoint(NEVER)
    assert "pages.rendering" not in imported


@pytest.mark.parametrize("name", FOLDERS)
def test_cold_start_imports_at_most_the_recorded_count(
    packages: dict[str, Path], name: str
) -> None:
    """A change that imports more modules must raise the number in this file."""
    assert len(_imported(packages[name], f"{FOLDERS[name]}.handler")) <= MODULES[name]


def _imported(package: Path, handler: str) -> set[str]:
    """Return the modules that importing *handler* adds to a bare interpreter's."""
    program = f"import sys, json; sys.path.insert(0, {str(package)!r}); before = set(sys.modules)\n"
    program += f"import {handler}; print(json.dumps(sorted(set(sys.modules) - before)))"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(run.stdout))
