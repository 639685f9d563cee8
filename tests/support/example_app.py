"""The example app, for tests of its flow: the subscriber's function `tokens` does not respond."""

from pathlib import Path
from typing import Any

from botocore.exceptions import EndpointConnectionError

from examples.app.app import Ledgerly
from examples.app.contexts import Contexts
from examples.app.qonto import Qonto
from examples.app.sessions import Sessions
from examples.app.subscriber import Subscriber
from examples.app.tokens import Tokens


class _NoLambda:
    def invoke(self, **_call: object) -> object:
        raise EndpointConnectionError(endpoint_url="https://lambda")


def without_tokens(  # noqa: PLR0913 - what the app is made of
    app_url: str,
    connector_url: str,
    subscriber: Subscriber,
    database: Path,
    *,
    ledgerly: type[Ledgerly] = Ledgerly,
    contexts: type[Contexts] = Contexts,
) -> Ledgerly:
    """Return an app that reads no account."""
    client: Any = _NoLambda()
    reading = Tokens(client, "none"), Qonto("https://api.example")
    stores = Sessions(database), contexts(database)
    return ledgerly(app_url, connector_url, subscriber, *reading, *stores)
