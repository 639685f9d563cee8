"""Each outcome writes one log line and one metric for the operator, and no secret."""

import json
import re
from typing import Any

import pytest

from demo import template as infra
from demo.local_aws import LocalAws, Stack
from tests.infra.monitoring import alarm_metrics, counted, dashboard_metrics
from tests.infra.resolution import Resolution
from tests.integration.connector import NOW, Browser, Connector, Subscriber
from tests.integration.faults import Fault, fault_proxies
from tests.integration.test_faults import counts


def lines(printed: str) -> list[dict[str, Any]]:
    """Return the log lines, without the metrics between them."""
    entries = [json.loads(line) for line in printed.splitlines()]
    return [entry for entry in entries if "_aws" not in entry]


def test_each_outcome_writes_one_line_and_one_metric(
    connector: Connector, subscriber: Subscriber, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = Browser(connector.restarted())
    state, other, late = browser.started(), browser.started(), browser.started()
    late_id = (connector.item(late) or {})["authorization_id"]
    started = capsys.readouterr().out
    browser.granted(state)
    browser.failed(other)
    browser.failed(browser.started(), error="server_error")
    browser.granted(state)
    browser.granted(late, at=NOW + 3600)
    Browser(browser.connector).granted(late)
    browser.request("callback", "code=x")
    printed = capsys.readouterr().out

    assert counts(started) == [("AuthorizationStarted", None)] * 3
    assert [line["message"] for line in lines(started)] == ["Authorization started"] * 3
    assert lines(started)[2]["authorization_id"] == late_id
    assert counts(printed) == [
        ("AuthorizationGranted", None),
        ("AuthorizationFailed", None),
        ("AuthorizationStarted", None),
        ("AuthorizationFailed", None),
        ("CallbackRefused", "unknown"),
        ("CallbackRefused", "expired"),
        ("CallbackRefused", "no_cookie"),
        ("CallbackRefused", "invalid_request"),
    ]
    assert [(line["message"], line.get("reason")) for line in lines(printed)] == [
        ("Authorization granted", None),
        ("Authorization denied", None),
        ("Authorization started", None),
        ("Authorization failed", None),
        ("Callback refused", "unknown"),
        ("Callback refused", "expired"),
        ("Callback refused", "no_cookie"),
        ("Callback refused", "invalid_request"),
    ]
    blobs = [json.loads(line) for line in printed.splitlines() if '"_aws"' in line]
    for blob in blobs:
        [metric] = blob["_aws"]["CloudWatchMetrics"][0]["Metrics"]
        assert (metric["Unit"], blob[metric["Name"]]) == ("Count", [1.0])
    [expired] = [line for line in lines(printed) if line.get("reason") == "expired"]
    assert expired["authorization_id"] == late_id
    granted, *_ = lines(printed)
    assert granted["authorization_id"] == subscriber.messages()[0]["subject"]


def test_alarms_and_dashboard_watch_the_written_metrics(
    aws: LocalAws, microburst: str, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dashboard shows every metric of the functions and alarms, and no unwritten one."""
    service = stack.environment["StartFunction"]["POWERTOOLS_SERVICE_NAME"]
    resolution = Resolution(infra.load(), **{"AWS::StackName": service})
    shown = dashboard_metrics(resolution)

    with fault_proxies(aws, microburst, 1) as [proxy]:
        browser = Browser(Connector(aws, stack, **proxy.endpoints))
        states = [browser.started() for _ in range(4)]
        proxy.inject("DeleteItem", Fault.LOST, times=1)
        browser.granted(states[0])  # unconfirmed
        proxy.inject("Publish", Fault.DENIED)
        browser.granted(states[1])  # restored
        proxy.inject("PutItem", Fault.DENIED)
        browser.granted(states[1])  # not restored
        proxy.clear()
        browser.granted(states[2])
        browser.granted(states[2])  # used
        browser.granted(states[3], at=NOW + 3600)  # expired
        browser.failed(browser.started())
        other = Browser(browser.connector)
        other.granted(states[3])  # no cookie
        other.started()
        other.granted(states[3])  # other browser
        other.request("callback", "code=x")  # invalid
    counts_written = counted(capsys.readouterr().out)

    assert counts_written == {metric for metric in shown if metric.namespace == "qonto-connect"}
    assert set().union(*alarm_metrics(resolution).values()) <= shown


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
    assert "authorization_id" in queried
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
