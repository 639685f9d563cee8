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
import tarfile
from collections.abc import Mapping
from compileall import compile_dir
from dataclasses import dataclass, field
from pathlib import Path
from py_compile import PycInvalidationMode

from demo import template as infra
from demo.template import ROOT
from tests.support.packages import ARCHITECTURE, FOLDERS, MAKEFILE_FOLDER, pack

VERSION_1 = "eb80155ce6bdef2652226f88f1c59c554dcfe6f2"


@dataclass(frozen=True)
class Rival:
    """A function to be measured: its package and its configuration.

    *request* is a request in tests/support/requests, and the AWS calls that a bare rival makes.
    """

    package: Path
    handler: str
    request: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def authorities(self) -> str:
        """The certificates, in PEM, that the function trusts where it is deployed."""
        roots = self.package / "aws-roots.pem"
        bundle = roots if roots.exists() else self.package / "botocore" / "cacert.pem"
        return bundle.read_text("utf-8")


def make_rivals(folder: Path) -> dict[str, Rival]:
    """Pack all rivals into *folder*, and return them by their names in the tables."""
    template = infra.load()
    start, callback = (infra.function(template, key)["Handler"] for key in FOLDERS)
    bare = _bare(folder / "bare")
    plain = _sam_build(folder / "sam", {"StartFunction": start, "CallbackFunction": callback})
    first = pack("StartFunction", folder / "first", _version_1(folder / "version-1"))
    packages = {name: pack(key, folder / name) for key, name in FOLDERS.items()}
    return {
        "bare client": Rival(bare, "bare.handler", ""),
        "bare calls of start": Rival(bare, "bare.handler", "start"),
        "bare calls of callback": Rival(bare, "bare.handler", "callback"),
        "start": Rival(packages["start"], start, "start"),
        "start, version 1": Rival(first, start, "start"),
        "start, plain sam build": Rival(plain / "StartFunction", start, "start"),
        "callback": Rival(packages["callback"], callback, "callback"),
        "callback, plain sam build": Rival(plain / "CallbackFunction", callback, "callback"),
    }


def _bare(folder: Path) -> Path:
    """Install the whole locked boto3, compiled as in Lambda's own runtime."""
    shutil.copytree(Path(__file__).parent / "handlers", folder)
    _run(
        *(sys.executable, MAKEFILE_FOLDER / "packing" / "pip_install.py", "--quiet"),
        *("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"),
        *("--requirement", MAKEFILE_FOLDER / "requirements.txt", "--target", folder),
    )
    compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return folder


def _version_1(folder: Path) -> Path:
    """Extract version 1 from the project's history, and return its functions folder."""
    archive = _run("git", "-C", ROOT, "archive", VERSION_1, "functions")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder / "functions"


def _sam_build(folder: Path, handlers: dict[str, str]) -> Path:
    """Run `sam build` with SAM's own Python builder instead of our Makefile."""
    common = {"Architectures": [ARCHITECTURE], "CodeUri": str(MAKEFILE_FOLDER)}
    common |= {"Runtime": "python3.13"}
    resources = {
        key: {"Type": "AWS::Serverless::Function", "Properties": common | {"Handler": handler}}
        for key, handler in handlers.items()
    }
    path = folder.with_suffix(".json")
    template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}
    path.write_text(json.dumps(template), "utf-8")
    _run(ROOT / ".venv-sam/bin/sam", "build", "--template", path, "--build-dir", folder)
    return folder


def _run(*command: str | Path) -> bytes:
    """Return the standard output of *command*; if it fails, exit with its standard error."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "SAM_CLI_TELEMETRY": "0"}
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    if run.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))}\n{run.stderr.decode()}")
    return run.stdout
