"""Measures both functions against their rivals, in one run: ``make bench``.

The rivals' cold starts are interleaved, in an order drawn anew each round. What counts is the
median of the ratios within the rounds: a busy machine slows both sides of each. The tables and the
chart go into docs/. Variables: ``ROUNDS`` of cold starts, ``INVOCATIONS`` of each warm process and
``SEED`` of the order.
"""

import os
import platform
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import botocore

from benchmarks import load
from benchmarks.aws_stub import AwsStub, aws_stub
from benchmarks.chart import Bar, svg
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
WHOLE_PROCESSOR = 1769  # MB: what Lambda gives all of one for
MEMORIES = (128, 256, 512, 1024, WHOLE_PROCESSOR)

# Ours, the rival, what the ratio must not exceed, and what is aimed at.
COLD = [
    ("start", "bare client", 1.10, 0.90),
    ("callback", "bare client", 1.22, 1.00),
    ("start", "plain start", 0.45, 0.35),
]
WARM = [("start", "bare start", 1.12, 1.05), ("callback", "bare callback", 1.08, 1.03)]


def main() -> None:
    """Measure, print the tables, and write them where the documents show them."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        _say("Packing the functions and their rivals …")
        rivals = make_rivals(folder)
        with aws_stub(pending().item) as stub:
            variables = _variables(folder, stub)
            colds = _cold_starts(rivals, variables)
            warms = _warm_calls(rivals, variables)
    bars = [
        *(_cold_bar(colds, *row) for row in COLD),
        *(
            _warm_bar(*warms[row[0]], f"warm {row[0]} / {rivals[row[1]].name}", *row[2:])
            for row in WARM
        ),
    ]
    _say(f"  load: {load.SECONDS} s for each number of connections")
    parts = [_conditions(), _verdicts(bars), _times(rivals, colds, warms), load.table()]
    report = "\n\n".join(parts)
    _say(f"\n{report}")
    CHART.write_text(svg(bars), "utf-8")
    _write("make bench", report)
    _write("make bench, memory", _memory(colds, warms))
    sys.exit(any(bar.ratio > bar.must for bar in bars))


def _write(marker: str, table: str) -> None:
    """Put *table* into the document, between *marker* and the end that follows it."""
    text = re.sub(
        rf"(?s)(<!-- {marker}: -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{table}\n\n{found[2]}",
        DOCUMENT.read_text("utf-8"),
    )
    DOCUMENT.write_text(text, "utf-8")


def _variables(folder: Path, stub: AwsStub) -> dict[str, str]:
    """Return the environment of all: settings, the stub, and botocore's CA bundle with its CA."""
    bundle = folder / "cacert.pem"
    whole = Path(botocore.__file__).with_name("cacert.pem").read_text("utf-8")
    bundle.write_text(f"{whole}\n{stub.ca_certificate}", "utf-8")
    return {
        "AWS_CA_BUNDLE": str(bundle),
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


def _cold_starts(
    rivals: Mapping[str, Rival], variables: Mapping[str, str]
) -> dict[str, list[Cold]]:
    draw = random.Random(SEED)  # noqa: S311 - an order, no secret
    samples: dict[str, list[Cold]] = {name: [] for name in rivals}
    for number in range(ROUNDS + 1):
        for name in draw.sample(sorted(rivals), len(rivals)):
            sample = cold(rivals[name], variables)
            if number:  # the first round only fills the file cache
                samples[name].append(sample)
        if number:
            ratio = median(_ratios(samples["start"], samples["bare client"], _wall))
            _say(f"  cold starts: round {number} of {ROUNDS}; start / bare client {ratio:.2f}")
    return samples


def _warm_calls(
    rivals: Mapping[str, Rival], variables: Mapping[str, str]
) -> dict[str, tuple[Warm, Warm]]:
    calls: dict[str, tuple[Warm, Warm]] = {}
    for ours, theirs, *_ in WARM:
        _say(f"  warm: {INVOCATIONS} invocations of {ours} and of {rivals[theirs].name}")
        one, other = warm([rivals[ours], rivals[theirs]], variables, INVOCATIONS)
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


def _cold_bar(
    colds: Mapping[str, list[Cold]], ours: str, theirs: str, must: float, aim: float
) -> Bar:
    label = f"cold {ours} / {theirs.replace('plain start', 'plain sam build')}"
    walls = median(_ratios(colds[ours], colds[theirs], _wall))
    cpus = median(_ratios(colds[ours], colds[theirs], _cpu))
    return Bar(label, walls, cpus, must, aim)


def _warm_bar(ours: Warm, theirs: Warm, label: str, must: float, aim: float) -> Bar:
    return Bar(label, median(ours.walls) / median(theirs.walls), ours.cpu / theirs.cpu, must, aim)


def _conditions() -> str:
    [load, *_] = os.getloadavg()
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {platform.machine()} with {os.cpu_count()}"
        f" processors, Python {platform.python_version()}, load {load:.1f} at the end;"
        f" {ROUNDS} rounds of cold starts, {INVOCATIONS} warm invocations, seed {SEED}."
    )


def _verdicts(bars: Sequence[Bar]) -> str:
    lines = ["| ratio | time | CPU | must | aim | |", "|---|---|---|---|---|---|"]
    for bar in bars:
        met = "met" if bar.ratio <= bar.must else "**missed**"
        met = "aim met" if bar.ratio <= bar.aim else met
        numbers = f"{bar.ratio:.2f} | {bar.cpu_ratio:.2f} | {bar.must:.2f} | {bar.aim:.2f}"
        lines.append(f"| {bar.label} | {numbers} | {met} |")
    return "\n".join(lines)


def _times(
    rivals: Mapping[str, Rival],
    colds: Mapping[str, list[Cold]],
    warms: Mapping[str, tuple[Warm, Warm]],
) -> str:
    measured = {ours: warms[ours][0] for ours, *_ in WARM}
    measured |= {theirs: warms[ours][1] for ours, theirs, *_ in WARM}
    lines = [
        "| milliseconds | cold, to the first answer | its CPU | first call's | warm, p50 | CPU |",
        "|---|---|---|---|---|---|",
    ]
    for key, rival in rivals.items():
        samples = colds[key]
        numbers = [median(it.wall for it in samples), median(it.cpu for it in samples)]
        cells = [f"{it:.0f}" for it in numbers]
        cells.append(f"{median(it.first_call for it in samples):.1f}")
        if key in measured:
            cells += [f"{median(measured[key].walls):.2f}", f"{measured[key].cpu:.2f}"]
        else:
            cells += ["", ""]
        lines.append(f"| {rival.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _memory(colds: Mapping[str, list[Cold]], warms: Mapping[str, tuple[Warm, Warm]]) -> str:
    """Return the model of an invocation's duration by memory: all of a processor at 1,769 MB."""
    lines = ["| memory | first start | first callback | warm start | warm callback |"]
    lines.append("|---|---|---|---|---|")
    cpus = [
        *(median(it.first_call for it in colds[name]) for name in warms),
        *(ours.cpu for ours, _ in warms.values()),
    ]
    for memory in MEMORIES:
        cells = [f"{cpu * WHOLE_PROCESSOR / memory:.0f} ms" for cpu in cpus]
        lines.append(f"| {memory:,} MB | {' | '.join(cells)} |")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a program


if __name__ == "__main__":
    main()
