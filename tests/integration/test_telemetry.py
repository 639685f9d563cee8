"""Each outcome and each fault writes one log line and its metrics, and no secret."""

import json
import re
from typing import Any

import pytest

from callback.events import AuthorizationEvent
from callback.publisher import Publisher
from demo import template as infra
from state_store import StateStore
from tests.integration.outcomes import RECEIVED, TRY_AGAIN, seen
from tests.integration.test_callback import claim
from tests.support.connector import NOW, Browser, Connector, Subscriber
from tests.support.faults import Fault, FaultProxy
from tests.support.monitoring import alarm_metrics, counted, dashboard_metrics
from tests.support.resolution import Resolution

SECRET = "a text with a code"
GRANTED = ["StateNotDeleted", "AuthorizationGranted"]
# Of faults: the tests at the end show them.
FAULTS = {"StateStoreFailed", "PublishFailed", "StateNotDeleted", "InternalError"}


def counts(printed: str) -> list[tuple[str, str | None]]:
    """Return the name and the reason of each metric in *printed*, which each count 1."""
    metrics = re.findall(r'^\{"_aws".*\[1\.0\]\}$', printed, re.MULTILINE)
    assert len(metrics) == printed.count('"Unit":"Count"') == printed.count('"_aws"')
    blobs = map(json.loads, metrics)
    return [
        (blob["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"], blob.get("reason"))
        for blob in blobs
    ]


def lines(printed: str) -> list[dict[str, Any]]:
    """Return the log lines, without the metrics between them."""
    return [json.loads(line) for line in printed.splitlines() if '"_aws"' not in line]


