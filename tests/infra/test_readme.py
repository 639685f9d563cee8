"""The README lists the parameters and outputs of the template.

Its shell blocks are valid, and so are those of every other page.
"""

import re
import subprocess
from pathlib import Path

import pytest

from demo import template as infra

README = (infra.ROOT / "README.md").read_text("utf-8")
TEMPLATE = infra.load()
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "examples/*/*.md")
    for path in infra.ROOT.glob(pattern)
)


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_table_lists_each_parameter_with_its_default(name: str) -> None:
    [default] = re.findall(rf"^\| `{name}` \| (.*?) \|", README, re.MULTILINE)

    assert default.strip("`") == str(TEMPLATE["Parameters"][name].get("Default") or "none")


def test_table_lists_no_other_parameter() -> None:
    assert re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE) == list(TEMPLATE["Parameters"])


def test_outputs_are_named_in_order() -> None:
    [outputs] = re.findall(r"^Outputs: (.*?)\.$", README, re.MULTILINE | re.DOTALL)

    assert re.findall(r"`(\w+)`", outputs) == list(TEMPLATE["Outputs"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(infra.ROOT)))
def test_shell_blocks_are_valid_bash(page: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)

    for block in blocks:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)  # noqa: S607 - any bash
