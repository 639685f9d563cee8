"""The packages trust the certificate authorities of AWS alone, or all: as the operator chooses."""

import hashlib
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import botocore
import pytest
import trustme

from benchmarks.aws_stub import aws_stub
from tests.infra.test_package import environment
from tests.integration.connector import REQUESTS
from tests.lambda_runtime import start_function
from tests.packages import FOLDERS, MAKEFILE_FOLDER, make
from tests.slow import slow
from tests.unit.flow import pending

BUNDLE = Path(botocore.__file__).with_name("cacert.pem")
# SHA-256 of the certificates, as https://www.amazontrust.com/repository/ publishes them.
FINGERPRINTS = {
    "Amazon Root CA 1": "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    "Amazon Root CA 2": "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    "Amazon Root CA 3": "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    "Amazon Root CA 4": "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
    "Starfield Services Root Certificate Authority - G2": (
        "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5"
    ),
}


def certificates(bundle: str) -> dict[str, str]:
    """Return each certificate of *bundle* in PEM, by the SHA-256 of its DER."""
    found = re.findall(r"-----BEGIN[^-]+-----.+?-----END[^-]+-----\n", bundle, re.DOTALL)
    return {hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest(): pem for pem in found}


def write_aws_roots(bundle: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Run the step of the build that writes the authorities of AWS in *bundle* into *target*."""
    return subprocess.run(
        [sys.executable, MAKEFILE_FOLDER / "packing" / "aws_roots.py", bundle, target],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", FOLDERS)
def test_package_has_all_five_roots_of_amazon(packages: dict[str, Path], name: str) -> None:
    roots = certificates((packages[name] / "aws-roots.pem").read_text("utf-8"))

    assert roots.keys() >= set(FINGERPRINTS.values())
    assert roots.keys() < certificates(BUNDLE.read_text("utf-8")).keys()
    assert len(roots) < 10


@pytest.mark.parametrize("root", FINGERPRINTS)
def test_missing_root_is_an_error(root: str, tmp_path: Path) -> None:
    bundle, target = tmp_path / "cacert.pem", tmp_path / "aws-roots.pem"
    whole = BUNDLE.read_text("utf-8")
    bundle.write_text(whole.replace(certificates(whole)[FINGERPRINTS[root]], ""), "utf-8")

    run = write_aws_roots(bundle, target)

    assert run.returncode == 1
    assert run.stderr.startswith(f"{bundle} has no {root}: ")
    assert not target.exists()


@slow
def test_missing_root_fails_the_build(tmp_path: Path) -> None:
    """The locked botocore has all five, so this build asks for a sixth."""
    source, package = tmp_path / "functions", tmp_path / "package"
    shutil.copytree(MAKEFILE_FOLDER, source)
    step = source / "packing" / "aws_roots.py"
    step.write_text(step.read_text("utf-8").replace("range(1, 5)", "range(1, 6)"), "utf-8")
    package.mkdir()

    made = make("build-StartFunction", f"ARTIFACTS_DIR={package}", folder=source)

    assert made.returncode != 0
    assert "has no Amazon Root CA 5: " in made.stderr


@pytest.mark.parametrize(
    ("trusted_roots", "organization", "status"),
    [
        ("aws", "Amazon", 302),
        ("aws", "Another Authority", 503),
        ("all", "Amazon", 302),
        ("all", "Another Authority", 302),
    ],
)
def test_start_calls_whom_it_trusts(
    packages: dict[str, Path],
    tmp_path: Path,
    trusted_roots: str,
    organization: str,
    status: int,
) -> None:
    """A chain of each authority, by an authority that the test adds to botocore's bundle."""
    package = tmp_path / "package"
    shutil.copytree(packages["StartFunction"], package)
    bundle = package / "botocore" / "cacert.pem"
    authority = trustme.CA(organization_name=organization)
    with bundle.open("ab") as file:
        file.write(authority.cert_pem.bytes())
    assert write_aws_roots(bundle, package / "aws-roots.pem").returncode == 0

    with aws_stub(pending().item, authority) as stub:
        variables = environment("StartFunction") | {"AWS_ENDPOINT_URL": stub.endpoint_url}
        if trusted_roots == "aws":
            variables["AWS_CA_BUNDLE"] = str(package / "aws-roots.pem")
        with start_function("StartFunction", package, variables) as function:
            response = function.invoke(REQUESTS["start"])
            written = function.stdout

    assert response["statusCode"] == status
    assert ('"error":"SSLError"' in written) == (status == 503)
