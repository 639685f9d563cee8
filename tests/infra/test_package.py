"""What `sam build` deploys: each function's package, made by functions/Makefile."""

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
from demo.template import ROOT, Json, function, load
from tests.lambda_runtime import start_function
from tests.packages import ARCHITECTURE, FOLDERS, MAKEFILE_FOLDER, make
from tests.unit import flow

# The processors that Lambda has, and what an ELF header calls them (e_machine).
MACHINES = {"x86_64": 62, "arm64": 183}
# Sources and what was compiled of them, libraries, botocore's data and certificates, our pages.
SUFFIXES = {".css", ".gz", ".html", ".json", ".pem", ".py", ".pyc", ".so", ".toml"}
REQUESTS = ROOT / "tests" / "requests"
CLIENT_ID = "client-1"
# What the flows of _flows() call.
CALLS = {
    "StartFunction": ["PutItem"],
    "CallbackFunction": [
        *("DeleteItem", "Publish"),  # granted
        *("DeleteItem", "Publish", "PutItem"),  # not published, restored
        "DeleteItem",  # expired
    ],
}


def environment(name: str) -> dict[str, str]:
    """Return the variables that the template gives the function, and the region as Lambda does."""
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
    """Return the locked packages, each as name==version, named as its files are."""
    lines = (MAKEFILE_FOLDER / "requirements.txt").read_text("utf-8").splitlines()
    names = (line.split(" ")[0] for line in lines)
    return {name.replace("-", "_") for name in names if "==" in name}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_handler_runs_on_its_package_alone(packages: dict[str, Path], name: str) -> None:
    """As Lambda runs it; a page is the one thing that is imported later."""
    event = {
        "routeKey": "GET /callback/{outcome}",
        "rawQueryString": "context=%0A",
        "pathParameters": {"outcome": "no-such"},
        "headers": {},
    }
    with start_function(
        name, packages[name], environment(name) | {"PYTHONWARNINGS": "error"}
    ) as function:
        response = function.invoke(event)

        assert "<!doctype html>" in response["body"].lower()
        assert function.stderr == ""


@pytest.mark.parametrize("name", FOLDERS)
def test_a_package_holds_its_own_function_the_locked_packages_and_nothing_else(
    packages: dict[str, Path], name: str
) -> None:
    """No code of the other function, no metadata, no tests, no tools."""
    ours = {path.name for path in MAKEFILE_FOLDER.glob("*.py")} | {
        "aws-roots.pem",
        "pages",
        FOLDERS[name],
    }
    theirs = {
        file.parts[0]
        for it in _locked()
        for file in distribution(it.partition("==")[0]).files or ()
        if not file.parts[0].endswith(("..", ".dist-info"))
    }
    added = {"__pycache__", "licenses"}
    packed = [path for path in packages[name].rglob("*") if "licenses" not in path.parts]

    assert {path.name for path in packages[name].iterdir()} == ours | theirs | added
    assert {path.suffix for path in packed if path.is_file()} <= SUFFIXES
    assert not [path for path in packed if path.name in {"examples", "test", "tests"}]


@pytest.mark.parametrize("name", FOLDERS)
def test_every_locked_package_brings_its_licence(packages: dict[str, Path], name: str) -> None:
    """Of its metadata that alone: nothing else is read at run time."""
    licences = packages[name] / "licenses"

    assert {path.name.replace("-", "==", 1) for path in licences.iterdir()} == _locked()
    for folder in licences.iterdir():
        assert [path for path in folder.iterdir() if path.name.startswith("LICENSE")], folder


