"""Measures both functions against their rivals, in one run: ``make bench``.

The cold starts of all rivals are interleaved, in a random order in each round. The result is the
median of the ratios within the rounds, because a busy machine slows both sides of a ratio. The
tables go into docs/performance.md, and the exit status is 1 if a limit is exceeded.

Variables: ``ROUNDS`` of cold starts, ``INVOCATIONS`` of a warm process, ``SEED`` of the order.
"""

import json
import os
import platform
import random
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from unittest.mock import MagicMock

import trustme
from aws_lambda_powertools import Logger

from benchmarks.aws_stub import aws_stub
from benchmarks.measure import Cold, Warm, cold, warm
from benchmarks.rivals import Rival, make_rivals
from callback.app import CallbackApp
from callback.publisher import Publisher
from demo.template import ROOT
from settings import CallbackSettings, StartSettings
from start.app import StartApp
from state_store import StateStore
from tests.support.connector import REQUESTS
from tests.support.flow import pending
from tests.support.packages import VARIABLES

ROUNDS = int(os.environ.get("ROUNDS", "40"))
INVOCATIONS = int(os.environ.get("INVOCATIONS", "1000"))
SEED = int(os.environ.get("SEED", "1"))
DOCUMENT = ROOT / "docs" / "performance.md"
WHOLE_PROCESSOR = 1769  # MB of memory for which Lambda gives one whole processor

# A function, its rival, and the limit of their ratio.
COLD = [
    ("start", "bare client", 1.10),
    ("callback", "bare client", 1.22),
    ("start", "start, version 1", 0.99),
    ("start", "start, plain sam build", 0.36),
]
WARM = [("start", "bare calls of start", 1.12), ("callback", "bare calls of callback", 1.08)]
# The limit of the first call's processor time, in milliseconds.
FIRST_CALL = {"start": 12, "callback": 28}
EXCEEDED = "**exceeded**"


