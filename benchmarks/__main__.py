"""Measures both functions against their rivals, in one run: ``make bench``.

The cold starts of all rivals are interleaved, in a random order in each round. The result is the
median of the ratios within the rounds, because a busy machine slows both sides of a ratio. The
tables and the chart go into docs/performance.md, and the exit status is 1 if a limit is exceeded.

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
from dataclasses import dataclass, replace
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
from tests.integration.connector import REDIRECT_URI, REQUESTS
from tests.unit.flow import pending

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


@dataclass(frozen=True)
class Ratio:
    """A function's time by its rival's: in each round, by processor time, and at most."""

    label: str
    rounds: Sequence[float]
    cpu: float
    limit: float

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of the table of ratios."""
        met = "met" if round(self.median, 2) <= self.limit else EXCEEDED
        numbers = f"{self.median:.2f}", _spread(self.rounds, 2), f"{self.cpu:.2f}"
        return self.label, *numbers, f"{self.limit:.2f}", met


def main() -> None:
    """Measure all rivals, print the tables, and write them and the chart into the document."""
    authority = trustme.CA()
    with (
        TemporaryDirectory(prefix="benchmark-") as name,
        aws_stub(pending().item, authority) as url,
    ):
        folder = Path(name)
        _say("Packing the functions and their rivals ...")
        variables = _variables(url)
        calls = recorded(variables)
        rivals = {}
        for rival in make_rivals(folder):
            bundle = folder / f"{rival.name}.pem"
            bundle.write_text(f"{rival.authorities}\n{authority.cert_pem.bytes().decode()}")
            environment = {"CALLS": json.dumps(calls.get(rival.request, []))}
            environment |= {**variables, "AWS_CA_BUNDLE": str(bundle)}
            request = rival.request or "start"
            rivals[rival.name] = replace(rival, environment=environment, request=request)
        colds = _cold_starts(rivals)
        warms: dict[str, Warm] = {}
        for ours, theirs, _ in WARM:
            _say(f"  warm: {INVOCATIONS} invocations of {ours} and of {theirs}")
            warms[ours], warms[theirs] = warm([rivals[ours], rivals[theirs]], INVOCATIONS)
    ratios = [*(_cold_ratio(colds, *row) for row in COLD), *(_warm_ratio(warms, *r) for r in WARM)]
    first_calls = {name: [sample.first_call for sample in colds[name]] for name in FIRST_CALL}
    tables = [_chart(ratios), _ratios(ratios), _first_calls(first_calls), _times(colds, warms)]
    report = "\n\n".join([_conditions(), *tables])
    _say(f"\n{report}")
    _write("make bench", report)
    _write("make bench, memory", _memory(first_calls, warms))
    sys.exit(EXCEEDED in report)


def recorded(variables: dict[str, str]) -> dict[str, list[tuple[str, str, object]]]:
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


def _variables(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "QONTO_ENVIRONMENT": "sandbox",
        "CLIENT_ID": "client-1",
        "SCOPE": "offline_access organization.read",
        "REDIRECT_URI": REDIRECT_URI,
        "TABLE_NAME": "states",
        "TOPIC_ARN": "arn:aws:sns:eu-west-3:000000000000:authorizations",
        "POWERTOOLS_SERVICE_NAME": "benchmark",
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }


def _cold_starts(rivals: dict[str, Rival]) -> dict[str, list[Cold]]:
    draw = random.Random(SEED)  # noqa: S311 - an order, no secret
    samples: dict[str, list[Cold]] = {name: [] for name in rivals}
    for number in range(ROUNDS + 1):
        for name in draw.sample(sorted(rivals), len(rivals)):
            sample = cold(rivals[name])
            if number:  # the first round only fills the file cache
                samples[name].append(sample)
        if number:
            ratio = _cold_ratio(samples, *COLD[0])
            _say(f"  cold starts: round {number} of {ROUNDS}; {ratio.label} {ratio.median:.2f}")
    return samples


