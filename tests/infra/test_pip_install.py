"""functions/packing/pip_install.py: a build does what it says, whatever pip is set to do."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from demo.template import ROOT

PROGRAM = ROOT / "functions" / "packing" / "pip_install.py"
# Each by itself keeps plain pip from doing what the build asks, or does something else.
HOSTILE = {
    "user": "true",
    "prefix": "elsewhere",
    "root": "elsewhere",
    "require-virtualenv": "true",
    "no-binary": ":all:",
    "constraint": "missing.txt",
    "report": "-",
    "dry-run": "true",
    "quiet": "3",
    "log": "missing/log.txt",
    "python": "missing/python",
}


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with a package that is nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "nowhere_else-1-py3-none-any.whl", "w") as wheel:
        info = "nowhere_else-1.dist-info"
        wheel.writestr("nowhere_else.py", "")
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: nowhere-else\nVersion: 1\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


def install(tmp_path: Path, configuration: str, **variables: str) -> tuple[int, str]:
    """Install it as the build does, with a *configuration* file; return what is said."""
    (tmp_path / "pip.conf").write_text(configuration, "utf-8")
    inherited = {name: it for name, it in os.environ.items() if not name.startswith("PIP_")}
    run = subprocess.run(
        [sys.executable, PROGRAM, "--target", tmp_path / "package", "nowhere-else"],
        cwd=tmp_path,
        env=inherited | {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout


def test_a_file_says_where_packages_come_from_and_no_more(tmp_path: Path, wheels: Path) -> None:
    settings = {**HOSTILE, "no-index": "true", "find-links": str(wheels)}
    lines = [f"{name} = {value}" for name, value in settings.items()]

    status, said = install(tmp_path, "\n".join(["[install]", *lines]))

    assert status == 0, said
    assert (tmp_path / "package" / "nowhere_else.py").exists()


def test_a_variable_does_so_before_the_file_and_no_more(tmp_path: Path, wheels: Path) -> None:
    hostile = {f"PIP_{name.upper().replace('-', '_')}": it for name, it in HOSTILE.items()}

    status, said = install(
        tmp_path,
        "[global]\nno-index = true\nfind-links = missing",
        PIP_FIND_LINKS=str(wheels),
        **hostile,
    )

    assert status == 0, said
    assert (tmp_path / "package" / "nowhere_else.py").exists()


def test_a_configuration_that_pip_cannot_read_is_said(tmp_path: Path) -> None:
    status, said = install(tmp_path, "no section")

    assert status == 1
    assert said.splitlines()[-1].startswith("pip cannot read its configuration")
