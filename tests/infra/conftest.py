"""The template as it is written, and as SAM turns it into plain CloudFormation."""

import json
import subprocess
from pathlib import Path

import pytest

from demo.template import ROOT, Template, load


@pytest.fixture(scope="session")
def template() -> Template:
    """Return infra/template.yaml."""
    return load()


@pytest.fixture(scope="session")
def translated(template: Template) -> str:
    """Return the template as plain CloudFormation, in JSON: what the stack is made of."""
    python = ROOT / ".venv-sam" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs the SAM CLI: run `make build` once")
    return subprocess.run(
        [python, Path(__file__).with_name("sam_translation.py")],
        input=json.dumps(template),
        env={"AWS_DEFAULT_REGION": "eu-west-3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
