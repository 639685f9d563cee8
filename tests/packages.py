"""Makes the two packages as `sam build` does: with functions/Makefile, in a copy of its folder."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from demo.template import ROOT

MAKEFILE_FOLDER = ROOT / "functions"
PACKAGES = ROOT / "build" / "packages"
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


def packed(logical_id: str) -> Path:
    """Return the folder with the package of *logical_id*; pack again only if its source changed."""
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(MAKEFILE_FOLDER.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(ROOT)} {file.stat().st_size}\n".encode())
            digest.update(file.read_bytes())
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with (PACKAGES / f"{logical_id}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test processes pack the same function
        package = PACKAGES / f"{logical_id}-{digest.hexdigest()[:16]}"
        if not package.exists():
            for stale in PACKAGES.glob(f"{logical_id}-*"):
                shutil.rmtree(stale)
            with TemporaryDirectory(dir=PACKAGES) as folder:
                pack(logical_id, Path(folder, logical_id)).rename(package)
        return package


def pack(logical_id: str, folder: Path, functions: Path = MAKEFILE_FOLDER) -> Path:
    """Pack the function *logical_id* for this machine's processor into the empty *folder*.

    Its code and the Makefile are in *functions*.
    """
    source = folder.with_name(f"{folder.name}-source")
    shutil.copytree(functions, source)
    made = make(
        f"build-{logical_id}",
        f"ARTIFACTS_DIR={folder}",
        f"ARCHITECTURE={ARCHITECTURE}",
        folder=source,
    )
    assert made.returncode == 0, made.stderr
    shutil.rmtree(source)
    return folder
