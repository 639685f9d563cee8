"""Makes the two packages as `sam build` does: with functions/Makefile, in a copy of its folder."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from demo.template import ROOT

MAKEFILE_FOLDER = ROOT / "functions"
PACKAGES = ROOT / "build" / "packages"
FOLDERS = {"StartFunction": "start", "CallbackFunction": "callback"}
# Settings that suit both functions, for a package that a test starts by itself.
VARIABLES = {
    "AWS_DEFAULT_REGION": "eu-west-3",
    "CLIENT_ID": "client-1",
    "QONTO_ENVIRONMENT": "sandbox",
    "REDIRECT_URI": "https://connect.example/callback",
    "SCOPE": "organization.read",
    "TABLE_NAME": "states",
    "TOPIC_ARN": "arn:aws:sns:eu-west-3:000000000000:authorizations",
}
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "")  # to Lambda


def make(*arguments: str, folder: Path = MAKEFILE_FOLDER) -> subprocess.CompletedProcess[str]:
    """Run functions/Makefile with this Python first on the path."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["make", "--directory", folder, *arguments],  # noqa: S607 - from the path, as SAM does
        env=inherited | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def packed(logical_id: str) -> Path:
    """Return the folder with the package of *logical_id*; pack again only if its source changed."""
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(MAKEFILE_FOLDER.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"{file} {file.stat().st_size}\n".encode() + file.read_bytes())
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
    """Pack *logical_id*, from *functions*, for this machine's processor into the new *folder*."""
    source = folder.with_name(f"{folder.name}-source")
    shutil.copytree(functions, source)
    options = (f"ARTIFACTS_DIR={folder}", f"ARCHITECTURE={ARCHITECTURE}")
    made = make(f"build-{logical_id}", *options, folder=source)
    assert made.returncode == 0, made.stderr
    shutil.rmtree(source)
    return folder
