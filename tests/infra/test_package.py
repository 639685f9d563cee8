"""Tests each function's package, which `sam build` makes with functions/Makefile and deploys."""

import importlib.util
import json
import marshal
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import cookies
from demo.template import Json, function, load
from outcomes import Outcome
from tests.integration.connector import REQUESTS
from tests.lambda_runtime import start_function
from tests.packages import ARCHITECTURE, FOLDERS, MAKEFILE_FOLDER, make
from tests.slow import slow
from tests.unit import flow

# Lambda's processors, and their numbers in an ELF header (e_machine).
MACHINES = {"x86_64": 62, "arm64": 183}
# Sources, compiled sources, libraries, botocore's data, certificates and our pages.
SUFFIXES = {".css", ".gz", ".html", ".json", ".pem", ".py", ".pyc", ".so", ".toml"}
CLIENT_ID = "client-1"
# The AWS calls of the flows of _flows().
CALLS = {
    "StartFunction": ["PutItem"],
    "CallbackFunction": [
        *("UpdateItem", "Publish", "PutItem", "DeleteItem"),  # granted
        *("UpdateItem", "Publish"),  # not published
        "UpdateItem",  # expired
        *("UpdateItem", "GetItem"),  # repeated
    ],
}


def environment(name: str) -> dict[str, str]:
    """Return values for the template's variables of the function *name*, and the region."""
    values = {
        "QONTO_ENVIRONMENT": "sandbox",
        "CLIENT_ID": CLIENT_ID,
        "SCOPE": "organization.read",
        "REDIRECT_URI": "https://connect.example/callback",
        "PKCE": "off",
    }
    variables = function(load(), name)["Environment"].keys() - {"AWS_CA_BUNDLE"}
    return {variable: values.get(variable, "") or "x" for variable in variables} | {
        "IDENTITY_TYPE": "",
        "RETURN_URLS": "",
        "SUPPORT_URL": "",
        "AWS_DEFAULT_REGION": "eu-west-3",
    }


def _compiled(package: Path) -> Iterator[tuple[Path, bytes]]:
    for source in package.rglob("*.py"):
        pyc = importlib.util.cache_from_source(str(source))
        yield source.relative_to(package), Path(pyc).read_bytes()


def _locked() -> set[str]:
    """Return the locked packages as name==version, each with the name of its folder."""
    lines = (MAKEFILE_FOLDER / "requirements.txt").read_text("utf-8").splitlines()
    names = (line.split(" ")[0] for line in lines)
    return {name.replace("-", "_") for name in names if "==" in name}


@pytest.mark.parametrize("name", FOLDERS)
def test_handler_runs_on_its_package_alone(packages: dict[str, Path], name: str) -> None:
    """The request needs a page, because the pages are imported after the cold start."""
    request = {
        "routeKey": "GET /callback/{outcome}",
        "rawQueryString": "context=%0A",
        "pathParameters": {"outcome": "no-such"},
        "headers": {},
    }
    with start_function(
        name, packages[name], environment(name) | {"PYTHONWARNINGS": "error"}
    ) as function:
        response = function.invoke(request)

        assert "<!doctype html>" in response["body"].lower()
        assert function.stderr == ""


@pytest.mark.parametrize("name", FOLDERS)
def test_package_holds_only_its_function_and_locked_packages(
    packages: dict[str, Path], name: str
) -> None:
    ours = {path.name for path in MAKEFILE_FOLDER.glob("*.py")} | {
        "aws-roots.pem",
        "pages",
        FOLDERS[name],
    }
    theirs = {
        file.parts[0]
        for locked in _locked()
        for file in distribution(locked.partition("==")[0]).files or ()
        if not file.parts[0].endswith(("..", ".dist-info"))
    }
    added = {"__pycache__", "licenses"}
    packed = [path for path in packages[name].rglob("*") if "licenses" not in path.parts]

    assert {path.name for path in packages[name].iterdir()} == ours | theirs | added
    assert {path.suffix for path in packed if path.is_file()} <= SUFFIXES
    assert not [path for path in packed if path.name in {"examples", "test", "tests"}]