def _cold_ratio(colds: dict[str, list[Cold]], ours: str, theirs: str, limit: float) -> Ratio:
    pairs = list(zip(colds[ours], colds[theirs], strict=True))
    cpu = median(one.cpu / other.cpu for one, other in pairs)
    return Ratio(f"cold {ours} / {theirs}", [a.wall / b.wall for a, b in pairs], cpu, limit)


def _warm_ratio(warms: dict[str, Warm], ours: str, theirs: str, limit: float) -> Ratio:
    one, other = warms[ours], warms[theirs]
    rounds = [wall / rival for wall, rival in zip(one.walls, other.walls, strict=True)]
    return Ratio(f"warm {ours} / {theirs}", rounds, one.cpu / other.cpu, limit)


def _conditions() -> str:
    [load_average, *_] = os.getloadavg()
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {platform.machine()} with {os.cpu_count()}"
        f" processors, Python {platform.python_version()}, load {load_average:.1f} at the end;"
        f" {ROUNDS} rounds of cold starts, {INVOCATIONS} warm invocations, seed {SEED}."
    )


def _chart(ratios: Sequence[Ratio]) -> str:
    """Return a chart that GitHub draws: a bar is a ratio, the line is its limit."""
    return "\n".join(
        [
            *("```mermaid", "xychart-beta horizontal"),
            '    title "Time by the rival\'s, and its limit (line): shorter is faster"',
            f"    x-axis [{', '.join(f'"{ratio.label}"' for ratio in ratios)}]",
            '    y-axis "ratio" 0 --> 1.4',
            f"    bar [{', '.join(f'{ratio.median:.2f}' for ratio in ratios)}]",
            f"    line [{', '.join(f'{ratio.limit:.2f}' for ratio in ratios)}]",
            "```",
        ]
    )


def _ratios(ratios: Sequence[Ratio]) -> str:
    head = ("ratio", "median", "middle half", "CPU", "limit", "")
    return _table(head, [ratio.row for ratio in ratios])


def _first_calls(first_calls: dict[str, list[float]]) -> str:
    rows = []
    for name, most in FIRST_CALL.items():
        found = median(first_calls[name])
        met = "met" if found <= most else EXCEEDED
        spread = _spread(first_calls[name], 1)
        rows.append((f"first call of {name}", f"{found:.1f}", spread, str(most), met))
    return _table(("milliseconds of CPU", "median", "middle half", "limit", ""), rows)


def _times(colds: dict[str, list[Cold]], warms: dict[str, Warm]) -> str:
    rows = []
    for name, samples in colds.items():
        walls = [sample.wall for sample in samples]
        cells = [name, f"{median(walls):.0f}", _spread(walls, 0)]
        cells.append(f"{median(sample.cpu for sample in samples):.0f}")
        cells.append(f"{median(sample.first_call for sample in samples):.1f}")
        of = warms.get(name)
        cells += [f"{median(of.walls):.2f}", f"{of.cpu:.2f}"] if of else ["", ""]
        rows.append(cells)
    head = ("cold start", "middle half", "CPU", "first call's CPU", "warm, p50", "CPU")
    return _table(("milliseconds", *head), rows)


def _memory(first_calls: dict[str, list[float]], warms: dict[str, Warm]) -> str:
    """Return a model of durations by memory: Lambda gives one processor for 1,769 MB."""
    cpus = [*map(median, first_calls.values()), *(warms[ours].cpu for ours, *_ in WARM)]
    rows = [
        [f"{memory:,} MB", *(f"{cpu * WHOLE_PROCESSOR / memory:.0f} ms" for cpu in cpus)]
        for memory in (128, 256, 512, 1024, WHOLE_PROCESSOR)
    ]
    head = ("memory", "first start", "first callback", "warm start", "warm callback")
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _spread(values: Sequence[float], digits: int) -> str:
    """Return the range of the middle half of *values*."""
    low, _, high = quantiles(values)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _write(marker: str, table: str) -> None:
    """Put *table* into the document, between *marker* and the next end marker."""
    text = re.sub(
        rf"(?s)(<!-- {marker}: -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{table}\n\n{found[2]}",
        DOCUMENT.read_text("utf-8"),
    )
    DOCUMENT.write_text(text, "utf-8")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a program


if __name__ == "__main__":
    main()
