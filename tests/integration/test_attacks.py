"""Attacks on whole flows: the real connector, app and subscriber, two users, the mock Qonto.

The models have the forwarded link without each of its defences, where the attack succeeds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Host
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from demo import gateway, qonto
from demo import template as infra
from demo.local_aws import LocalAws
from examples.app.app import create_app
from examples.app.subscriber import Subscriber as SubscriberStack
from tests.support.connector import PARAMETERS, REDIRECT_URI, RETURN_URL, Connector, Subscriber
from tests.support.example_app import without_tokens
from tests.support.subscription import Example, MockQonto

APP_URL = RETURN_URL.removesuffix("/connected")
CONNECTOR_URL = REDIRECT_URI.removesuffix("/callback")
MALLORYS, ALICES = qonto.ORGANIZATIONS


class User(TestClient):
    """A user whose browser reaches the app, the connector and the mock Qonto."""

    def link(self) -> str:
        """Click on *Connect with Qonto*; return the ``/start`` link, not yet followed."""
        [token] = set(re.findall('name="token" value="(.+?)"', self.get(f"{APP_URL}/").text))
        connect = self.post(f"{APP_URL}/connect", data={"token": token}, follow_redirects=False)
        return connect.headers["Location"]

    def allow(self, start_link: str, organization: qonto.Organization) -> httpx2.URL:
        """Follow *start_link* and allow; return the callback's URL, not yet followed."""
        page = self.get(start_link).url
        challenge = page.params["login_challenge"]
        credentials = {"user": qonto.USER, "password": qonto.PASSWORD}
        self.post(page.join("/sign-in"), data={"login_challenge": challenge, **credentials})
        consent = {
            "consent_challenge": challenge,
            "decision": "allow",
            "scope": ["offline_access", "organization.read"],
            "organization": organization.id,
        }
        allowed = self.post(page.join("/consent"), data=consent, follow_redirects=False)
        return httpx2.URL(allowed.headers["Location"])

    def connection(self) -> str:
        """Return the app's page about this user's connection."""
        return self.get(f"{APP_URL}/connection").text


@dataclass(frozen=True)
class World:
    """Two users, and the servers that an attack involves."""

    mallory: User
    alice: User
    mock_qonto: MockQonto
    example: Example
    topic: Subscriber

    def settle(self) -> None:
        """Let the subscriber handle all messages in its queue."""
        while self.example.poll():
            pass


@pytest.fixture
def pkce() -> str:
    return "off"


@pytest.fixture
def world(aws: LocalAws, tmp_path: Path, pkce: str) -> Iterator[World]:
    mock_qonto = MockQonto()
    mock_qonto.server.redirect_uris = [REDIRECT_URI]
    stack = aws.deploy(PARAMETERS)
    connector = Connector(aws, stack, OAUTH_BASE_URL=mock_qonto.url, PKCE=pkce)
    example = Example(aws, stack.topic_arn, mock_qonto)
    dynamodb = aws.session.resource("dynamodb", endpoint_url=aws.endpoint_url)
    connections = dynamodb.Table(example.stack.resources["ConnectionTable"])
    subscriber = SubscriberStack(aws.sqs, example.queue_url, connections)
    database = tmp_path / "ledgerly.sqlite"
    ledgerly = without_tokens(APP_URL, CONNECTOR_URL, subscriber, database)
    handlers = {"StartFunction": connector.start, "CallbackFunction": connector.callback}
    sites: dict[str, ASGIApp] = {
        APP_URL: create_app(ledgerly),
        CONNECTOR_URL: gateway.application(gateway.routes(infra.load()), handlers),
        mock_qonto.url: qonto.create_app(mock_qonto.server),
    }
    web = Starlette(routes=[Host(str(urlsplit(url).hostname), sites[url]) for url in sites])
    with mock_qonto.up():
        yield World(User(web), User(web), mock_qonto, example, Subscriber(aws, stack))


@pytest.mark.claim("S28", "T1")
def test_forwarded_link_connects_nothing(world: World) -> None:
    response = world.alice.get(world.alice.allow(world.mallory.link(), ALICES))
    [shown] = [each.url for each in response.history if str(each.url).startswith(RETURN_URL)]
    for _ in range(2):
        world.mallory.get(shown)
        world.settle()

    assert (response.status_code, str(response.url)) == (403, f"{APP_URL}/not-asked#_")
    assert world.example.grant(world.topic.message())["status"] == "repudiated"
    assert world.mock_qonto.exchanges == (0, 0)
    assert "Connect with Qonto" in world.mallory.connection()


@pytest.mark.parametrize("pkce", ["off", "S256"])
@pytest.mark.claim("T3")
def test_injected_code_obtains_tokens_only_without_pkce(world: World, pkce: str) -> None:
    stolen = world.alice.allow(world.alice.link(), ALICES)

    own = world.mallory.allow(world.mallory.link(), MALLORYS)
    world.mallory.get(own.copy_set_param("code", stolen.params["code"]))
    world.settle()

    is_connected = pkce == "off"
    end = f"Connected to {ALICES.name}" if is_connected else "That did not work"
    assert end in world.mallory.connection()
    world.alice.get(stolen)
    world.settle()
    assert "That did not work" in world.alice.connection()  # the price of sending a code once
    assert world.mock_qonto.exchanges == (1, is_connected)
