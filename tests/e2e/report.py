"""A report on a deployed stack, to paste into an issue, with the points of docs/first-deploy.md."""

import re
import subprocess
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from demo.template import ROOT

CHECKLIST = ROOT / "docs" / "first-deploy.md"
# From the best to the worst: a point that several tests check has the worst result of them.
RESULTS = {"passed": "ok", "skipped": "unproven", "failed": "**not ok**"}


def checked_points() -> list[str]:
    """Return the titles of the points that tests check: the first cells of the checklist's rows."""
    return re.findall(r"^\| \*\*(.+?)\*\* \|", CHECKLIST.read_text("utf-8"), re.MULTILINE)


def points_by_hand() -> list[str]:
    """Return the titles of the points that the operator checks: the checklist's third headings."""
    return re.findall(r"^### (.+)$", CHECKLIST.read_text("utf-8"), re.MULTILINE)


class Report:
    """What was seen of one stack. It holds no secret as long as no test records one."""

    def __init__(self, stack_name: str, region: str) -> None:
        """Begin a report on *stack_name* in *region*."""
        self._name, self._region = stack_name, region
        self._outcomes: defaultdict[str, list[str]] = defaultdict(list)
        self._seen: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def record(self, title: str, outcome: str, *seen: str) -> None:
        """Add what a test with *outcome* (a key of `RESULTS`) has *seen* of the point *title*."""
        self._outcomes[title].append(outcome)
        self._seen[title] |= dict.fromkeys(seen)

    def markdown(self) -> str:
        """Return the report."""
        git = ["git", "describe", "--always", "--dirty"]
        commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        where = f"stack {self._name}, {self._region}, {datetime.now(UTC):%Y-%m-%d}"
        lines = [
            f"First deploy of {commit.strip() or 'an unknown commit'}: {where}",
            "\n| point | result | seen |\n|---|---|---|",
        ]
        for title in checked_points():
            worst = max(self._outcomes[title], key=list(RESULTS).index, default="skipped")
            seen = ", ".join(self._seen[title])
            nothing = "as it should be" if worst == "passed" else "nothing"
            lines.append(f"| {title} | {RESULTS[worst]} | {seen or nothing} |")
        by_hand = (f"- [ ] {title}: " for title in points_by_hand())
        return "\n".join([*lines, "\nBy hand:\n", *by_hand, ""])

    def write(self) -> Path:
        """Write the report to a file, and return its path."""
        path = ROOT / "build" / f"first-deploy-{self._name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.markdown(), "utf-8")
        return path
