"""Packs the functions and their rivals: bare boto3, start of version 1, and a plain `sam build`.

All dependencies are pinned by hashes: those of version 1 by the functions/requirements.txt of its
commit, all others by the current one.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from compileall import compile_dir
from contextlib import redirect_stdout
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple
from unittest.mock import MagicMock, patch

import trustme

from demo.gateway import LambdaContext
from demo.template import ROOT, Json
from tests.support.connector import REQUESTS, cold_start
from tests.support.flow import pending
from tests.support.lambda_runtime import ExecutionEnvironment
from tests.support.packages import ARCHITECTURE, MAKEFILE_FOLDER, VARIABLES, pack

VERSION_1 = "eb80155ce6bdef2652226f88f1c59c554dcfe6f2"


class Rival(NamedTuple):
    """A function to be measured, with the request that it gets."""

    package: Path
    handler: str
    request: Json
    environment: dict[str, str]

    def run(self) -> ExecutionEnvironment:
        """Return a new process of the function."""
        return ExecutionEnvironment(self.package, self.handler, self.environment, timeout=60)


def make_rivals(folder: Path, authority: trustme.CA, url: str) -> dict[str, Rival]:
    """Pack all rivals into *folder*; they trust *authority* too, and call AWS at *url*."""
    variables = VARIABLES | {"AWS_ENDPOINT_URL": url, "POWERTOOLS_SERVICE_NAME": "benchmark"}
    variables |= {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
    bare = _bare(folder / "bare")
    first = pack("StartFunction", folder / "first", _version_1(folder / "version-1"))
    start, callback = (
        pack(f"{name}Function", folder / name.lower()) for name in ("Start", "Callback")
    )
    rivals = {
        "bare client": (bare, "bare", "start"),
        "bare calls of start": (bare, "bare", "start"),
        "bare calls of callback": (bare, "bare", "callback"),
        "start": (start, "start.handler", "start"),
        "start, version 1": (first, "start.handler", "start"),
        "start, plain sam build": (_sam_build(folder / "sam"), "start.handler", "start"),
        "callback": (callback, "callback.handler", "callback"),
    }
    made = {}
    for name, (package, module, request) in rivals.items():
        roots = package / "aws-roots.pem"
        trusted = roots if roots.exists() else package / "botocore" / "cacert.pem"
        bundle = folder / f"{name}.pem"
        bundle.write_bytes(trusted.read_bytes() + authority.cert_pem.bytes())
        calls = _recorded(request, variables) if name.startswith("bare calls") else []
        own = {"AWS_CA_BUNDLE": str(bundle), "CALLS": json.dumps(calls)}
        made[name] = Rival(package, f"{module}.handler", REQUESTS[request], variables | own)
    return made


def _recorded(function: str, variables: dict[str, str]) -> list[tuple[str, str, Json]]:
    """Return the service, operation and parameters of the AWS calls of one request."""
    aws = MagicMock()
    aws.dynamodb.update_item.return_value = {"Attributes": pending().item}
    with (
        patch("boto3.client", lambda service, **_: getattr(aws, service)),
        redirect_stdout(io.StringIO()),
    ):
        handler = cold_start(f"{function}.handler", variables)
        aws.reset_mock()
        handler(REQUESTS[function], LambdaContext(function))
    return [(*call[0].split("."), call.kwargs) for call in aws.mock_calls]


def _bare(folder: Path) -> Path:
    """Install the whole locked boto3, compiled as in Lambda's own runtime."""
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("bare.py"), folder)
    _run(
        *(sys.executable, MAKEFILE_FOLDER / "packing" / "pip_install.py", "--quiet"),
        *("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"),
        *("--requirement", MAKEFILE_FOLDER / "requirements.txt", "--target", folder),
    )
    compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return folder


def _version_1(folder: Path) -> Path:
    """Extract version 1 from the project's history, and return its functions folder."""
    archive = folder.with_suffix(".tar")
    _run("git", "-C", ROOT, "archive", "--output", archive, VERSION_1, "functions")
    shutil.unpack_archive(archive, folder, filter="data")
    return folder / "functions"


def _sam_build(folder: Path) -> Path:
    """Build start with SAM's own Python builder instead of our Makefile, and return its package."""
    properties = {
        "Architectures": [ARCHITECTURE],
        "CodeUri": str(MAKEFILE_FOLDER),
        "Handler": "start.handler.handler",
        "Runtime": "python3.13",
    }
    function = {"Type": "AWS::Serverless::Function", "Properties": properties}
    template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": {"Start": function}}
    path = folder.with_suffix(".json")
    path.write_text(json.dumps(template), "utf-8")
    _run(ROOT / ".venv-sam/bin/sam", "build", "--template", path, "--build-dir", folder)
    return folder / "Start"


def _run(*command: str | Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(command, env=os.environ | {"PATH": path, "SAM_CLI_TELEMETRY": "0"}, check=True)
