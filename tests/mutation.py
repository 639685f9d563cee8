"""Runs mutation tests, by hand: `.venv/bin/python -m tests.mutation functions`, half an hour.

The first argument says what is mutated: `functions` or the example `subscriber`. The others are
those of `mutmut run`; `mutmut results` and `mutmut show` work in build/mutation-functions and
build/mutation-subscriber. tests/mutation.toml lists the mutants that may survive.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

from demo.template import ROOT

# The tests read these, and import the modules of src/, the only folder that mutmut mutates.
NEEDED = ["demo", "docs", "examples", "functions", "infra", "pyproject.toml", "tests"]
MUTMUT = Path(sys.executable).with_name("mutmut")
SOURCES = {"functions": "functions", "subscriber": "examples/subscriber"}
INTEGRATION = "tests/integration/test_{}.py".format
TESTS = {
    "functions": [
        "tests/unit",
        *map(INTEGRATION, ("start", "callback", "state_store", "telemetry", "any_bytes")),
    ],
    "subscriber": [
        *map(INTEGRATION, ("subscriber", "tokens", "attacks")),
        "tests/model/test_subscriber.py::test_subscriber_has_no_problem_in_any_order",
        "tests/model/test_tokens.py::test_tokens_have_no_problem_in_any_order",
    ],
}


def copy_to(folder: Path, target: str) -> None:
    """Copy the project to *folder*, with the source of *target* in src/ too."""
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, folder / name)
    source = SOURCES[target]
    shipped = shutil.ignore_patterns("packing")
    shutil.copytree(ROOT / source, folder / "src", ignore=shipped, dirs_exist_ok=True)
    project = (folder / "pyproject.toml").read_text("utf-8")
    paths = f'pythonpath = ["src", {"" if target == "functions" else '"functions", '}'
    project = re.sub(r"(?m)^pythonpath = \[", paths, project.replace(f'"{source}", ', "", 1))
    settings = {
        "source_paths": ["src"],
        "also_copy": NEEDED,
        "pytest_add_cli_args_test_selection": TESTS[target],
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
    }
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    (folder / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]))


def report(folder: Path, target: str) -> str:
    """Return a line for each function of which more mutants survived in *folder* than may."""
    results = subprocess.run(
        [MUTMUT, "results"], cwd=folder, capture_output=True, text=True, check=True
    )
    names = re.findall(r"(\S+)__mutmut_\d+: survived", results.stdout)
    survived = Counter(re.sub(r"\.xǁ|\.x_|ǁ", ".", name) for name in names)
    may = tomllib.loads((ROOT / "tests" / "mutation.toml").read_text("utf-8"))[target]
    return "".join(
        f"{name}: {count} survived\n"
        for name, count in survived.items()
        if count > may.get(name, [0])[0]
    )


if __name__ == "__main__":
    target, *arguments = sys.argv[1:]
    scratch = ROOT / "build" / f"mutation-{target}"
    scratch.mkdir(parents=True, exist_ok=True)
    copy_to(scratch, target)
    subprocess.run([MUTMUT, "run", *arguments], cwd=scratch, check=True)
    sys.exit(report(scratch, target) or 0)
