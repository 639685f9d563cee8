"""A report on a deployed stack, to paste into an issue, with the points of docs/first-deploy.md."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo.template import ROOT

CHECKLIST = (ROOT / "docs" / "first-deploy.md").read_text("utf-8")
# The points that tests check are the first cells of the checklist's rows; those that the operator
# checks are its third headings.
CHECKED_POINTS = re.findall(r"^\| \*\*(.+?)\*\* \|", CHECKLIST, re.MULTILINE)
POINTS_BY_HAND = re.findall(r"^### (.+)$", CHECKLIST, re.MULTILINE)
# From the best to the worst: a point that several tests check has the worst result of them.
RESULTS = {"passed": "ok", "skipped": "unproven", "failed": "**not ok**"}


def write(stack_name: str, tests: list[pytest.TestReport]) -> Path:
    """Write what *tests* saw of the stack to a file, and return its path."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    what = f"{commit.strip() or 'an unknown commit'}: stack {stack_name}"
    lines = [f"First deploy of {what}, {datetime.now(UTC):%Y-%m-%d}\n"]
    lines += ["| point | result | seen |", "|---|---|---|"]
    for title in CHECKED_POINTS:
        its = [test for test in tests if ("point", title) in test.user_properties]
        worst = max((test.outcome for test in its), key=list(RESULTS).index, default="skipped")
        seen = {str(text) for test in its for name, text in test.user_properties if name == "seen"}
        lines.append(f"| {title} | {RESULTS[worst]} | {', '.join(sorted(seen))} |")
    lines += ["\nBy hand:\n", *(f"- [ ] {title}: " for title in POINTS_BY_HAND), ""]
    path = ROOT / "build" / f"first-deploy-{stack_name}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines), "utf-8")
    return path
