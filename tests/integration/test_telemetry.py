"""Each outcome writes one log line and one metric for the operator, and no secret."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from demo import template as infra
from demo.local_aws import LocalAws
from tests.infra.monitoring import alarm_metrics, counted, dashboard_metrics
from tests.infra.resolution import Resolution
from tests.integration.connector import NOW, Browser, Connector, Subscriber
from tests.integration.faults import Fault, FaultProxy, fault_proxies
from tests.integration.test_faults import counts
from tests.integration.test_own_faults import FailingStore, fail
from tests.integration.test_repeats import claim, interrupted

UNKNOWN_STATE = "x" * 43


@pytest.fixture
def proxy(aws: LocalAws, microburst: str) -> Iterator[FaultProxy]:
    """A proxy in which calls succeed until a test injects a fault."""
    with fault_proxies(aws, microburst, 1) as [running]:
        yield running


def lines(printed: str) -> list[dict[str, Any]]:
    """Return the log lines, without the metrics between them."""
    entries = [json.loads(line) for line in printed.splitlines()]
    return [entry for entry in entries if "_aws" not in entry]


def test_each_outcome_writes_one_line_and_one_metric(
    connector: Connector, subscriber: Subscriber, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = Browser(connector.restarted())
    state, denied, failed, late = (browser.started() for _ in range(4))
    late_reference = (connector.item(late) or {})["authorization_id"][:8]
    started = capsys.readouterr().out
    browser.granted(state)
    browser.failed(denied)
    browser.failed(failed, error="server_error")
    browser.granted(state)
    browser.granted(UNKNOWN_STATE)
    browser.granted(late, at=NOW + 3600)
    Browser(browser.connector).granted(late)
    browser.request("callback", "code=x")
    printed = capsys.readouterr().out

    assert counts(started) == [("AuthorizationStarted", None)] * 4
    assert [line["message"] for line in lines(started)] == ["Authorization started"] * 4
    assert lines(started)[3]["reference"] == late_reference
    assert counts(printed) == [
        ("AuthorizationGranted", None),
        ("AuthorizationFailed", None),
        ("AuthorizationFailed", None),
        ("CallbackRepeated", None),
        ("CallbackRefused", "unknown"),
        ("CallbackRefused", "expired"),
        ("CallbackRefused", "no_cookie"),
        ("CallbackRefused", "invalid_request"),
    ]
    assert [(line["message"], line.get("reason")) for line in lines(printed)] == [
        ("Authorization granted", None),
        ("Authorization denied", None),
        ("Authorization failed", None),
        ("Callback repeated: granted", None),
        ("Callback refused", "unknown"),
        ("Callback refused", "expired"),
        ("Callback refused", "no_cookie"),
        ("Callback refused", "invalid_request"),
    ]
    blobs = [json.loads(line) for line in printed.splitlines() if '"_aws"' in line]
    for blob in blobs:
        [metric] = blob["_aws"]["CloudWatchMetrics"][0]["Metrics"]
        assert (metric["Unit"], blob[metric["Name"]]) == ("Count", [1.0])
    granted, _, _, repeated, _, expired, *_ = lines(printed)
    assert expired["reference"] == late_reference
    reference = subscriber.messages()[0]["subject"][:8]
    assert granted["reference"] == repeated["reference"] == reference


def test_response_in_flight_is_logged_but_not_counted(
    connector: Connector, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = Browser(connector.restarted())
    state = browser.started()
    reference = (connector.item(state) or {})["authorization_id"][:8]
    claim(browser, state, {"error": "access_denied"})
    capsys.readouterr()

    assert browser.granted(state).status == 409

    printed = capsys.readouterr().out
    [line] = lines(printed)
    assert (line["level"], line["reference"]) == ("WARNING", reference)
    assert counts(printed) == []


def test_alarms_and_dashboard_watch_the_written_metrics(
    connector: Connector, proxy: FaultProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dashboard shows every metric of the functions and alarms, and no unwritten one."""
    service = connector.stack.environment["StartFunction"]["POWERTOOLS_SERVICE_NAME"]
    resolution = Resolution(infra.load(), **{"AWS::StackName": service})
    shown = dashboard_metrics(resolution)

    browser = Browser(Connector(connector.aws, connector.stack, **proxy.endpoints))
    state, late = browser.started(), browser.started()
    for call in ("UpdateItem", "Publish", "DeleteItem"):
        proxy.inject(call, Fault.DENIED)
        browser.granted(state)
        proxy.clear()
    browser.granted(state)  # repeated
    browser.granted(UNKNOWN_STATE)
    browser.granted(late, at=NOW + 3600)  # expired
    browser.failed(browser.started())
    other = Browser(browser.connector)
    other.granted(late)  # no cookie
    other.started()
    other.granted(late)  # other browser
    other.request("callback", "code=x")  # invalid
    browser.connector = interrupted(connector, fail, FailingStore)
    browser.granted(browser.started())
    counts_written = counted(capsys.readouterr().out)

    assert counts_written == {metric for metric in shown if metric.namespace == "qonto-connect"}
    assert set().union(*alarm_metrics(resolution).values()) <= shown


