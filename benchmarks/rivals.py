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
from tests.packages import ARCHITECTURE, FOLDERS, MAKEFILE_FOLDER, pack

VERSION_1 = "eb80155ce6bdef2652226f88f1c59c554dcfe6f2"


@dataclass(frozen=True)
class Rival:
    """A function to be measured: its name in the tables, its package, and its configuration.

    Attributes:
        request: the request in tests/requests, and the AWS calls that a bare rival makes.

    """

    name: str
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


def make_rivals(folder: Path) -> list[Rival]:
    """Pack all rivals into *folder*."""
    template = infra.load()
    handlers = {key: infra.function(template, key)["Handler"] for key in FOLDERS}
    bare = _bare(folder / "bare")
    plain = _sam_build(folder / "sam", handlers)
    start, callback = handlers.values()
    packages = {}
    for key, name in FOLDERS.items():
        (folder / name).mkdir()
        packages[name] = pack(key, folder / name)
    (folder / "first").mkdir()
    first = pack("StartFunction", folder / "first", _version_1(folder / "version-1"))
    return [
        Rival("bare client", bare, "bare.handler", ""),
        Rival("bare calls of start", bare, "bare.handler", "start"),
        Rival("bare calls of callback", bare, "bare.handler", "callback"),
        Rival("start", packages["start"], start, "start"),
        Rival("start, version 1", first, start, "start"),
        Rival("start, plain sam build", plain / "StartFunction", start, "start"),
        Rival("callback", packages["callback"], callback, "callback"),
        Rival("callback, plain sam build", plain / "CallbackFunction", callback, "callback"),
    ]


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
    folder.mkdir()
    common = {
        "Architectures": [ARCHITECTURE],
        "CodeUri": str(MAKEFILE_FOLDER),
        "Runtime": "python3.13",
    }
    resources = {
        key: {"Type": "AWS::Serverless::Function", "Properties": common | {"Handler": handler}}
        for key, handler in handlers.items()
    }
    template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}
    path = folder / "template.json"
    path.write_text(json.dumps(template), "utf-8")
    build = folder / "build"
    _run(ROOT / ".venv-sam/bin/sam", "build", "--template", path, "--build-dir", build)
    return build


def _run(*command: str | Path) -> bytes:
    """Return the standard output of *command*; if it fails, exit with its standard error."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "SAM_CLI_TELEMETRY": "0"}
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    if run.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))}\n{run.stderr.decode()}")
    return run.stdout
