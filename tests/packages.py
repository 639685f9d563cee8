"""The two packages as `sam build` makes them: by functions/Makefile, in a copy of its folder."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from demo.template import ROOT

MAKEFILE_FOLDER = ROOT / "functions"
FOLDERS = {"StartFunction": "start", "CallbackFunction": "callback"}
# This machine's processor, as Lambda calls it.
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "")


def make(
    *arguments: str, folder: Path = MAKEFILE_FOLDER, environment: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run functions/Makefile with this Python first on the path, unless *environment* differs."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["make", "--directory", folder, *arguments],  # noqa: S607 - from the path, as SAM does
        env={**inherited, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def pack(logical_id: str, folder: Path) -> Path:
    """Pack the function *logical_id* for this machine's processor into the empty *folder*."""
    source = folder.with_name(f"{folder.name}-source")
    shutil.copytree(MAKEFILE_FOLDER, source)
    made = make(
        f"build-{logical_id}",
        f"ARTIFACTS_DIR={folder}",
        f"ARCHITECTURE={ARCHITECTURE}",
        folder=source,
    )
    assert made.returncode == 0, made.stderr
    shutil.rmtree(source)
    return folder
