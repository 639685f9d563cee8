"""What a cold start may import: each package is time that somebody waits."""

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
# Of the standard library, what is large and nothing here needs. boto3 imports multiprocessing.
NEVER = {"asyncio", "ctypes", "sqlite3", "unittest", "wsgiref"}
MODULES = {"StartFunction": 452, "CallbackFunction": 454}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_cold_start_imports_what_is_listed_here_and_nothing_else(
    packages: dict[str, Path], name: str
) -> None:
    imported = _imported(packages[name], f"{FOLDERS[name]}.handler")

    top = {module.partition(".")[0] for module in imported}
    ours = {FOLDERS[name], "pages", *(path.stem for path in MAKEFILE_FOLDER.glob("*.py"))}
    library = sys.stdlib_module_names | {it for it in top if it.startswith("_sysconfigdata")}
    library |= {"__mp_main__"}  # multiprocessing's name for the main module
    assert top - library - ours == PACKAGES
    assert top.isdisjoint(NEVER)
    assert "pages.rendering" not in imported


@pytest.mark.parametrize("name", FOLDERS)
def test_a_cold_start_imports_no_more_modules_than_it_did(
    packages: dict[str, Path], name: str
) -> None:
    """A number that grows without a word in this file grew unseen."""
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
