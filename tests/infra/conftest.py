"""The template as it is written, and as SAM turns it into plain CloudFormation."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.template import Template, load


@pytest.fixture(scope="session")
def template() -> Template:
    """Return infra/template.yaml."""
    return load()


@pytest.fixture(scope="session")
def translate() -> Callable[[Template], str]:
    """Return what SAM does: it turns a template into plain CloudFormation, in JSON."""

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
    """Return infra/template.yaml as plain CloudFormation: what the stack is made of."""
    return translate(template)
