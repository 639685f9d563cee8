"""What builds and packages are made of: exactly the locked files, each with an allowed licence."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from demo.template import ROOT
from tests.packages import MAKEFILE_FOLDER, make

SBOM = Path(".aws-sam", "sbom.cdx.json")
LICENCES = {"Apache-2.0", "BSD", "MIT", "MIT-0", "PSF-2.0"}
# Some packages declare a classifier and not an SPDX identifier.
CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD",
}


@pytest.mark.claim("T17")
def test_bill_of_materials_equals_the_lock() -> None:
    """And every package has an allowed licence."""
    command = ["make", "--silent", "--directory", str(ROOT), str(SBOM)]
    subprocess.run(command, check=True)
    bill = json.loads((ROOT / SBOM).read_text("utf-8"))
    lock = (MAKEFILE_FOLDER / "requirements.txt").read_text("utf-8")

    names = set()
    for component in bill["components"]:
        licences = [each["license"] for each in component["licenses"]]
        found = {each.get("id") or each["name"] for each in licences}
        assert found, component
        assert {CLASSIFIERS.get(each, each) for each in found} <= LICENCES, component
        name = re.sub(r"[-_.]+", "-", component["name"]).lower()
        names.add(f"{name}=={component['version']}")
    assert names == set(re.findall(r"(?m)^(\S+==\S+) \\$", lock))


@pytest.mark.claim("T17")
def test_file_with_another_hash_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "functions"
    shutil.copytree(MAKEFILE_FOLDER, source)
    lock = source / "requirements.txt"
    first, rest = lock.read_text("utf-8").split("# via", 1)
    changed = re.sub(r"sha256:\w{8}", "sha256:00000000", first)
    lock.write_text(f"{changed}# via{rest}", "utf-8")

    made = make("build-StartFunction", f"ARTIFACTS_DIR={tmp_path / 'package'}", folder=source)

    assert made.returncode != 0
    assert "DO NOT MATCH THE HASHES" in made.stderr
    assert not (tmp_path / "package").exists()


def test_every_locked_package_has_a_hash() -> None:
    """The locks are those of the packages and of the tools that build and test them."""
    locks = [MAKEFILE_FOLDER, ROOT / "requirements", ROOT / "examples" / "subscriber"]
    for lock in (path for folder in locks for path in folder.glob("*.txt")):
        entries = re.split(r"(?m)^(?=\S+==)", lock.read_text("utf-8"))[1:]
        assert entries, lock
        assert [each for each in entries if "--hash=sha256:" not in each] == []
    evaluator = json.loads((ROOT / "requirements" / "package-lock.json").read_text("utf-8"))
    del evaluator["packages"][""]
    for name, package in evaluator["packages"].items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name  # any registry will do


def test_pip_settings_name_only_the_index(tmp_path: Path) -> None:
    """Whatever else a file or variables set pip to do, a build does what it asks."""
    info = "nowhere_else-1.dist-info"
    with zipfile.ZipFile(tmp_path / "nowhere_else-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("nowhere_else.py", "")
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: nowhere-else\nVersion: 1\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    hostile = Path(__file__).with_name("pip.conf")
    parser = ConfigParser()
    parser.read(hostile)
    variables = {
        f"PIP_{name.upper().replace('-', '_')}": value for name, value in parser["install"].items()
    } | {"PIP_CONFIG_FILE": str(hostile), "PIP_FIND_LINKS": str(tmp_path)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}

    program = MAKEFILE_FOLDER / "packing" / "pip_install.py"
    command = [sys.executable, str(program), "--target", str(tmp_path / "package"), "nowhere-else"]
    subprocess.run(command, cwd=tmp_path, env=inherited | variables, check=True)

    assert (tmp_path / "package" / "nowhere_else.py").exists()
