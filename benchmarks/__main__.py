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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from benchmarks import load
from benchmarks.aws_stub import AwsStub, aws_stub
from benchmarks.calls import recorded
from benchmarks.chart import Result, svg
from benchmarks.measure import Cold, Warm, cold, warm
from benchmarks.rivals import Rival, make_rivals
from demo.template import ROOT
from tests.integration.connector import REDIRECT_URI
from tests.unit.flow import pending

ROUNDS = int(os.environ.get("ROUNDS", "40"))
INVOCATIONS = int(os.environ.get("INVOCATIONS", "1000"))
SEED = int(os.environ.get("SEED", "1"))
DOCUMENT = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
WHOLE_PROCESSOR = 1769  # MB of memory for which Lambda gives one whole processor
MEMORIES = (128, 256, 512, 1024, WHOLE_PROCESSOR)

# A function, its rival, and the limit of their ratio.
COLD = [
    ("start", "bare client", 1.10),
    ("callback", "bare client", 1.22),
    ("start", "first start", 0.99),
    ("callback", "first callback", None),  # which made two calls instead of four
    ("start", "plain start", 0.36),
    ("bare client", "botocore client", None),  # boto3's own share
]
WARM = [("start", "bare start", 1.12), ("callback", "bare callback", 1.08)]
# The limit of the first call's processor time, in milliseconds.
FIRST_CALL = {"start": 12, "callback": 28}
FOUR_CALLS = ["update_item", "publish", "put_item", "delete_item"]
EXCEEDED = "**exceeded**"


