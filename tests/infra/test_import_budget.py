"""Limits the imports of a cold start, because the user waits for each of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packages import FOLDERS, MAKEFILE_FOLDER, VARIABLES

# Besides the standard library and the function's own modules.
PACKAGES = {
    "aws_lambda_powertools",
    *("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"),
    *("annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"),
}
# Large modules of the standard library that the functions do not need. boto3 needs multiprocessing.
NEVER = {"asyncio", "ctypes", "sqlite3", "unittest", "wsgiref"}


@pytest.mark.parametrize(("name", "limit"), [("StartFunction", 452), ("CallbackFunction", 454)])
def test_cold_start_imports_only_the_listed_packages(
    packages: dict[str, Path], name: str, limit: int
) -> None:
    """A change that imports more modules must raise the limit."""
    program = (
        f"import sys, json; sys.path[:0] = [{str(packages[name])!r}]; before = set(sys.modules)\n"
        f"import {FOLDERS[name]}.handler; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", program]
    run = subprocess.run(command, env=VARIABLES, stdout=subprocess.PIPE, check=True)
    imported = json.loads(run.stdout)

    top = {module.partition(".")[0] for module in imported}
    ours = {FOLDERS[name], "pages", *(path.stem for path in MAKEFILE_FOLDER.glob("*.py"))}
    library = sys.stdlib_module_names | {each for each in top if each.startswith("_sysconfigdata")}
    library |= {"__mp_main__"}  # multiprocessing's name for the main module
    assert top - library - ours == PACKAGES
    assert top.isdisjoint(NEVER)
    assert "pages.rendering" not in imported
    assert len(imported) <= limit
