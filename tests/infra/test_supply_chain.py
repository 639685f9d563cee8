"""What is in a package: the locked files and no others, each with its licence."""

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
# Packages that name theirs in words.
IN_WORDS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD",
}


@pytest.fixture(scope="module")
def components() -> dict[str, set[str]]:
    """Write the bill of materials, and return from it each package's licences."""
    subprocess.run(
        ["make", "--silent", "--directory", ROOT, SBOM],  # noqa: S607 - from the path
        check=True,
    )
    bill = json.loads((ROOT / SBOM).read_text("utf-8"))
    return {
        f"{normalised(it['name'])}=={it['version']}": {
            IN_WORDS.get(name, name)
            for choice in it["licenses"]
            for name in [choice["license"].get("id") or choice["license"]["name"]]
        }
        for it in bill["components"]
    }


def normalised(name: str) -> str:
    """Return a package's name as the lock file has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_bill_of_materials_has_what_is_locked_and_nothing_else(
    components: dict[str, set[str]],
) -> None:
    lock = (MAKEFILE_FOLDER / "requirements.txt").read_text("utf-8")

    assert components.keys() == set(re.findall(r"(?m)^(\S+==\S+) \\$", lock))


def test_every_package_has_a_licence_that_allows_to_ship_it(
    components: dict[str, set[str]],
) -> None:
    for package, licences in components.items():
        assert licences, package
        assert licences <= LICENCES, package


def test_a_file_that_is_not_the_locked_one_fails_the_build(tmp_path: Path) -> None:
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


def test_every_locked_package_has_a_hash_for_each_of_its_files() -> None:
    """The lock of what is packed, and that of all that builds and tests it."""
    for lock in (MAKEFILE_FOLDER / "requirements.txt", *(ROOT / "requirements").glob("*.txt")):
        entries = re.split(r"(?m)^(?=\S+==)", lock.read_text("utf-8"))[1:]

        assert entries, lock
        for entry in entries:
            assert "--hash=sha256:" in entry, (lock, entry)