def test_public_sets_off_only_alarms_that_say_so(
    connector: Connector, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever anybody sends, and however often; a complete flow publishes a made-up response."""
    resolution = Resolution(infra.load())
    visitor, other = Browser(connector), Browser(connector)
    prefetch = {"sec-purpose": "prefetch"}
    for context in ("", "evil value", "\ud800", "x" * 9000):
        visitor.request("start", f"context={context}")
        visitor.request("start", f"context={context}", headers=prefetch)
    state, declined, late, held = (visitor.started() for _ in range(4))
    claim(visitor, held, {"error": "access_denied"})
    for sender in (other, visitor):
        other.cookies = {"__Host-qonto-connect": "not one"}
        sender.granted(state, code="\uffff" * 2000)
        sender.granted(state)
        sender.failed(declined, error="\ufffe" * 2000)
        sender.granted(held)
        sender.granted(late, at=NOW + 3600)
        sender.granted(UNKNOWN_STATE)
        sender.request("callback", "state=%ff&code=\ud800", headers=prefetch)
        sender.request("callback", "code=%ff&state=\ud800")
        sender.request("outcome", "reference=x", outcome="\ud800")
    written = {name for name, _ in counts(capsys.readouterr().out)}

    # AWS counts these for a flood, and for a response to a topic without subscribers.
    at_will = written | {"Throttles", "NumberOfMessagesPublished"}
    assert written >= {"AuthorizationGranted", "AuthorizationFailed", "CallbackRefused"}
    assert {
        logical_id
        for logical_id, metrics in alarm_metrics(resolution).items()
        if at_will & {metric.name for metric in metrics}
    } == {
        logical_id
        for logical_id in alarm_metrics(resolution)
        if "can set this alarm off"
        in resolution.resources[logical_id]["Properties"]["AlarmDescription"]
    }


def test_documented_log_queries_use_only_written_fields(
    connector: Connector, cut_off: Connector, capsys: pytest.CaptureFixture[str]
) -> None:
    """A function or the API writes each field of the queries in docs/operations.md."""
    manual = (infra.ROOT / "docs" / "operations.md").read_text("utf-8")
    [section] = re.findall(r"^## Follow one flow$(.*?)^## ", manual, re.MULTILINE | re.DOTALL)
    queries = re.findall(r"^    .+", section, re.MULTILINE)
    queried = set(re.findall(r"[a-z_A-Z]+(?=,|$| =| like)", "\n".join(queries), re.MULTILINE))
    stage = infra.load()["Resources"]["HttpApiStage"]["Properties"]
    browser = Browser(connector.cold_started())

    browser.granted(browser.started())
    browser.request("callback")
    Browser(cut_off.restarted()).start()

    written = set().union(*lines(capsys.readouterr().out))
    assert "reference" in queried
    assert (
        queried - {"timestamp"} <= written | json.loads(stage["AccessLogSettings"]["Format"]).keys()
    )


def test_timestamp_of_a_log_line_is_rfc_3339(
    connector: Connector, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = Browser(connector.restarted())

    browser.started()

    [line] = lines(capsys.readouterr().out)
    assert line["level"] == "INFO"
    assert "T" in line["timestamp"]
    assert line["timestamp"].endswith("+00:00")


def test_refusal_logs_parameter_names_without_values(
    connector: Connector, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = Browser(connector.restarted())

    browser.request("start", "context=evil value")
    browser.request("callback", "state=evil&code=value")

    start, callback = lines(capsys.readouterr().out)
    assert (start["message"], start["parameters"]) == ("Start refused", ["context"])
    assert callback["parameters"] == ["state"]
    assert "evil" not in json.dumps([start, callback])