@pytest.mark.parametrize("name", FOLDERS)
def test_only_the_services_that_are_called_are_described(
    packages: dict[str, Path], name: str
) -> None:
    """The other models are most of botocore; what all services share stays."""
    data = list((packages[name] / "botocore" / "data").iterdir())

    assert {path.name for path in data if path.is_dir()} == {"dynamodb", "sns"}
    assert {path.name.removesuffix(".gz") for path in data if path.is_file()} == {
        "_retry.json",
        "endpoints.json",
        "partitions.json",
        "sdk-default-configuration.json",
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_nothing_is_compiled_or_checked_at_a_cold_start(
    packages: dict[str, Path], name: str
) -> None:
    """Every module has its .pyc, which Python takes without a look at the source (PEP 552)."""
    compiled = list(_compiled(packages[name]))

    assert Path(FOLDERS[name], "handler.py") in dict(compiled)
    for module, pyc in compiled:
        assert pyc[:4] == importlib.util.MAGIC_NUMBER, module
        assert pyc[4:8] == (0b01).to_bytes(4, "little"), module


@pytest.mark.parametrize("name", FOLDERS)
def test_tracebacks_name_files_as_lambda_has_them(packages: dict[str, Path], name: str) -> None:
    for module, pyc in _compiled(packages[name]):
        code = marshal.loads(pyc[16:])  # noqa: S302 - compiled just now

        assert isinstance(code, CodeType)
        assert code.co_filename == f"/var/task/{module}"


@pytest.mark.parametrize("name", FOLDERS)
def test_any_user_can_read_a_package(packages: dict[str, Path], name: str) -> None:
    """Lambda runs it as another user than the one who packed it, whatever their umask."""
    for path in packages[name].rglob("*"):
        wanted = 0o555 if path.is_dir() else 0o444

        assert path.stat().st_mode & wanted == wanted, path


@pytest.mark.parametrize("name", FOLDERS)
def test_the_packages_are_made_for_the_templates_processor(name: str, tmp_path: Path) -> None:
    architectures = function(load(), name)["Architectures"]

    made = make("--dry-run", f"build-{name}", f"ARTIFACTS_DIR={tmp_path}")

    assert architectures == ["arm64"]
    assert "--platform manylinux2014_aarch64" in made.stdout
    assert "x86_64" not in made.stdout


@pytest.mark.parametrize("name", FOLDERS)
def test_a_package_is_small(packages: dict[str, Path], name: str, tmp_path: Path) -> None:
    """Zipped as `sam deploy` does it: Lambda loads and unpacks that before anything else."""
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
def test_what_a_package_sends_to_aws_is_what_the_whole_botocore_sends(
    packages: dict[str, Path], name: str, region: str
) -> None:
    """Byte for byte, signature included; and AWS's answers are understood alike."""
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
def test_a_wrong_call_is_refused_in_one_line(arguments: tuple[str, ...], complaint: str) -> None:
    made = make("build-StartFunction", *arguments)

    assert made.returncode != 0
    assert complaint in made.stderr
    assert len(made.stderr.splitlines()) == 1


def test_without_python_3_13_the_build_says_so(tmp_path: Path) -> None:
    (tmp_path / "make").symlink_to(str(shutil.which("make")))

    made = make(
        "build-StartFunction",
        f"ARTIFACTS_DIR={tmp_path / 'package'}",
        environment={"PATH": str(tmp_path)},
    )

    assert made.returncode != 0
    assert made.stderr.startswith("python3.13 with pip is missing: ")
    assert len(made.stderr.splitlines()) == 2  # make's own "Error 1" follows


def test_a_package_without_a_wheel_for_the_processor_is_named(tmp_path: Path) -> None:
    """None is published for a C library so old."""
    made = make("build-StartFunction", f"ARTIFACTS_DIR={tmp_path}", "GLIBCS=manylinux_2_5")

    assert made.returncode != 0
    assert "No matching distribution found for pydantic-core==" in made.stderr
    assert "a package could not be installed for arm64; pip says why above" in made.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="as the packages fixture")
def test_the_other_processors_package_is_built_here_too(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    """From x86-64 for arm64 and the other way round, without a container."""
    [other] = MACHINES.keys() - {ARCHITECTURE}

    made = make("build-StartFunction", f"ARTIFACTS_DIR={tmp_path}", f"ARCHITECTURE={other}")

    assert made.returncode == 0, made.stderr
    assert _machines(tmp_path) == {MACHINES[other]}
    assert _machines(packages["StartFunction"]) == {MACHINES[ARCHITECTURE]}


def _machines(package: Path) -> set[int]:
    headers = [library.read_bytes()[:20] for library in package.rglob("*.so")]
    return {int.from_bytes(header[18:20], "little") for header in headers}


def _sent(name: str, region: str, path: list[str]) -> list[Any]:
    """Return what signed_requests.py prints of a function whose modules come from *path*."""
    run = subprocess.run(
        [sys.executable, "-P", "-S", Path(__file__).with_name("signed_requests.py")],
        input=json.dumps({"path": path, "folder": FOLDERS[name], "flows": _flows(name)}),
        env=environment(name)
        | {
            "PYTHONHASHSEED": "0",  # the user agent has a set in it
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
    """Return each event, and what AWS answers to each call in turn."""
    event = json.loads((REQUESTS / f"{FOLDERS[name]}.json").read_text("utf-8"))
    if name == "StartFunction":
        return [{"event": event, "answers": [[200, "{}"]]}]
    browser_hash = cookies.browser_hash(cookies.read_browser(event) or "")
    item = flow.pending(browser_hash=browser_hash).item
    taken = [200, json.dumps({"Attributes": item})]
    failed = {"__type": "ConditionalCheckFailedException", "message": "no", "Item": item}
    published = "<PublishResponse><PublishResult/></PublishResponse>"
    denied = "<ErrorResponse><Error><Code>AuthorizationError</Code></Error></ErrorResponse>"
    return [
        {"event": event, "answers": [taken, [200, published]]},
        {"event": event, "answers": [taken, [403, denied], [200, "{}"]]},
        {"event": event, "answers": [[400, json.dumps(failed)]]},
    ]
