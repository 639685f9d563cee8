"""Each outcome and each fault writes one log line and its metrics, and no secret."""

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
from tests.support.monitoring import dashboard_metrics, read
from tests.support.resolution import Resolution

SECRET = "a text with a code"
GRANTED = ["StateNotDeleted", "AuthorizationGranted"]
OURS = "qonto-connect"
FAULTS = {"StateStoreFailed", "PublishFailed", "StateNotDeleted", "InternalError"}


@pytest.mark.claim("S24")
def test_each_outcome_writes_one_line_and_one_metric(
    connector: Connector, capsys: pytest.CaptureFixture[str]
) -> None:
    browser = Browser(connector.restarted())
    stranger = Browser(browser.connector)
    state = browser.started()
    denied, failed, claimed, late = (browser.started(context="ctx-1") for _ in range(4))
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

    printed = capsys.readouterr().out
    written, metrics = read(printed)
    rows = [
        ("WARNING", "Authorization started without context", None, "AuthorizationStarted"),
        *[("INFO", "Authorization started", None, "AuthorizationStarted")] * 4,
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
    expected = [(metric, reason) for _, _, reason, metric in rows if metric]
    assert [(each.name, each.reason) for each in metrics] == [("ContextMissing", None), *expected]
    references = [line.get("reference") for line in written]
    one, two, three, four, five = references[:5]
    assert references[5:11] == [None, one, two, three, one, four]
    assert references[11:] == [None, five, None, None, None]
    assert (written[5]["parameters"], written[-1]["parameters"]) == (["context"], ["state"])
    assert "evil" not in printed
    assert all(line["timestamp"].endswith("+00:00") for line in written)
    service = connector.stack.environment["StartFunction"]["POWERTOOLS_SERVICE_NAME"]
    shown = dashboard_metrics(Resolution(infra.load(), **{"AWS::StackName": service}))
    assert {*metrics} < shown
    others = {metric.name for metric in shown - {*metrics} if metric.namespace == OURS}
    assert others == FAULTS


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
    _, metrics = read(capsys.readouterr().out)
    assert sorted(each.name for each in metrics) == ["AuthorizationGranted", "CallbackRepeated"]


def failing(method: str) -> dict[str, Any]:
    """Return the collaborator with *method*, which does its work there and then fails."""
    collaborator: Any = Publisher if method == "publish" else StateStore

    def fail(self: object, *arguments: object) -> None:
        getattr(collaborator, method)(self, *arguments)
        raise RuntimeError(SECRET)

    name = "publisher" if method == "publish" else "states"
    return {name: type("Failing", (collaborator,), {method: fail})}


@pytest.mark.parametrize("error", ["AccessDeniedException", "RuntimeError"])
@pytest.mark.parametrize(
    ("call", "method", "message", "metrics"),
    [
        ("PutItem", "issue", "State not issued", ["StateStoreFailed"]),
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
    capsys: pytest.CaptureFixture[str],
    error: str,
    call: str,
    method: str,
    message: str,
    metrics: list[str],
) -> None:
    """The error is one of AWS, or one of our own code."""
    state, healthy = browser.started(), browser.connector
    with FaultProxy(healthy.aws.endpoint_url) as proxy:
        behind = Connector(healthy.aws, healthy.stack, **proxy.endpoints)
        is_own = error == "RuntimeError"
        if not is_own:
            proxy.inject(call, Fault.DENIED)
        browser.connector = behind.restarted(**failing(method) if is_own else {})
        capsys.readouterr()
        response = browser.start() if method == "issue" else browser.granted(state)

    assert seen(response) == (RECEIVED if metrics is GRANTED else TRY_AGAIN)
    printed = capsys.readouterr().out
    lines, counts = read(printed)
    [line] = [line for line in lines if line["level"] == "ERROR"]
    assert line["error"] == error
    is_internal = is_own and metrics == ["StateStoreFailed"]
    names = ["InternalError"] if is_internal else metrics
    assert [each.name for each in counts] == names
    own = "Start failed" if method == "issue" else "Callback failed"
    assert line["message"] == (own if is_internal else message)
    if is_own:
        first, *_, last = [place.rpartition(":") for place in line["place"].split()]
        module = "start.app" if method == "issue" else "callback.app"
        assert (first[0], last[0]) == (module, __name__)
        assert last[2].isdecimal()
    else:
        # Without a response to the claim, callback does not know the authorization.
        assert ("reference" in line) == (method != "claim")
    browser.connector = healthy
    authorization_id = browser.granted(state).parameters["authorization_id"]
    assert {message["subject"] for message in subscriber.messages()} == {authorization_id}
    assert SECRET not in printed
    assert authorization_id not in printed
