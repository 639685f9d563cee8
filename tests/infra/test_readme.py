"""The README lists the parameters and outputs of the template."""

import re

import pytest

from demo import template as infra

README = (infra.ROOT / "README.md").read_text("utf-8")
TEMPLATE = infra.load()


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_table_lists_each_parameter_with_its_default(name: str) -> None:
    [default] = re.findall(rf"^\| `{name}` \| (.*?) \|", README, re.MULTILINE)

    assert default.strip("`") == str(TEMPLATE["Parameters"][name].get("Default") or "none")


def test_table_lists_no_other_parameter() -> None:
    assert re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE) == list(TEMPLATE["Parameters"])


def test_outputs_are_named_in_order() -> None:
    [outputs] = re.findall(r"^Outputs: (.*?)\.$", README, re.MULTILINE | re.DOTALL)

    assert re.findall(r"`(\w+)`", outputs) == list(TEMPLATE["Outputs"])
