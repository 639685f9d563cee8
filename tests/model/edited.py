"""Imports a copy of the project's code, in which texts are replaced: a broken variant."""

import importlib
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from unittest.mock import patch

import pytest

from tests.support.slow import slow


def modules(
    folder: Path, names: Sequence[str], edits: Mapping[str, str], package: str = ""
) -> list[ModuleType]:
    """Import the modules *names* of *folder*, with each first text of *edits* replaced.

    Each of these texts stands in the code once. The *package* is the folder's own name, if it is
    one.
    """
    with (
        TemporaryDirectory() as name,
        patch.dict(sys.modules),
        patch("sys.path", [name, *sys.path]),
    ):
        copy = shutil.copytree(folder, Path(name, package), dirs_exist_ok=True)
        for old, new in edits.items():
            [file] = [path for path in copy.rglob("*.py") if old in path.read_text("utf-8")]
            source = file.read_text("utf-8")
            assert source.count(old) == 1, old
            file.write_text(source.replace(old, new), "utf-8")
        for known, module in list(sys.modules.items()):
            if Path(getattr(module, "__file__", None) or "").is_relative_to(folder):
                del sys.modules[known]
        return [importlib.import_module(module) for module in names]


def variants(section: str) -> pytest.MarkDecorator:
    """Return a mark that gives a test each variant in a *section* of broken.toml."""
    rows = tomllib.loads(Path(__file__).with_name("broken.toml").read_text("utf-8"))[section]
    return pytest.mark.parametrize(
        "variant",
        [
            pytest.param(row, marks=slow if row.get("is_slow") else (), id=row["without"])
            for row in rows
        ],
    )
