"""Measures both functions against their rivals, in one run: ``make bench``.

The cold starts of all rivals are interleaved, in a random order in each round. The result is the
median of the ratios within the rounds, because a busy machine slows both sides of a ratio. The
table goes into docs/performance.md, and the exit status is 1 if a limit is exceeded.
"""

import os
import platform
import random
import re
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import trustme

from benchmarks.aws_stub import aws_stub
from benchmarks.rivals import Rival, make_rivals
from demo.template import ROOT
from tests.support.flow import pending
from tests.support.lambda_runtime import ExecutionEnvironment

ROUNDS, INVOCATIONS = 40, 1000  # of cold starts, and of a warm process
DOCUMENT = ROOT / "docs" / "performance.md"
# What was measured, by what of its rival, and the limit of their ratio.
RATIOS = [
    ("cold start", "cold bare client", 1.10),
    ("cold callback", "cold bare client", 1.22),
    ("cold start", "cold start, version 1", 0.99),
    ("cold start", "cold start, plain sam build", 0.36),
    ("warm start", "warm bare calls of start", 1.12),
    ("warm callback", "warm bare calls of callback", 1.08),
]
# The limit in milliseconds.
LIMITS = {"processor in first start": 12, "processor in first callback": 28}
EXCEEDED = "**exceeded**"

type Samples = dict[str, list[float]]  # in milliseconds


def main() -> None:
    """Measure all rivals, and write the table into the document."""
    authority = trustme.CA()
    with TemporaryDirectory() as name, aws_stub(pending().item, authority) as url:
        rivals = make_rivals(Path(name), authority, url)
        samples = _cold(rivals) | _warm(rivals, "start") | _warm(rivals, "callback")
    rows = []
    for ours, theirs, limit in RATIOS:
        ratios = [one / other for one, other in zip(samples[ours], samples[theirs], strict=True)]
        rows.append(_row(f"{ours} / {theirs}", ratios, limit))
    rows += [_row(f"{name}, ms", found, LIMITS.get(name)) for name, found in samples.items()]
    report = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {platform.machine()} with {os.cpu_count()}"
        f" processors, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the"
        f" end; {ROUNDS} rounds of cold starts, {INVOCATIONS} warm invocations.\n\n"
        "| | median | middle half | limit | |\n|---|---|---|---|---|\n" + "\n".join(rows)
    )
    text = DOCUMENT.read_text("utf-8")
    marked = r"(?s)(<!-- make bench: -->\n).*?(<!-- end -->)"
    DOCUMENT.write_text(re.sub(marked, rf"\1\n{report}\n\n\2", text), "utf-8")
    sys.exit(f"A limit is exceeded: see {DOCUMENT}" if EXCEEDED in report else 0)


def _cold(rivals: dict[str, Rival]) -> Samples:
    """Start each rival but the bare calls once a round, and stop it after its first response."""
    names = [name for name in rivals if not name.startswith("bare calls")]
    samples = defaultdict[str, list[float]](list)
    draw = random.Random(1)  # noqa: S311 - an order, no secret
    for _ in range(ROUNDS + 1):
        for name in draw.sample(names, len(names)):
            with rivals[name].run() as function:
                function.wait_until_initialised()
                before = _processor(function)
                _invoke(function, rivals[name])
                used = _processor(function) - before
            wall = (function.responded_at[0] - function.spawned_at) / 1e6
            samples[f"cold {name}"].append(wall)
            samples[f"processor in first {name}"].append(used)
    # The first round only fills the file cache.
    return {name: samples[name][1:] for name in sorted(samples)}


def _warm(rivals: dict[str, Rival], ours: str) -> Samples:
    """Invoke a function and its rival in turn, so that a busy machine slows both."""
    names = [ours, f"bare calls of {ours}"]
    samples: Samples = {f"warm {name}": [] for name in names}
    with ExitStack() as running:
        functions = [running.enter_context(rivals[name].run()) for name in names]
        for _ in range(20 + INVOCATIONS):
            for name, function in zip(names, functions, strict=True):
                samples[f"warm {name}"].append(_invoke(function, rivals[name]))
    return {name: found[20:] for name, found in samples.items()}  # the first ones do more work


def _invoke(function: ExecutionEnvironment, rival: Rival) -> float:
    """Return the duration of one invocation, in milliseconds."""
    began = time.monotonic_ns()
    response = function.invoke(rival.request)
    # A wrong response may be faster, so it must not count.
    assert response["statusCode"] in {302, 303}, response
    return (function.responded_at[-1] - began) / 1e6


def _processor(function: ExecutionEnvironment) -> float:
    """Return the processor time of the main thread in milliseconds; functions have no other."""
    schedstat = Path(f"/proc/{function.pid}/schedstat").read_text("ascii")
    return int(schedstat.split()[0]) / 1e6


def _row(name: str, values: list[float], limit: float | None) -> str:
    low, middle, high = quantiles(values)
    met = "" if limit is None else "met" if round(middle, 2) <= limit else EXCEEDED
    return f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} | {limit or ''} | {met} |"


if __name__ == "__main__":
    main()
