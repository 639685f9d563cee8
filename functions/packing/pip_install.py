"""Runs ``pip install`` with the arguments that follow, and ignores this machine's settings of pip.

pip's variables and configuration files can send packages elsewhere (``user``, ``target``), leave
some out or refuse them all. Only the settings of the package index are kept.
Any Python 3 can run this: it installs uv before anything else is there.
"""

import ast
import os
import subprocess
import sys

# https://pip.pypa.io/en/stable/topics/configuration/: an option is a variable, PIP_INDEX_URL.
KEPT = {
    *("index-url", "extra-index-url", "find-links", "no-index", "trusted-host"),
    *("cert", "client-cert", "proxy", "keyring-provider"),
    *("cache-dir", "no-cache-dir", "default-timeout", "timeout", "retries"),
}
# The sections of a configuration file that count for `pip install`: the later one wins.
SECTIONS = ("global", "install")


def variable(option: str) -> str:
    """Return the environment variable that sets pip's *option*."""
    return "PIP_" + option.upper().replace("-", "_")


def main() -> int:
    """Return the exit status of pip."""
    kept = {"PIP_CONFIG_FILE", *map(variable, KEPT)}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") or name in kept
    }
    files = {}
    lines = configured(environment).splitlines()
    for section in SECTIONS:
        for line in lines:
            name, _, value = line.partition("=")
            where, _, option = name.partition(".")
            if where == section and option in KEPT:
                files[variable(option)] = str(ast.literal_eval(value))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    return subprocess.call(
        [*pip, *sys.argv[1:]], env={**files, **environment, "PIP_CONFIG_FILE": os.devnull}
    )


def configured(environment: "dict[str, str]") -> str:
    """Return pip's settings from its files, one in each line, such as global.user='true'."""
    # so that it prints its settings
    said = {"PIP_QUIET": "0", "PIP_VERBOSE": "0", "PIP_LOG": os.devnull}
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        return subprocess.check_output(command, env={**environment, **said}).decode()
    except subprocess.CalledProcessError:
        sys.exit("pip cannot read its configuration, as it says above: `pip config debug` helps")


if __name__ == "__main__":
    sys.exit(main())