@pytest.mark.parametrize("name", FOLDERS)
def test_every_locked_package_has_its_licence(packages: dict[str, Path], name: str) -> None:
    """The other metadata is left out, because the functions do not read it."""
    licences = packages[name] / "licenses"

    assert {path.name.replace("-", "==", 1) for path in licences.iterdir()} == _locked()
    for folder in licences.iterdir():
        assert [path for path in folder.iterdir() if path.name.startswith("LICENSE")], folder


@pytest.mark.parametrize("name", FOLDERS)
def test_botocore_data_has_only_the_called_services(packages: dict[str, Path], name: str) -> None:
    """The models of other services are most of botocore. Data for all services stays."""
    data = list((packages[name] / "botocore" / "data").iterdir())

    assert {path.name for path in data if path.is_dir()} == {"dynamodb", "sns"}
    assert {path.name.removesuffix(".gz") for path in data if path.is_file()} == {
        "_retry.json",
        "endpoints.json",
        "partitions.json",
        "sdk-default-configuration.json",
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_cold_start_neither_compiles_nor_checks_sources(
    packages: dict[str, Path], name: str
) -> None:
    """Every module has a .pyc, which Python loads without reading the source (PEP 552)."""
    compiled = list(_compiled(packages[name]))

    assert Path(FOLDERS[name], "handler.py") in dict(compiled)
    for module, pyc in compiled:
        assert pyc[:4] == importlib.util.MAGIC_NUMBER, module
        assert pyc[4:8] == (0b01).to_bytes(4, "little"), module


@pytest.mark.parametrize("name", FOLDERS)
def test_tracebacks_name_files_under_var_task(packages: dict[str, Path], name: str) -> None:
    for module, pyc in _compiled(packages[name]):
        code = marshal.loads(pyc[16:])  # noqa: S302 - compiled just now

        assert isinstance(code, CodeType)
        assert code.co_filename == f"/var/task/{module}"


@pytest.mark.parametrize("name", FOLDERS)
def test_package_is_readable_by_every_account(packages: dict[str, Path], name: str) -> None:
    """Lambda's account is not the one that packed, whose umask may be strict."""
    for path in packages[name].rglob("*"):
        wanted = 0o555 if path.is_dir() else 0o444

        assert path.stat().st_mode & wanted == wanted, path


@pytest.mark.parametrize("name", FOLDERS)
def test_build_uses_the_processor_of_the_template(name: str, tmp_path: Path) -> None:
    architectures = function(load(), name)["Architectures"]

    made = make("--dry-run", f"build-{name}", f"ARTIFACTS_DIR={tmp_path}")

    assert architectures == ["arm64"]
    assert "--platform manylinux2014_aarch64" in made.stdout
    assert "x86_64" not in made.stdout


@pytest.mark.parametrize("name", FOLDERS)
def test_package_size_is_limited(packages: dict[str, Path], name: str, tmp_path: Path) -> None:
    """Each cold start begins with loading and unpacking the zip that `sam deploy` makes."""
    files = [path for path in packages[name].rglob("*") if path.is_file()]
    zipped = Path(shutil.make_archive(str(tmp_path / name), "zip", packages[name]))

    assert sum(path.stat().st_size for path in files) <= 30_000_000
    assert zipped.stat().st_size <= 10_000_000


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("StartFunction", "eu-west-3"),
        ("CallbackFunction", "eu-west-3"),
        ("CallbackFunction", "us-gov-west-1"),
        ("CallbackFunction", "cn-north-1"),
    ],
)
def test_pruned_botocore_sends_the_same_aws_requests(
    packages: dict[str, Path], name: str, region: str
) -> None:
    """Compares signed AWS requests and the function's responses with those of whole botocore."""
    whole = [str(MAKEFILE_FOLDER), sysconfig.get_path("purelib")]

    sent = _sent(name, region, [str(packages[name])])

    assert re.findall(r"(?:DynamoDB_20120810\.|Action=)(\w+)", json.dumps(sent)) == CALLS[name]
    assert sent == _sent(name, region, whole)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "ARTIFACTS_DIR is not set"),
        (("ARTIFACTS_DIR=/nowhere", "ARCHITECTURE=mips"), 'ARCHITECTURE is "mips"'),
        (("ARTIFACTS_DIR=/nowhere", "ARCHITECTURE="), 'ARCHITECTURE is ""'),
    ],
)
def test_invalid_make_call_fails_with_one_line(arguments: tuple[str, ...], complaint: str) -> None:
    made = make("build-StartFunction", *arguments)

    assert made.returncode != 0
    assert complaint in made.stderr
    assert len(made.stderr.splitlines()) == 1


