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
from tests.support.packages import MAKEFILE_FOLDER, make

SBOM = Path(".aws-sam", "sbom.cdx.json")
# Some packages declare a classifier and not an SPDX identifier.
LICENCES = {"Apache-2.0", "BSD", "MIT", "MIT-0", "PSF-2.0"}
LICENCES |= {f"License :: OSI Approved :: {name} License" for name in ("Apache Software", "BSD")}
LOCK = MAKEFILE_FOLDER / "requirements.txt"
WHEEL = {
    "nowhere_else.py": "",
    "nowhere_else-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: nowhere-else\nVersion: 1\n",
    "nowhere_else-1.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    "nowhere_else-1.dist-info/RECORD": "",
}


@pytest.mark.claim("T17")
def test_bill_of_materials_equals_the_lock() -> None:
    """And every package has an allowed licence."""
    subprocess.run(["make", "--silent", "--directory", ROOT, SBOM], check=True)  # noqa: S607
    components = json.loads((ROOT / SBOM).read_text("utf-8"))["components"]

    for component in components:
        licences = [each["license"] for each in component["licenses"]]
        assert licences, component
        assert {each.get("id") or each["name"] for each in licences} <= LICENCES, component
    names = {f"{each['name']}=={each['version']}" for each in components}
    locked = re.findall(r"(?m)^(\S+==\S+) \\$", LOCK.read_text("utf-8"))
    assert {re.sub(r"[-_.]+(?=.*==)", "-", name).lower() for name in names} == set(locked)


@pytest.mark.claim("T17")
def test_file_with_another_hash_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "functions"
    shutil.copytree(MAKEFILE_FOLDER, source)
    first, rest = LOCK.read_text("utf-8").split("# via", 1)
    changed = re.sub(r"sha256:\w{8}", "sha256:00000000", first)
    (source / LOCK.name).write_text(f"{changed}# via{rest}", "utf-8")

    made = make("build-StartFunction", f"ARTIFACTS_DIR={tmp_path / 'package'}", folder=source)

    assert made.returncode != 0
    assert "DO NOT MATCH THE HASHES" in made.stderr
    assert not (tmp_path / "package").exists()


def test_every_package_of_npm_has_a_hash() -> None:
    """Those of Python have one too: pip and uv refuse a lock in which only some have."""
    lock = json.loads((ROOT / "requirements" / "package-lock.json").read_text("utf-8"))
    for name, package in lock["packages"].items():
        assert not name or package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name  # any registry will do


def test_pip_settings_name_only_the_index(tmp_path: Path) -> None:
    """Whatever else a file or variables set pip to do, a build does what it asks."""
    with zipfile.ZipFile(tmp_path / "nowhere_else-1-py3-none-any.whl", "w") as wheel:
        for name, text in WHEEL.items():
            wheel.writestr(name, text)
    hostile = ConfigParser()
    [file] = hostile.read(Path(__file__).with_name("pip.conf"))
    settings = {name.upper().replace("-", "_"): each for name, each in hostile["install"].items()}
    settings |= {"CONFIG_FILE": file, "FIND_LINKS": str(tmp_path)}
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    variables |= {f"PIP_{name}": value for name, value in settings.items()}

    program = MAKEFILE_FOLDER / "packing" / "pip_install.py"
    command = [sys.executable, str(program), "--target", str(tmp_path / "package"), "nowhere-else"]
    subprocess.run(command, cwd=tmp_path, env=variables, check=True)

    assert (tmp_path / "package" / "nowhere_else.py").exists()
