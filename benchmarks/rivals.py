"""Packs the rivals: the two functions, their version 1, a plain `sam build`, and bare boto3.

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from py_compile import PycInvalidationMode

from demo import template as infra
from demo.template import ROOT
from tests.packages import ARCHITECTURE, FOLDERS, MAKEFILE_FOLDER, pack

HANDLERS = Path(__file__).parent / "handlers"
VERSION_1 = "eb80155ce6bdef2652226f88f1c59c554dcfe6f2"
# A package has the authorities in this file, which AWS_CA_BUNDLE names.
AWS_ROOTS = "aws-roots.pem"


@dataclass(frozen=True)
class Rival:
    """A function to be measured.

    Attributes:
        name: the name in the tables.
        package: the folder that it runs in.
        handler: the handler, as Lambda names it.
        request: the name of the request in tests/requests.
        environment: the environment variables.

    """

    name: str
    package: Path
    handler: str
    request: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def authorities(self) -> str:
        """The certificates, in PEM, that the function trusts where it is deployed."""
        roots = self.package / AWS_ROOTS
        bundle = roots if roots.exists() else self.package / "botocore" / "cacert.pem"
        return bundle.read_text("utf-8")


def make_rivals(folder: Path) -> dict[str, Rival]:
    """Pack all rivals into *folder*, and return them by their keys."""
    template = infra.load()
    handlers = {name: infra.function(template, name)["Handler"] for name in FOLDERS}
    bare = _bare(folder / "bare")
    plain = _sam_build(folder / "sam", handlers)
    version_1 = _version_1(folder / "version-1")
    rivals = {
        "botocore client": Rival("botocore client", bare, "botocore_client.handler", "start"),
        "bare client": Rival("bare client", bare, "bare_client.handler", "start"),
        "bare start": Rival("bare calls of start", bare, "bare_start.handler", "start"),
        "bare callback": Rival("bare calls of callback", bare, "bare_callback.handler", "callback"),
    }
    for logical_id, name in FOLDERS.items():
        (folder / name).mkdir()
        (folder / f"{name}-1").mkdir()
        ours = Rival(name, pack(logical_id, folder / name), handlers[logical_id], name)
        rivals[name] = ours
        first = pack(logical_id, folder / f"{name}-1", version_1)
        rivals[f"first {name}"] = replace(ours, name=f"{name}, version 1", package=first)
        rivals[f"plain {name}"] = replace(
            ours, name=f"{name}, plain sam build", package=plain / logical_id
        )
    return rivals


def _bare(folder: Path) -> Path:
    """Install the whole locked boto3, compiled as in Lambda's own runtime."""
    shutil.copytree(HANDLERS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    requirements = MAKEFILE_FOLDER / "requirements.txt"
    _run(
        *(sys.executable, MAKEFILE_FOLDER / "packing" / "pip_install.py", "--quiet"),
        *("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"),
        *("--requirement", requirements, "--target", folder),
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
    template = {
        "Transform": "AWS::Serverless-2016-10-31",
        "Resources": {
            name: {
                "Type": "AWS::Serverless::Function",
                "Properties": {
                    "Architectures": [ARCHITECTURE],
                    "CodeUri": str(MAKEFILE_FOLDER),
                    "Handler": handler,
                    "Runtime": "python3.13",
                },
            }
            for name, handler in handlers.items()
        },
    }
    path = folder / "template.json"
    path.write_text(json.dumps(template), "utf-8")
    build = folder / "build"
    _run(ROOT / ".venv-sam/bin/sam", "build", "--template", path, "--build-dir", build)
    return build


def _run(*command: str | Path) -> bytes:
    """Return the standard output of *command*; if it fails, exit with its standard error."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SAM_CLI_TELEMETRY": "0",
    }
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    if run.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))}\n{run.stderr.decode()}")
    return run.stdout
