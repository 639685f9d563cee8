"""Both templates, and the settings, accept and refuse the values that parameters.toml lists."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from settings import StartSettings
from tests.infra.golden import STACKS
from tests.support.packages import VARIABLES

VALUES = tomllib.loads(Path(__file__).with_name("parameters.toml").read_text("utf-8"))
# Lambda may run older code with the environment of the next release.
LATER = {"SETTING_OF_NEXT_RELEASE": "x"}


def _values() -> Iterator[tuple[str, str, str, bool]]:
    """Yield each stack and parameter with a value, and whether the value is accepted."""
    for stack, parameters in VALUES.items():
        for name, values in parameters.items():
            rules = STACKS[stack]["Parameters"][name]
            default = [rules["Default"]] if "Default" in rules else []
            accepted = [*values["accepted"], *rules.get("AllowedValues", []), *default]
            refused = values["refused"]
            if "longest" in values:
                longest = values["longest"].ljust(values["length"], "x")
                accepted, refused = [*accepted, longest], [*refused, f"{longest}x"]
            yield from ((stack, name, value, True) for value in sorted(set(map(str, accepted))))
            yield from ((stack, name, value, False) for value in refused)


def _settings_accept(variable: str, value: str) -> bool:
    try:
        StartSettings.model_validate(VARIABLES | {variable: value} | LATER)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("stack", "name", "value", "accepted"), list(_values()))
def test_template_and_settings_decide_as_listed(
    stack: str, name: str, value: str, *, accepted: bool
) -> None:
    rules = STACKS[stack]["Parameters"][name]
    variable = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()

    assert accepted == (
        value in map(str, rules.get("AllowedValues", [value]))
        and len(value) <= rules.get("MaxLength", 4096)
        and re.fullmatch(rules.get("AllowedPattern", "(?s:.*)"), value) is not None
    )
    if stack == "connector" and variable.lower() in StartSettings.model_fields:
        assert _settings_accept(variable, value) == accepted
    if name == "PublicBaseUrl" and accepted and value:
        assert _settings_accept("REDIRECT_URI", f"{value}/callback")


@pytest.mark.parametrize("stack", STACKS)
def test_every_parameter_is_listed(stack: str) -> None:
    assert VALUES[stack].keys() == STACKS[stack]["Parameters"].keys()