def test_missing_python_fails_the_build_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "make").symlink_to(str(shutil.which("make")))

    made = make(
        "build-StartFunction",
        f"ARTIFACTS_DIR={tmp_path / 'package'}",
        environment={"PATH": str(tmp_path)},
    )

    assert made.returncode != 0
    assert made.stderr.startswith("python3.13 with pip is missing: ")
    assert len(made.stderr.splitlines()) == 2  # make's own "Error 1" follows


def test_missing_wheel_fails_with_the_package_name(tmp_path: Path) -> None:
    """pydantic-core publishes no wheel for such an old C library."""
    made = make("build-StartFunction", f"ARTIFACTS_DIR={tmp_path}", "GLIBCS=manylinux_2_5")

    assert made.returncode != 0
    assert "No matching distribution found for pydantic-core==" in made.stderr
    assert "a package could not be installed for arm64; pip says why above" in made.stderr
    assert not list(tmp_path.iterdir())


@slow
@pytest.mark.skipif(sys.platform != "linux", reason="as the packages fixture")
def test_package_can_be_built_for_other_processor(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    """The build for arm64 on x86-64, or the reverse, needs no container."""
    [other] = MACHINES.keys() - {ARCHITECTURE}

    made = make("build-StartFunction", f"ARTIFACTS_DIR={tmp_path}", f"ARCHITECTURE={other}")

    assert made.returncode == 0, made.stderr
    assert _machines(tmp_path) == {MACHINES[other]}
    assert _machines(packages["StartFunction"]) == {MACHINES[ARCHITECTURE]}


def _machines(package: Path) -> set[int]:
    headers = [library.read_bytes()[:20] for library in package.rglob("*.so")]
    return {int.from_bytes(header[18:20], "little") for header in headers}


def _sent(name: str, region: str, path: list[str]) -> list[Any]:
    """Return the output of signed_requests.py for a function with the import path *path*."""
    run = subprocess.run(
        [sys.executable, "-P", "-S", Path(__file__).with_name("signed_requests.py")],
        input=json.dumps({"path": path, "folder": FOLDERS[name], "flows": _flows(name)}),
        env=environment(name)
        | {
            "PYTHONHASHSEED": "0",  # the user agent is made from a set, whose order depends on it
            "AWS_DEFAULT_REGION": region,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "TOPIC_ARN": f"arn:aws:sns:{region}:000000000000:topic",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    sent: list[Any] = json.loads(run.stdout)
    return sent


def _flows(name: str) -> list[Json]:
    """Return flows of the function *name*: a request, and the AWS response to each call."""
    request = REQUESTS[FOLDERS[name]]
    if name == "StartFunction":
        return [{"request": request, "responses": [[200, "{}"]]}]
    browser_hash = cookies.browser_hash(cookies.read_browser(request) or "")
    pending = flow.pending(browser_hash=browser_hash)
    claimed = [200, json.dumps({"Attributes": pending.item})]
    published = [200, "<PublishResponse><PublishResult/></PublishResponse>"]
    denied = [403, "<ErrorResponse><Error><Code>AuthorizationError</Code></Error></ErrorResponse>"]
    failed = {"__type": "ConditionalCheckFailedException", "message": "no"}
    expired = failed | {"Item": flow.pending(browser_hash=browser_hash, expires_at=1).item}
    receipt = {"Item": pending.receipt(Outcome.GRANTED, flow.STARTED_AT).item}
    return [
        {"request": request, "responses": [claimed, published, [200, "{}"], [200, "{}"]]},
        {"request": request, "responses": [claimed, denied]},
        {"request": request, "responses": [[400, json.dumps(expired)]]},
        {"request": request, "responses": [[400, json.dumps(failed)], [200, json.dumps(receipt)]]},
    ]
