"""Requests that software makes ahead of its user, and requests of the user."""

import tomllib
from pathlib import Path

type Headers = dict[str, str]

_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
AHEAD_OF_USER: dict[str, Headers] = _TABLES["ahead_of_user"]
BY_USER: dict[str, Headers] = _TABLES["by_user"]
