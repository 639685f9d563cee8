"""What is compared: our packages, the same code as plain `sam build` packs it, and bare boto3."""

import json
import os
import shutil
import subprocess
import sys
from compileall import compile_dir
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from py_compile import PycInvalidationMode

from demo import template as infra
from demo.template import ROOT
from tests.packages import ARCHITECTURE, FOLDERS, pack

HANDLERS = Path(__file__).parent / "handlers"
# boto3 and all it needs, in the versions that are locked for the functions and for development.
BOTO3 = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3")


@dataclass(frozen=True)
class Rival:
    """A function to be measured.

    Attributes:
        name: what the table calls it.
        package: the folder that it runs in.
        handler: as Lambda is told.
        event: which of tests/requests it is sent.

    """

    name: str
    package: Path
    handler: str
    event: str


def make_rivals(folder: Path) -> dict[str, Rival]:
    """Pack all of them, into *folder*."""
    template = infra.load()
    handlers = {it: infra.function(template, it)["Handler"] for it in FOLDERS}
    plain = _sam_build(folder / "sam", handlers)
    bare = _bare(folder / "bare")
    rivals = {
        "bare client": Rival("bare client", bare, "bare_client.handler", "start"),
        "bare start": Rival("bare calls of start", bare, "bare_start.handler", "start"),
        "bare callback": Rival("bare calls of callback", bare, "bare_callback.handler", "callback"),
    }
    for logical_id, name in FOLDERS.items():
        ours = folder / name
        ours.mkdir()
        pack(logical_id, ours)
        rivals[name] = Rival(name, ours, handlers[logical_id], name)
        rivals[f"plain {name}"] = Rival(
            f"{name}, plain sam build", plain / logical_id, handlers[logical_id], name
        )
    return rivals


def _bare(folder: Path) -> Path:
    """Pack boto3 whole and compiled, as it is in Lambda's own run-time."""
    shutil.copytree(HANDLERS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BOTO3:
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            source = Path(str(installed.locate_file(top)))
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / top, ignore=ignored)
            else:
                shutil.copy(source, folder / top)
    compile_dir(folder, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    return folder


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
                    "CodeUri": str(ROOT / "functions"),
                    "Handler": handler,
                    "Runtime": "python3.13",
                },
            }
            for name, handler in handlers.items()
        },
    }
    (folder / "template.json").write_text(json.dumps(template), "utf-8")
    subprocess.run(
        [ROOT / ".venv-sam/bin/sam", "build", "--template", "template.json"],
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SAM_CLI_TELEMETRY": "0",
        },
        check=True,
        capture_output=True,
    )
    return folder / ".aws-sam" / "build"
