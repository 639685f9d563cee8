"""Fixtures: infra/template.yaml as written, and as plain CloudFormation."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.live import EXAMPLE
from demo.template import Template, load


@pytest.fixture(scope="session")
def template() -> Template:
    """Return infra/template.yaml."""
    return load()


@pytest.fixture(scope="session")
def translate() -> Callable[[Template], str]:
    """Return SAM's translator: a function from a template to plain CloudFormation in JSON."""

    def run(template: Template) -> str:
        return subprocess.run(
            [sys.executable, Path(__file__).with_name("sam_translation.py")],
            input=json.dumps(template),
            env={"AWS_DEFAULT_REGION": "eu-west-3"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    return run


@pytest.fixture(scope="session")
def translated(translate: Callable[[Template], str], template: Template) -> str:
    """Return infra/template.yaml as plain CloudFormation, in JSON."""
    return translate(template)


@pytest.fixture(scope="session")
def translated_subscriber(translate: Callable[[Template], str]) -> str:
    """Return the example subscriber's template as plain CloudFormation, in JSON."""
    return translate(load(EXAMPLE))
