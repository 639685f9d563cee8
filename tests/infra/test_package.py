"""What `sam build` deploys: each function's package, made by functions/Makefile."""

import importlib.util
import marshal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from demo.template import function, load
from tests.packages import FOLDERS, MAKEFILE_FOLDER, make

OTHERS = {"StartFunction": "callback", "CallbackFunction": "start"}
# With nothing but the package and the standard library, and warnings as errors.
IN_ISOLATION = [sys.executable, "-I", "-S", "-W", "error", "-c"]


def _environment(name: str) -> dict[str, str]:
    """Return the variables that the template gives the function, and the region as Lambda does."""
    values = {
        "QONTO_ENVIRONMENT": "sandbox",
        "CLIENT_ID": "client",
        "SCOPE": "organization.read",
        "REDIRECT_URI": "https://connect.example/callback",
        "PKCE": "off",
    }
    variables = function(load(), name)["Environment"]
    return {variable: values.get(variable, "") or "x" for variable in variables} | {
        "RETURN_URLS": "",
        "SUPPORT_URL": "",
        "AWS_DEFAULT_REGION": "eu-west-3",
    }


def _compiled(package: Path) -> Iterator[tuple[Path, bytes]]:
    for source in package.rglob("*.py"):
        pyc = importlib.util.cache_from_source(str(source))
        yield source.relative_to(package), Path(pyc).read_bytes()


@pytest.mark.parametrize("name", FOLDERS)
def test_the_handler_runs_on_its_package_alone(packages: dict[str, Path], name: str) -> None:
    """It answers the one request that needs no AWS, and its pages are there."""
    program = f"""
import sys
sys.path.insert(0, {str(packages[name])!r})
from {FOLDERS[name]}.handler import handler, settings
import pages

class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "x"

answer = handler({{"headers": {{"sec-purpose": "prefetch"}}}}, Context())
print(answer["statusCode"], pages.__name__)
"""
    run = subprocess.run(
        [*IN_ISOLATION, program],
        env=_environment(name),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.returncode, run.stdout, run.stderr) == (0, "503 pages\n", "")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_package_holds_its_own_function_and_not_the_other(
    packages: dict[str, Path], name: str
) -> None:
    ours = {path.name for path in MAKEFILE_FOLDER.glob("*.py")} | {"pages.toml", FOLDERS[name]}
    packed = {path.name for path in packages[name].iterdir()}

    assert ours <= packed
    assert packed.isdisjoint({OTHERS[name], "Makefile", "requirements.txt", "tests", "bin"})


@pytest.mark.parametrize("name", FOLDERS)
def test_a_package_holds_exactly_the_locked_distributions(
    packages: dict[str, Path], name: str
) -> None:
    """Their metadata stay: scanners read from them which versions run."""
    lock = (MAKEFILE_FOLDER / "requirements.txt").read_text("utf-8").splitlines()
    locked = {line.split(" ")[0].replace("-", "_") for line in lock if "==" in line.split(" ")[0]}

    assert {
        path.stem.replace("-", "==", 1) for path in packages[name].glob("*.dist-info")
    } == locked


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
