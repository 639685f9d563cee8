"""The contents of a package: exactly the locked files, each with an allowed licence."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from demo.template import ROOT
from tests.packages import ARCHITECTURE, MAKEFILE_FOLDER, make

SBOM = Path(".aws-sam", "sbom.cdx.json")
LICENCES = {"Apache-2.0", "BSD", "MIT", "MIT-0", "PSF-2.0"}
# Some packages declare a classifier and not an SPDX identifier.
CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD",
}


@pytest.fixture(scope="module")
def components() -> dict[str, set[str]]:
    """Write the bill of materials, and return the licences of each package in it."""
    subprocess.run(
        ["make", "--silent", "--directory", ROOT, SBOM],  # noqa: S607 - from the path
        check=True,
    )
    bill = json.loads((ROOT / SBOM).read_text("utf-8"))
    return {
        f"{normalised(component['name'])}=={component['version']}": {
            CLASSIFIERS.get(name, name)
            for choice in component["licenses"]
            for name in [choice["license"].get("id") or choice["license"]["name"]]
        }
        for component in bill["components"]
    }


def normalised(name: str) -> str:
    """Return the package *name* as the lock file spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_bill_of_materials_equals_the_lock(components: dict[str, set[str]]) -> None:
    lock = (MAKEFILE_FOLDER / "requirements.txt").read_text("utf-8")

    assert components.keys() == set(re.findall(r"(?m)^(\S+==\S+) \\$", lock))


def test_every_package_has_an_allowed_licence(components: dict[str, set[str]]) -> None:
    for package, licences in components.items():
        assert licences, package
        assert licences <= LICENCES, package


def test_file_with_another_hash_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "functions"
    shutil.copytree(MAKEFILE_FOLDER, source)
    lock = source / "requirements.txt"
    text = lock.read_text("utf-8")
    first = text[: text.index("# via")]
    lock.write_text(text.replace(first, re.sub(r"sha256:\w{8}", "sha256:00000000", first)), "utf-8")

    made = make(
        "build-StartFunction",
        f"ARTIFACTS_DIR={tmp_path / 'package'}",
        f"ARCHITECTURE={ARCHITECTURE}",
        folder=source,
    )

    assert made.returncode != 0
    assert "DO NOT MATCH THE HASHES" in made.stderr
    assert not (tmp_path / "package").exists()


def test_every_locked_package_has_a_hash() -> None:
    """The locks are those of the packages and of the tools that build and test them."""
    for lock in (MAKEFILE_FOLDER / "requirements.txt", *(ROOT / "requirements").glob("*.txt")):
        entries = re.split(r"(?m)^(?=\S+==)", lock.read_text("utf-8"))[1:]

        assert entries, lock
        for entry in entries:
            assert "--hash=sha256:" in entry, (lock, entry)


def test_evaluator_is_locked_by_hash_for_any_registry() -> None:
    lock = json.loads((ROOT / "requirements" / "package-lock.json").read_text("utf-8"))

    del lock["packages"][""]
    assert lock["packages"]
    for name, package in lock["packages"].items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
