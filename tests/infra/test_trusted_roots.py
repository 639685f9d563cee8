"""The packages trust the certificate authorities of AWS alone, or all: as the operator chooses."""

import re
import shutil
import subprocess
import sys
import tomllib
from hashlib import sha256
from pathlib import Path
from ssl import PEM_cert_to_DER_cert

import botocore
import pytest
import trustme

from benchmarks.aws_stub import aws_stub
from tests.infra.golden import STACKS
from tests.support.connector import REQUESTS
from tests.support.flow import pending
from tests.support.lambda_runtime import start_function
from tests.support.packages import MAKEFILE_FOLDER
from tests.support.resolution import Resolution

BUNDLE = Path(botocore.__file__).with_name("cacert.pem").read_text("utf-8")
CERTIFICATES = re.findall(r"(?s)-----BEGIN[^-]+-----.+?-----END[^-]+-----\n", BUNDLE)
ROOTS = tomllib.loads(Path(__file__).with_name("amazon-roots.toml").read_text("utf-8"))


def write_aws_roots(bundle: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Run the step of the build that writes the authorities of AWS in *bundle* into *target*."""
    program = MAKEFILE_FOLDER / "packing" / "aws_roots.py"
    return subprocess.run(
        [sys.executable, program, bundle, target], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.claim("T18")
def test_missing_root_is_an_error(root: str, tmp_path: Path) -> None:
    bundle, target = tmp_path / "cacert.pem", tmp_path / "aws-roots.pem"
    [missing] = [
        pem for pem in CERTIFICATES if sha256(PEM_cert_to_DER_cert(pem)).hexdigest() == ROOTS[root]
    ]
    bundle.write_text(BUNDLE.replace(missing, ""), "utf-8")

    run = write_aws_roots(bundle, target)

    assert run.returncode == 1
    assert run.stderr.startswith(f"{bundle} has no {root}: ")
    assert not target.exists()


@pytest.mark.parametrize("organization", ["Amazon", "Another Authority"])
@pytest.mark.parametrize("trusted_roots", ["aws", "all"])
@pytest.mark.claim("T18")
def test_start_calls_whom_it_trusts(
    packages: dict[str, Path], tmp_path: Path, trusted_roots: str, organization: str
) -> None:
    """A chain of each authority, by an authority that the test adds to botocore's bundle."""
    package = shutil.copytree(packages["StartFunction"], tmp_path / "package")
    bundle, roots = package / "botocore" / "cacert.pem", package / "aws-roots.pem"
    authority = trustme.CA(organization_name=organization)
    with bundle.open("ab") as file:
        file.write(authority.cert_pem.bytes())
    write_aws_roots(bundle, roots).check_returncode()
    deployed = Resolution(STACKS["connector"], TrustedRoots=trusted_roots).resources[
        "StartFunction"
    ]
    variables = deployed["Properties"]["Environment"]["Variables"]
    if "AWS_CA_BUNDLE" in variables:  # if it was empty, botocore would verify no certificate
        variables["AWS_CA_BUNDLE"] = str(roots)

    with aws_stub(pending().item, authority) as url:
        variables["AWS_ENDPOINT_URL"] = url
        with start_function("StartFunction", package, variables) as function:
            response = function.invoke(REQUESTS["start"])
            written = function.stdout

    refused = (trusted_roots, organization) == ("aws", "Another Authority")
    assert response["statusCode"] == (503 if refused else 302)
    assert ('"error":"SSLError"' in written) == refused
