"""Turns the SAM template on standard input into plain CloudFormation on standard output, as JSON.

In a process of its own: the translator asks the environment for the region.
"""

import json
import sys

from samtranslator.parser.parser import Parser  # type: ignore[import-untyped]
from samtranslator.translator.translator import Translator  # type: ignore[import-untyped]

template = json.load(sys.stdin)
# The translator takes no local path; sam package puts such an address in its place.
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/package.zip"
# No name of a managed policy needs to be looked up: there is no map of them.
json.dump(Translator(None, Parser()).translate(template, parameter_values={}), sys.stdout)