def main() -> None:
    """Measure all rivals, print the tables, and write them and the chart into docs/."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        _say("Packing the functions and their rivals ...")
        rivals = make_rivals(folder)
        with aws_stub(pending().item) as stub:
            variables = _variables(stub)
            rivals = {
                key: _deployed(rival, folder, stub, variables) for key, rival in rivals.items()
            }
            colds = _cold_starts(rivals)
            warms = _warm_calls(rivals)
    results = [
        *(_cold_result(rivals, colds, *row) for row in COLD),
        *(_warm_result(rivals, warms[row[0]], *row) for row in WARM),
    ]
    first_calls = {key: [sample.first_call for sample in colds[key]] for key in FIRST_CALL}
    _say(f"  load: {load.SECONDS} s for each number of connections")
    parts = [_conditions(), _verdicts(results, first_calls), _times(rivals, colds, warms)]
    report = "\n\n".join([*parts, load.table()])
    _say(f"\n{report}")
    CHART.write_text(svg([result for result in results if result.limit]), "utf-8")
    _write("make bench", report)
    _write("make bench, memory", _memory(first_calls, warms))
    sys.exit(EXCEEDED in report)


def _write(marker: str, table: str) -> None:
    """Put *table* into the document, between *marker* and the next end marker."""
    text = re.sub(
        rf"(?s)(<!-- {marker}: -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{table}\n\n{found[2]}",
        DOCUMENT.read_text("utf-8"),
    )
    DOCUMENT.write_text(text, "utf-8")


def _variables(stub: AwsStub) -> dict[str, str]:
    """Return the variables of all rivals: settings, the stub, and the calls of the functions."""
    variables = {
        "AWS_ENDPOINT_URL": stub.endpoint_url,
        "QONTO_ENVIRONMENT": "sandbox",
        "CLIENT_ID": "client-1",
        "SCOPE": "offline_access organization.read",
        "REDIRECT_URI": REDIRECT_URI,
        "TABLE_NAME": "states",
        "TOPIC_ARN": "arn:aws:sns:eu-west-3:000000000000:authorizations",
        "POWERTOOLS_SERVICE_NAME": "benchmark",
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }
    calls = recorded(variables)
    assert [operation for _, operation, _ in calls["callback"]] == FOUR_CALLS
    return variables | {f"{name.upper()}_CALLS": json.dumps(calls[name]) for name in calls}


def _deployed(rival: Rival, folder: Path, stub: AwsStub, variables: Mapping[str, str]) -> Rival:
    """Return *rival* with *variables* and a bundle of the authorities that it trusts."""
    bundle = folder / f"{rival.name}.pem"
    bundle.write_text(f"{rival.authorities}\n{stub.ca_certificate}", "utf-8")
    return replace(rival, environment={**variables, "AWS_CA_BUNDLE": str(bundle)})


def _cold_starts(rivals: Mapping[str, Rival]) -> dict[str, list[Cold]]:
    draw = random.Random(SEED)  # noqa: S311 - an order, no secret
    samples: dict[str, list[Cold]] = {key: [] for key in rivals}
    for number in range(ROUNDS + 1):
        for key in draw.sample(sorted(rivals), len(rivals)):
            sample = cold(rivals[key])
            if number:  # the first round only fills the file cache
                samples[key].append(sample)
        if number:
            ratio = median(_ratios(samples["start"], samples["bare client"], _wall))
            _say(f"  cold starts: round {number} of {ROUNDS}; start / bare client {ratio:.2f}")
    return samples


def _warm_calls(rivals: Mapping[str, Rival]) -> dict[str, tuple[Warm, Warm]]:
    calls: dict[str, tuple[Warm, Warm]] = {}
    for ours, theirs, _ in WARM:
        _say(f"  warm: {INVOCATIONS} invocations of {ours} and of {rivals[theirs].name}")
        one, other = warm([rivals[ours], rivals[theirs]], INVOCATIONS)
        calls[ours] = (one, other)
    return calls


def _wall(sample: Cold) -> float:
    return sample.wall


def _cpu(sample: Cold) -> float:
    return sample.cpu


def _ratios(
    ours: Sequence[Cold], theirs: Sequence[Cold], value: Callable[[Cold], float]
) -> list[float]:
    return [value(one) / value(other) for one, other in zip(ours, theirs, strict=True)]


def _cold_result(
    rivals: Mapping[str, Rival],
    colds: Mapping[str, list[Cold]],
    ours: str,
    theirs: str,
    limit: float | None,
) -> Result:
    label = f"cold {rivals[ours].name} / {rivals[theirs].name}"
    walls = _ratios(colds[ours], colds[theirs], _wall)
    cpus = _ratios(colds[ours], colds[theirs], _cpu)
    return Result(label, median(walls), median(cpus), limit, walls)


def _warm_result(
    rivals: Mapping[str, Rival], calls: tuple[Warm, Warm], ours: str, theirs: str, limit: float
) -> Result:
    one, other = calls
    label = f"warm {ours} / {rivals[theirs].name}"
    ratios = [wall / rival_wall for wall, rival_wall in zip(one.walls, other.walls, strict=True)]
    return Result(
        label, median(one.walls) / median(other.walls), one.cpu / other.cpu, limit, ratios
    )


def _conditions() -> str:
    [load_average, *_] = os.getloadavg()
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {platform.machine()} with {os.cpu_count()}"
        f" processors, Python {platform.python_version()}, load {load_average:.1f} at the end;"
        f" {ROUNDS} rounds of cold starts, {INVOCATIONS} warm invocations, seed {SEED}."
    )


def _spread(values: Sequence[float], digits: int) -> str:
    """Return the range of the middle half of *values*."""
    low, _, high = quantiles(values)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _verdicts(results: Sequence[Result], first_calls: Mapping[str, list[float]]) -> str:
    lines = ["| ratio | median | middle half | CPU | limit | |", "|---|---|---|---|---|---|"]
    for result in results:
        limit = "" if result.limit is None else f"{result.limit:.2f}"
        met = "" if result.limit is None else "met" if result.is_met else EXCEEDED
        lines.append(
            f"| {result.label} | {result.ratio:.2f} | {_spread(result.ratios, 2)} "
            f"| {result.cpu_ratio:.2f} | {limit} | {met} |"
        )
    lines += [
        "",
        "| milliseconds of CPU | median | middle half | limit | |",
        "|---|---|---|---|---|",
    ]
    for key, most in FIRST_CALL.items():
        found = median(first_calls[key])
        met = "met" if found <= most else EXCEEDED
        spread = _spread(first_calls[key], 1)
        lines.append(f"| first call of {key} | {found:.1f} | {spread} | {most} | {met} |")
    return "\n".join(lines)


def _times(
    rivals: Mapping[str, Rival],
    colds: Mapping[str, list[Cold]],
    warms: Mapping[str, tuple[Warm, Warm]],
) -> str:
    measured = {ours: warms[ours][0] for ours, *_ in WARM}
    measured |= {theirs: warms[ours][1] for ours, theirs, *_ in WARM}
    columns = ["cold start", "middle half", "CPU", "first call's CPU", "warm, p50", "CPU"]
    lines = [f"| milliseconds | {' | '.join(columns)} |", "|---|---|---|---|---|---|---|"]
    for key, rival in rivals.items():
        walls = [sample.wall for sample in colds[key]]
        cells = [f"{median(walls):.0f}", _spread(walls, 0)]
        cells.append(f"{median(sample.cpu for sample in colds[key]):.0f}")
        cells.append(f"{median(sample.first_call for sample in colds[key]):.1f}")
        if key in measured:
            cells += [f"{median(measured[key].walls):.2f}", f"{measured[key].cpu:.2f}"]
        else:
            cells += ["", ""]
        lines.append(f"| {rival.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _memory(first_calls: Mapping[str, list[float]], warms: Mapping[str, tuple[Warm, Warm]]) -> str:
    """Return a model of durations by memory: Lambda gives one processor for 1,769 MB."""
    lines = ["| memory | first start | first callback | warm start | warm callback |"]
    lines.append("|---|---|---|---|---|")
    cpus = [*map(median, first_calls.values()), *(ours.cpu for ours, _ in warms.values())]
    for memory in MEMORIES:
        cells = [f"{cpu * WHOLE_PROCESSOR / memory:.0f} ms" for cpu in cpus]
        lines.append(f"| {memory:,} MB | {' | '.join(cells)} |")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a program


if __name__ == "__main__":
    main()