def main() -> None:
    """Measure all rivals, print the tables, and write them into the document."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        authority = trustme.CA()
        with aws_stub(pending().item, authority) as url:
            _say("Packing the functions and their rivals ...")
            rivals = _configured(make_rivals(Path(name)), Path(name), authority, url)
            colds = _cold_starts(rivals)
            warms: dict[str, Warm] = {}
            for ours, theirs, _ in WARM:
                _say(f"  warm: {INVOCATIONS} invocations of {ours} and of {theirs}")
                warms[ours], warms[theirs] = warm([rivals[ours], rivals[theirs]], INVOCATIONS)
    report = "\n\n".join(
        [_conditions(), _ratios(colds, warms), _first(colds), _times(colds, warms)]
    )
    _say(f"\n{report}")
    _write("make bench", report)
    _write("make bench, memory", _memory(colds, warms))
    sys.exit(EXCEEDED in report)


def _configured(
    rivals: dict[str, Rival], folder: Path, authority: trustme.CA, url: str
) -> dict[str, Rival]:
    """Return *rivals* with their variables; they trust *authority* too, and call AWS at *url*."""
    variables = VARIABLES | {"AWS_ENDPOINT_URL": url, "POWERTOOLS_SERVICE_NAME": "benchmark"}
    variables |= {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
    calls = _recorded(variables)
    for name, rival in rivals.items():
        bundle = folder / f"{name}.pem"
        bundle.write_text(f"{rival.authorities}\n{authority.cert_pem.bytes().decode()}", "utf-8")
        own = {"AWS_CA_BUNDLE": str(bundle), "CALLS": json.dumps(calls.get(rival.request, []))}
        request = rival.request or "start"
        rivals[name] = replace(rival, environment=variables | own, request=request)
    return rivals


def _recorded(variables: dict[str, str]) -> dict[str, list[tuple[str, str, object]]]:
    """Return the service, operation and parameters of the AWS calls of one request to each."""
    logger = Logger(level="CRITICAL")
    start, callback = MagicMock(), MagicMock()
    callback.dynamodb.update_item.return_value = {"Attributes": pending().item}
    for_start = StartSettings.model_validate(variables)
    for_callback = CallbackSettings.model_validate(variables)
    states = StateStore(callback.dynamodb, for_callback)
    publisher = Publisher(callback.sns, for_callback.topic_arn)
    with redirect_stdout(None):  # metrics
        StartApp(for_start, StateStore(start.dynamodb, for_start), logger).handle(REQUESTS["start"])
        CallbackApp(for_callback, states, publisher, logger).handle(REQUESTS["callback"])
    calls = {
        name: [(*call[0].split("."), call.kwargs) for call in aws.mock_calls]
        for name, aws in (("start", start), ("callback", callback))
    }
    four = ["update_item", "publish", "put_item", "delete_item"]
    assert [operation for _, operation, _ in calls["callback"]] == four
    return calls


def _cold_starts(rivals: dict[str, Rival]) -> dict[str, list[Cold]]:
    draw = random.Random(SEED)  # noqa: S311 - an order, no secret
    samples: dict[str, list[Cold]] = {name: [] for name in rivals}
    for number in range(ROUNDS + 1):
        for name in draw.sample(sorted(rivals), len(rivals)):
            samples[name].append(cold(rivals[name]))
        _say(f"  cold starts: round {number} of {ROUNDS}")
    # The first round only fills the file cache.
    return {name: found[1:] for name, found in samples.items()}


def _conditions() -> str:
    [load_average, *_] = os.getloadavg()
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {platform.machine()} with {os.cpu_count()}"
        f" processors, Python {platform.python_version()}, load {load_average:.1f} at the end;"
        f" {ROUNDS} rounds of cold starts, {INVOCATIONS} warm invocations, seed {SEED}."
    )


def _ratios(colds: dict[str, list[Cold]], warms: dict[str, Warm]) -> str:
    """Return the table of each function's time by its rival's."""
    rows = []
    for ours, theirs, limit in COLD:
        pairs = list(zip(colds[ours], colds[theirs], strict=True))
        cpu = median(one.cpu / other.cpu for one, other in pairs)
        walls = [one.wall / other.wall for one, other in pairs]
        rows.append(
            [f"cold {ours} / {theirs}", *_median(walls, 2), f"{cpu:.2f}", *_met(walls, limit)]
        )
    for ours, theirs, limit in WARM:
        one, other = warms[ours], warms[theirs]
        walls = [wall / rival for wall, rival in zip(one.walls, other.walls, strict=True)]
        cpu = one.cpu / other.cpu
        rows.append(
            [f"warm {ours} / {theirs}", *_median(walls, 2), f"{cpu:.2f}", *_met(walls, limit)]
        )
    return _table("ratio | median | middle half | CPU | limit | ", rows)


def _first(colds: dict[str, list[Cold]]) -> str:
    rows = []
    for name, limit in FIRST_CALL.items():
        found = [sample.first_call for sample in colds[name]]
        rows.append([f"first call of {name}", *_median(found, 1), *_met(found, limit)])
    return _table("milliseconds of CPU | median | middle half | limit | ", rows)


def _times(colds: dict[str, list[Cold]], warms: dict[str, Warm]) -> str:
    rows = []
    for name, samples in colds.items():
        walls, cpus, first_calls = zip(*samples, strict=True)
        of = warms.get(name)
        warm_cells = [f"{median(of.walls):.2f}", f"{of.cpu:.2f}"] if of else ["", ""]
        cpu_cells = [f"{median(cpus):.0f}", f"{median(first_calls):.1f}"]
        rows.append([name, *_median(walls, 0), *cpu_cells, *warm_cells])
    head = "milliseconds | cold start | middle half | CPU | first call's CPU | warm, p50 | CPU"
    return _table(head, rows)


def _memory(colds: dict[str, list[Cold]], warms: dict[str, Warm]) -> str:
    """Return a model of durations by memory: Lambda gives one processor for 1,769 MB."""
    cpus = [median(sample.first_call for sample in colds[name]) for name in FIRST_CALL]
    cpus += [warms[ours].cpu for ours, *_ in WARM]
    rows = [
        [f"{memory:,} MB", *(f"{cpu * WHOLE_PROCESSOR / memory:.0f} ms" for cpu in cpus)]
        for memory in (128, 256, 512, 1024, WHOLE_PROCESSOR)
    ]
    return _table("memory | first start | first callback | warm start | warm callback", rows)


def _median(values: Sequence[float], digits: int) -> list[str]:
    """Return two cells: the median of *values*, and the range of their middle half."""
    low, middle, high = quantiles(values)
    return [f"{middle:.{digits}f}", f"{low:.{digits}f} to {high:.{digits}f}"]


def _met(values: Sequence[float], limit: float) -> list[str]:
    """Return two cells: *limit*, and whether the median of *values* is within it."""
    return [f"{limit}", "met" if round(median(values), 2) <= limit else EXCEEDED]


def _table(head: str, rows: list[list[str]]) -> str:
    lines = [head, " | ".join(["---"] * len(rows[0])), *map(" | ".join, rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _write(marker: str, table: str) -> None:
    """Put *table* into the document, between *marker* and the next end marker."""
    text = DOCUMENT.read_text("utf-8")
    marked = rf"(?s)(<!-- {marker}: -->\n).*?(<!-- end -->)"
    DOCUMENT.write_text(re.sub(marked, rf"\1\n{table}\n\n\2", text), "utf-8")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a program


if __name__ == "__main__":
    main()
