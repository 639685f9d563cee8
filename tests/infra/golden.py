"""Both templates as plain CloudFormation: what SAM's translator makes of them, kept in golden/.

To update them after a change of a template: `.venv/bin/python -m tests.infra.golden`.
"""

import json
from pathlib import Path

import boto3
from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]

from demo.template import EXAMPLE, TEMPLATE, Template, load

TEMPLATES = {"connector": TEMPLATE, "subscriber": EXAMPLE}
PATHS = {stack: Path(__file__).parent / "golden" / f"{stack}.json" for stack in TEMPLATES}
STACKS: dict[str, Template] = {
    stack: json.loads(path.read_text("utf-8")) for stack, path in PATHS.items()
}


def translated(stack: str) -> str:
    """Return the template of *stack* as CloudFormation receives it from SAM, in JSON."""
    template = load(TEMPLATES[stack])
    # The translator refuses a local path, which `sam package` replaces with an address like this.
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/package.zip"
    # The map of managed policies is None, because the templates do not use any.
    translator = Translator(None, Parser(), boto_session=boto3.Session(region_name="eu-west-3"))
    plain = translator.translate(template, parameter_values={})
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, path in PATHS.items():
        path.write_text(translated(name), "utf-8")
