"""Translates a SAM template (standard input) into plain CloudFormation (standard output), in JSON.

This is a separate process, because the translator reads the region from the environment.
"""

import json
import sys

from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]

template = json.load(sys.stdin)
# The translator refuses a local path, which `sam package` replaces with an address like this.
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/package.zip"
# The map of managed policies is None, because the template does not use any.
json.dump(Translator(None, Parser()).translate(template, parameter_values={}), sys.stdout)
