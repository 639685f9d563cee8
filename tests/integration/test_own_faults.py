"""An error in our own code loses no authorization, and its text is not logged."""

import copy
import re
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from aws_lambda_powertools import Logger

from authorization import PendingAuthorization
from settings import StartSettings
from start.app import StartApp
from state_store import StateStore
from tests.integration.connector import Browser, Connector, Subscriber
from tests.integration.test_faults import assert_try_again, counts, errors
from tests.integration.test_repeats import interrupted

SECRET = "a text with a code"


def fail() -> NoReturn:
    """Raise an error whose text must not be logged."""
    raise RuntimeError(SECRET)


class FailingStore(StateStore):
    """A store that issues and claims states, and then raises an error."""

    def issue(self, authorization: PendingAuthorization) -> None:
        super().issue(authorization)
        fail()

    def claim(self, *claim: Any) -> PendingAuthorization:  # noqa: ANN401 - as of the base class
        super().claim(*claim)
        fail()


class LateFailingStore(StateStore):
    """A store that deletes states, and then raises an error."""

    def delete(self, state: str, response_hash: str) -> bool:
        super().delete(state, response_hash)
        fail()


class BrokenStore(StateStore):
    """A store that returns incomplete authorizations."""

    def claim(self, *claim: Any) -> PendingAuthorization:  # noqa: ANN401 - as of the base class
        attributes: dict[str, Any] = {"authorization_id": super().claim(*claim).authorization_id}
        return PendingAuthorization.model_construct(**attributes)


def modules_of_error(printed: str) -> list[str]:
    """Return the modules through which the one error in the log *printed* came."""
    assert SECRET not in printed
    [error] = errors(printed)
    assert re.fullmatch(r"[A-Za-z]+Error", error["error"])
    places = [place.rpartition(":") for place in error["place"].split()]
    assert all(line.isdecimal() for _, _, line in places)
    return [module for module, _, _ in places]


@pytest.mark.parametrize(
    ("store", "module", "metric"),
    [
        (FailingStore, __name__, "InternalError"),
        (BrokenStore, "callback.events", "PublishFailed"),
        (StateStore, __name__, "PublishFailed"),
    ],
)
def test_error_before_publish_returns_503_and_retry_succeeds(  # noqa: PLR0913, PLR0917 - fixtures
    browser: Browser,
    connector: Connector,
    subscriber: Subscriber,
    capsys: pytest.CaptureFixture[str],
    store: type[StateStore],
    module: str,
    metric: str,
) -> None:
    state = browser.started()
    authorization_id = (connector.item(state) or {})["authorization_id"]
    browser.connector = interrupted(connector, fail, store)
    capsys.readouterr()

    response = browser.granted(state)

    printed = capsys.readouterr().out
    assert_try_again(response)
    assert authorization_id not in printed
    modules = modules_of_error(printed)
    assert (modules[0], module in modules) == ("callback.app", True)
    assert counts(printed) == [(metric, None)]
    assert subscriber.messages() == []
    browser.connector = connector
    assert browser.granted(state).parameters["outcome"] == "granted"
    assert subscriber.message()["subject"] == authorization_id


def test_error_after_publish_shows_the_success(
    browser: Browser,
    connector: Connector,
    subscriber: Subscriber,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = browser.started()
    browser.connector = interrupted(connector, lambda: None, LateFailingStore)
    capsys.readouterr()

    response = browser.granted(state)

    printed = capsys.readouterr().out
    assert response.parameters["outcome"] == "granted"
    assert subscriber.message()["subject"] == response.parameters["authorization_id"]
    assert modules_of_error(printed)[-1] == __name__
    assert counts(printed) == [("StateNotDeleted", None), ("AuthorizationGranted", None)]


def test_error_in_start_returns_503_without_cookie(
    connector: Connector, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = StartSettings.model_validate(connector.start_environment)
    states = FailingStore(connector.aws.dynamodb, settings)
    app = StartApp(settings, states, Logger(service=f"service-{uuid4()}"))
    failing = copy.copy(connector)
    failing.start = lambda request, _context: app.handle(request)

    response = Browser(failing).start(context="ctx-1")

    assert_try_again(response)
    printed = capsys.readouterr().out
    modules = modules_of_error(printed)
    assert (modules[0], modules[-1]) == ("start.app", __name__)
    assert counts(printed) == [("InternalError", None)]
