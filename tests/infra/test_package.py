"""Each function's package, which `sam build` makes with functions/Makefile and deploys."""

import importlib.util
import json
import marshal
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from demo.template import Json
from tests.support.lambda_runtime import start_function
from tests.support.packages import FOLDERS, MAKEFILE_FOLDER, VARIABLES

# Sources, compiled sources, libraries, botocore's data, certificates and our pages.
SUFFIXES = {".css", ".gz", ".html", ".json", ".pem", ".py", ".pyc", ".so", ".toml"}
LOCK = (MAKEFILE_FOLDER / "requirements.txt").read_text("utf-8")
# The locked packages as name==version, each with the name of its folder.
LOCKED = {line.split()[0].replace("-", "_") for line in LOCK.splitlines() if "==" in line}
OURS = {path.stem for path in MAKEFILE_FOLDER.glob("*.py")}
# What a cold start imports besides the standard library and the function's own modules.
IMPORTED = {
    "aws_lambda_powertools",
    *("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"),
    *("annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"),
}
each_function = pytest.mark.parametrize("name", FOLDERS)


@each_function
def test_handler_runs_on_its_package_alone(packages: dict[str, Path], name: str) -> None:
    """The request needs a page, because the pages are imported after the cold start."""
    request: Json = {"routeKey": "GET /callback/{outcome}", "rawQueryString": "context=%0A"}
    request |= {"headers": {}, "pathParameters": {"outcome": "no-such"}}
    variables = VARIABLES | {"PYTHONWARNINGS": "error"}
    with start_function(name, packages[name], variables) as function:
        assert "<!doctype html>" in function.invoke(request)["body"].lower()
        assert function.stderr == ""


@each_function
@pytest.mark.claim("T17")
def test_package_holds_only_its_function_and_locked_packages(
    packages: dict[str, Path], name: str, tmp_path: Path
) -> None:
    """Each with its licence. A cold start begins with loading and unpacking the package's zip."""
    package = packages[name]
    theirs = {
        file.parts[0]
        for locked in LOCKED
        for file in distribution(locked.partition("==")[0]).files or ()
        if not file.parts[0].endswith(("..", ".dist-info"))
    }
    ours = {f"{module}.py" for module in OURS} | {"pages", FOLDERS[name]}
    paths = [path for path in package.rglob("*") if "licenses" not in path.parts]
    licences = list((package / "licenses").iterdir())

    added = {"__pycache__", "aws-roots.pem", "licenses"}
    assert {path.name for path in package.iterdir()} == ours | theirs | added
    assert 5 <= (package / "aws-roots.pem").read_text("utf-8").count("BEGIN") < 10  # all are 126
    assert {path.suffix for path in paths if path.is_file()} <= SUFFIXES
    assert {path.name for path in paths}.isdisjoint({"examples", "test", "tests"})
    assert {path.name.replace("-", "==", 1) for path in licences} == LOCKED
    assert all(list(folder.glob("LICENSE*")) for folder in licences)
    data = {path.name.partition(".")[0] for path in (package / "botocore" / "data").iterdir()}
    general = {"_retry", "endpoints", "partitions", "sdk-default-configuration"}
    assert data == general | {"dynamodb", "sns"}
    assert sum(path.stat().st_size for path in package.rglob("*") if path.is_file()) <= 30_000_000
    zipped = Path(shutil.make_archive(str(tmp_path / name), "zip", package))
    assert zipped.stat().st_size <= 10_000_000


@each_function
def test_cold_start_neither_compiles_nor_checks_sources(
    packages: dict[str, Path], name: str
) -> None:
    """Every module has a .pyc, which Python loads without reading the source (PEP 552).

    Tracebacks name the files by their paths in Lambda, whose account can read them.
    """
    for path in packages[name].rglob("*"):
        wanted = 0o555 if path.is_dir() else 0o444
        assert path.stat().st_mode & wanted == wanted, path
        if path.suffix == ".py":
            pyc = Path(importlib.util.cache_from_source(str(path))).read_bytes()
            unchecked = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little")
            assert pyc.startswith(unchecked), path
            code = marshal.loads(pyc[16:])  # noqa: S302 - compiled just now
            assert code.co_filename == f"/var/task/{path.relative_to(packages[name])}"


@pytest.mark.parametrize(("name", "limit"), [("StartFunction", 452), ("CallbackFunction", 454)])
def test_cold_start_imports_only_the_listed_packages(
    packages: dict[str, Path], name: str, limit: int
) -> None:
    """The user waits for each import. A change that imports more modules must raise the limit."""
    program = (
        f"import sys, json; sys.path[:0] = [{str(packages[name])!r}]; before = set(sys.modules)\n"
        f"import {FOLDERS[name]}.handler; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", program]
    run = subprocess.run(command, env=VARIABLES, stdout=subprocess.PIPE, check=True)
    imported = json.loads(run.stdout)

    top = {module.partition(".")[0] for module in imported}
    library = sys.stdlib_module_names | {each for each in top if each.startswith("_sysconfigdata")}
    library |= {"__mp_main__"}  # multiprocessing's name for the main module
    assert top - library - OURS - {FOLDERS[name], "pages"} == IMPORTED
    assert len(imported) <= limit