@pytest.fixture
def printed(connector: Connector, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the log of each outcome that requests of anybody can have."""
    browser = Browser(connector.restarted())
    stranger = Browser(browser.connector)
    state, denied, failed, claimed, late = (browser.started() for _ in range(5))
    claim(browser, claimed, {"error": "access_denied"})
    browser.start(context="evil value")
    browser.granted(state)
    browser.failed(denied)
    browser.failed(failed, error="server_error")
    browser.granted(state)
    browser.granted(claimed)
    browser.granted("x" * 43)
    browser.granted(late, at=NOW + 3600)
    stranger.granted(late)
    stranger.cookies["__Host-qonto-connect"] = "s" * 43
    stranger.granted(late)
    browser.request("callback", "code=evil&state=value")
    return capsys.readouterr().out


@pytest.mark.claim("S24")
def test_each_outcome_writes_one_line_and_one_metric(printed: str) -> None:
    written = lines(printed)

    rows = [
        *[("INFO", "Authorization started", None, "AuthorizationStarted")] * 5,
        ("WARNING", "Start refused", None, None),
        ("INFO", "Authorization granted", None, "AuthorizationGranted"),
        ("INFO", "Authorization denied", None, "AuthorizationFailed"),
        ("INFO", "Authorization failed", None, "AuthorizationFailed"),
        ("INFO", "Callback repeated: granted", None, "CallbackRepeated"),
        ("WARNING", "Another response in flight", None, None),
        ("WARNING", "Callback refused", "unknown", "CallbackRefused"),
        ("WARNING", "Callback refused", "expired", "CallbackRefused"),
        ("WARNING", "Callback refused", "no_cookie", "CallbackRefused"),
        ("WARNING", "Callback refused", "other_browser", "CallbackRefused"),
        ("WARNING", "Callback refused", "invalid_request", "CallbackRefused"),
    ]
    found = [(line["level"], line["message"], line.get("reason")) for line in written]
    assert found == [row[:3] for row in rows]
    assert counts(printed) == [(metric, reason) for _, _, reason, metric in rows if metric]
    references = [line.get("reference") for line in written]
    state, denied, failed, claimed, late = references[:5]
    assert references[5:11] == [None, state, denied, failed, state, claimed]
    assert references[11:] == [None, late, None, None, None]
    assert (written[5]["parameters"], written[-1]["parameters"]) == (["context"], ["state"])
    assert "evil" not in printed
    assert all(line["timestamp"].endswith("+00:00") for line in written)


def test_alarms_and_dashboard_watch_the_written_metrics(connector: Connector, printed: str) -> None:
    service = connector.stack.environment["StartFunction"]["POWERTOOLS_SERVICE_NAME"]
    resolution = Resolution(infra.load(), **{"AWS::StackName": service})
    shown, written = dashboard_metrics(resolution), counted(printed)

    assert written < shown
    ours = {metric for metric in shown if metric.namespace == "qonto-connect"}
    assert {metric.name for metric in ours - written} == FAULTS
    # AWS counts these for a flood, and for a response to a topic without subscribers.
    by_anybody = {metric.name for metric in written} | {"Throttles", "NumberOfMessagesPublished"}
    for alarm, metrics in alarm_metrics(resolution).items():
        description = resolution.resources[alarm]["Properties"]["AlarmDescription"]
        can_be_set_off = bool(by_anybody & {metric.name for metric in metrics})
        assert ("can set this alarm off" in description) == can_be_set_off


@pytest.mark.claim("S8", "T12")
def test_equal_callbacks_at_once_count_one_authorization(
    browser: Browser, subscriber: Subscriber, capsys: pytest.CaptureFixture[str]
) -> None:
    state = browser.started()
    own = browser.connector.restarted()
    during = []

    class InterruptedPublisher(Publisher):
        def publish(self, event: AuthorizationEvent) -> None:
            browser.connector = own
            during.append(browser.granted(state))
            super().publish(event)

    browser.connector = own.restarted(publisher=InterruptedPublisher)
    capsys.readouterr()

    assert [browser.granted(state)] == during

    assert during[0].parameters["outcome"] == "granted"
    assert len({message["id"] for message in subscriber.messages()}) == 1
    both = [("AuthorizationGranted", None), ("CallbackRepeated", None)]
    assert sorted(counts(capsys.readouterr().out)) == both


def failing(collaborator: type, method: str) -> Any:  # noqa: ANN401 - a class made here
    """Return a class like *collaborator* in which *method* does its work and then fails."""

    def fail(self: object, *arguments: object) -> None:
        getattr(collaborator, method)(self, *arguments)
        raise RuntimeError(SECRET)

    return type("Failing", (collaborator,), {method: fail})


@pytest.mark.parametrize("error", ["AccessDeniedException", "RuntimeError"])
@pytest.mark.parametrize(
    ("call", "method", "message", "metrics"),
    [
        ("PutItem of start", "issue", "State not issued", ["StateStoreFailed"]),
        ("UpdateItem", "claim", "State not claimed", ["StateStoreFailed"]),
        ("Publish", "publish", "Event not published", ["PublishFailed"]),
        ("PutItem", "leave_receipt", "State not deleted", GRANTED),
        ("DeleteItem", "delete", "State not deleted", GRANTED),
    ],
)
@pytest.mark.claim("S21", "T9", "T12")
def test_error_loses_nothing_and_is_logged_without_text(  # noqa: PLR0913, PLR0917 - a table
    browser: Browser,
    subscriber: Subscriber,
    microburst: str,
    capsys: pytest.CaptureFixture[str],
    error: str,
    call: str,
    method: str,
    message: str,
    metrics: list[str],
) -> None:
    """The error is one of AWS, or one of our own code."""
    state, healthy = browser.started(), browser.connector
    with FaultProxy(healthy.aws.endpoint_url, microburst) as proxy:
        if error == "RuntimeError":
            own = Publisher if method == "publish" else StateStore
            collaborators = {"publisher" if method == "publish" else "states": failing(own, method)}
            browser.connector = healthy.restarted(**collaborators)
        else:
            behind = Connector(healthy.aws, healthy.stack, **proxy.endpoints)
            browser.connector = behind.restarted()
            proxy.inject(call.partition(" ")[0], Fault.DENIED)
        capsys.readouterr()

        response = browser.start() if method == "issue" else browser.granted(state)

    assert seen(response) == (RECEIVED if metrics is GRANTED else TRY_AGAIN)
    printed = capsys.readouterr().out
    [line] = [line for line in lines(printed) if line["level"] == "ERROR"]
    assert line["error"] == error
    is_internal = error == "RuntimeError" and metrics == ["StateStoreFailed"]
    counted = ["InternalError"] if is_internal else metrics
    assert counts(printed) == [(metric, None) for metric in counted]
    if error == "RuntimeError":
        first, *_, last = [place.rpartition(":") for place in line["place"].split()]
        module = "start.app" if method == "issue" else "callback.app"
        assert (first[0], last[0]) == (module, __name__)
        assert last[2].isdecimal()
    else:
        assert line["message"] == message
        # Without a response to the claim, callback does not know the authorization.
        assert ("reference" in line) == (method != "claim")
    browser.connector = healthy
    authorization_id = browser.granted(state).parameters["authorization_id"]
    assert {message["subject"] for message in subscriber.messages()} == {authorization_id}
    assert SECRET not in printed
    assert authorization_id not in printed
