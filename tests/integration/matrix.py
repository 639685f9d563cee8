"""The engine of docs/fault-matrix.md: each fault, and each kill, at each call of a function.

A matrix gives its calls, and a function that runs one case and returns the cells of its outcome.
"""

import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from demo.template import ROOT
from tests.support.faults import Fault, FaultProxy

PAGE = ROOT / "docs" / "fault-matrix.md"
UPDATE = bool(os.environ.get("UPDATE"))  # the page, instead of a comparison with it
FIRST, EVERY, KILL = "first attempt", "every attempt", "process killed"
# The process stores nothing: the outcome of a kill depends on the last call that was applied.
BEFORE, APPLIED = "before the call", "applied, before the response"
LANES = 12
# A drip outlasts the clients' timeouts and ends at Lambda's.
FAULTS = [fault for fault in Fault if fault not in {Fault.DRIPPING, Fault.HELD}]


class Call(NamedTuple):
    """A call to AWS or Qonto; fault_calls.toml describes the fields."""

    name: str
    scenario: Any = None
    nth: int = 1
    may_lose: bool = False
    is_in_sample: bool = False

    @property
    def operation(self) -> str:
        return self.name.split("`")[1]


class Case(NamedTuple):
    """A fault of the first or of every attempt of a call, or a kill before or after it."""

    call: Call
    attempts: str
    fault: str


class Matrix(NamedTuple):
    """The calls of a matrix, and what returns the cells of a case."""

    calls: Sequence[Call]
    outcome: Callable[..., str]


def calls(matrix: str, scenario: Callable[..., object]) -> list[Call]:
    """Return the calls of *matrix* in fault_calls.toml, each with its *scenario*."""
    found = tomllib.loads(Path(__file__).with_name("fault_calls.toml").read_text("utf-8"))[matrix]
    scenarios = {name: scenario(**fields) for name, fields in found["scenarios"].items()}
    return [Call(scenario=scenarios[each.pop("in")], **each) for each in found["calls"]]


def cases(chosen: Iterable[Call]) -> list[Case]:
    """Return each fault at each of the *chosen* calls, and each kill."""
    faults = [(attempts, fault) for attempts in (FIRST, EVERY) for fault in FAULTS]
    kills = [(KILL, moment) for moment in (BEFORE, APPLIED)]
    return [
        Case(call, *each)
        for call in chosen
        for each in (kills if call.name.startswith("exchange") else faults + kills)
    ]


def inject(proxy: FaultProxy, case: Case) -> None:
    """Let *proxy* have the fault of *case*, or hold its call until the process is killed."""
    call, attempts, fault = case
    if attempts == KILL:
        fault = Fault.HANGING if fault == BEFORE else Fault.HELD
    times = 3 if attempts == EVERY else 1  # no client makes more attempts
    proxy.inject(call.operation, Fault(fault), after=call.nth - 1, times=times)


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[None]:
    """Run *action* in a thread during the block."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(action)
        yield
        done.result()


def run[L, C](
    lanes: Sequence[L], outcome: Callable[[L, C], str], chosen: Collection[C]
) -> dict[C, str]:
    """Return the cells of each case, several at a time, because cases mostly wait for timeouts."""
    idle: SimpleQueue[L] = SimpleQueue()
    for lane in lanes:
        idle.put(lane)

    def on_idle_lane(case: C) -> str:
        lane = idle.get()
        try:
            return outcome(lane, case)
        except AssertionError as error:
            error.add_note(str(case))
            raise
        finally:
            idle.put(lane)

    with ThreadPoolExecutor(len(lanes)) as threads:
        return dict(zip(chosen, threads.map(on_idle_lane, chosen), strict=True))


class Page(dict[Case, str]):
    """The cells of each case in a section of docs/fault-matrix.md, which has this *text*."""

    text = ""


def documented(name: str, named: Iterable[Case]) -> Page:
    """Return the cells of each case in section *name*, which has those *named* and no others."""
    marks = rf"(?s)<!-- begin {name} -->\n\n(.*?\n)\n*<!-- end {name} -->"
    [text] = re.findall(marks, PAGE.read_text("utf-8"))
    found: dict[tuple[str, str, str], str] = {}
    for part in text.split("### ")[1:]:
        call, *lines = part.strip().splitlines()
        for line in lines[3:]:
            what, cells = line.strip("| ").split(" | ", 1)
            for attempts, faults in (each.split(": ") for each in what.split("<br>")):
                found |= {(call, attempts, fault): cells for fault in faults.split("; ")}
    keys = {(case.call.name, case.attempts, str(case.fault)): case for case in named}
    assert UPDATE or found.keys() == keys.keys()
    page = Page({case: found.get(key, "") for key, case in keys.items()})
    page.text = text
    return page


def _write(page: Page) -> None:
    """Write one table per call, with a row for all faults with the same cells."""
    alike: defaultdict[str, defaultdict[str, defaultdict[str, list[str]]]]
    alike = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for (call, attempts, fault), cells in page.items():
        alike[call.name][cells][attempts].append(fault)
    head = page.text.splitlines()[2:4]
    lines = []
    for name, faults_of_cells in alike.items():
        lines += [f"### {name}", "", *head]
        for cells, faults in faults_of_cells.items():
            what = (f"{attempts}: {'; '.join(each)}" for attempts, each in faults.items())
            lines.append(f"| {'<br>'.join(what)} | {cells} |")
        lines.append("")
    PAGE.write_text(PAGE.read_text("utf-8").replace(page.text, "\n".join(lines)), "utf-8")


def assert_documented[L](
    lanes: Sequence[L],
    outcome: Callable[[L, Case], str],
    chosen: Collection[Case],
    page: Page,
) -> None:
    """Assert that the cells of the *chosen* cases are those of the *page*, or write them there."""
    if UPDATE:
        page |= run(lanes, outcome, chosen)
        _write(page)
        return
    for _ in range(3):  # again for those that differ: a busy machine causes timeouts
        found = run(lanes, outcome, chosen)
        chosen = [case for case in chosen if found[case] != page[case]]
    assert not chosen
