"""Runs mutation tests of functions/, by hand: `.venv/bin/python -m tests.mutation`, half an hour.

Its arguments are those of `mutmut run`; `mutmut results` and `mutmut show` work in build/mutation.
mutmut recognises a module only if its source is in a folder `src`, so it runs in a copy of this
project in which functions/ is copied to src/ too. tests/mutation.md lists the accepted survivors.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from demo.template import ROOT

# The tests below read these files. Python imports the modules of src/; functions/ stays unchanged.
NEEDED = ["demo", "docs", "examples", "functions", "infra", "pyproject.toml", "tests"]
TESTS = [
    "tests/unit",
    *(
        f"tests/integration/test_{name}.py"
        for name in (
            "start",
            "callback",
            "repeats",
            "own_faults",
            "state_store",
            "telemetry",
            "imports",
        )
    ),
]


def copy_to(folder: Path) -> None:
    """Copy the project to *folder* in the layout that mutmut requires."""
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, folder / name)
    shipped = shutil.ignore_patterns("packing")
    shutil.copytree(ROOT / "functions", folder / "src", ignore=shipped, dirs_exist_ok=True)
    project = (folder / "pyproject.toml").read_text("utf-8")
    project = re.sub(r'(?m)^pythonpath = \["functions", ', 'pythonpath = ["src", ', project)
    settings = {
        "source_paths": ["src"],
        "also_copy": NEEDED,
        "pytest_add_cli_args_test_selection": TESTS,
        # This test limits the length of the sources, and mutants are longer.
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--deselect", "tests/unit/test_size.py"],
    }
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    (folder / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]))


if __name__ == "__main__":
    scratch = ROOT / "build" / "mutation"
    scratch.mkdir(parents=True, exist_ok=True)
    copy_to(scratch)
    mutmut = Path(sys.executable).with_name("mutmut")
    sys.exit(subprocess.run([mutmut, "run", *sys.argv[1:]], cwd=scratch, check=False).returncode)
