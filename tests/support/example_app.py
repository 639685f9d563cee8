"""The example app, for tests of its flow: the subscriber's function `tokens` does not respond."""

from pathlib import Path
from unittest.mock import Mock

from botocore.exceptions import EndpointConnectionError

from examples.app.app import Ledgerly
from examples.app.contexts import Contexts
from examples.app.qonto import Qonto
from examples.app.sessions import Sessions
from examples.app.subscriber import Subscriber
from examples.app.tokens import Tokens


def without_tokens(
    app_url: str,
    connector_url: str,
    subscriber: Subscriber,
    database: Path,
    *,
    ledgerly: type[Ledgerly] = Ledgerly,
) -> Ledgerly:
    """Return an app that reads no account."""
    down = EndpointConnectionError(endpoint_url="https://lambda")
    reading = Tokens(Mock(**{"invoke.side_effect": down}), "none"), Qonto("https://api.example")
    stores = Sessions(database), Contexts(database)
    return ledgerly(app_url, connector_url, subscriber, *reading, *stores)
