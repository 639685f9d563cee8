"""A report on a deployed stack, to paste into an issue, with the points of docs/first-deploy.md."""

import re
import subprocess
import tomllib
from collections import defaultdict
from contextlib import suppress
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
        self._stack_name = stack_name
        self._region = region
        self._outcomes: defaultdict[str, list[str]] = defaultdict(list)
        self._seen: defaultdict[str, list[str]] = defaultdict(list)

    def record(self, title: str, outcome: str, *seen: str) -> None:
        """Add what a test with *outcome* (a key of `RESULTS`) has *seen* of the point *title*."""
        self._outcomes[title].append(outcome)
        self._seen[title] += [each for each in seen if each not in self._seen[title]]

    def markdown(self) -> str:
        """Return the report."""
        where = f"stack {self._stack_name}, {self._region}, {datetime.now(UTC):%Y-%m-%d}"
        return "\n".join(
            [
                f"First deploy of {_version()}: {where}",
                "",
                "| point | result | seen |",
                "|---|---|---|",
                *(self._row(title) for title in checked_points()),
                "",
                "By hand:",
                "",
                *(f"- [ ] {title}: " for title in points_by_hand()),
                "",
            ]
        )

    def write(self) -> Path:
        """Write the report to a file, and return its path."""
        path = ROOT / "build" / f"first-deploy-{self._stack_name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.markdown(), "utf-8")
        return path

    def _row(self, title: str) -> str:
        worst = max(self._outcomes[title], key=list(RESULTS).index, default="skipped")
        nothing = "as it should be" if worst == "passed" else "nothing"
        seen = ", ".join(self._seen[title]) or nothing
        return f"| {title} | {RESULTS[worst]} | {seen} |"


def _version() -> str:
    """Return the version of this project, and its commit where Git knows it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    commit = ""
    with suppress(OSError):
        command = ["git", "describe", "--always", "--dirty"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        commit = run.stdout.strip()
    return f"{project['name']} {project['version']} ({commit or 'commit unknown'})"
