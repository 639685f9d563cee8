"""Attacks on whole flows: the real connector, app and subscriber, two users, the mock Qonto.

Each attack runs with the defence that stops it, and without it, where the attack succeeds.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from demo import gateway, qonto
from demo import template as infra
from demo.local_aws import LocalAws
from examples.app.app import Ledgerly, create_app
from examples.app.subscriber import Subscriber as SubscriberStack
from tests.support.careless import ConfirmsEveryReturn, forgetting_used_codes
from tests.support.connector import PARAMETERS, REDIRECT_URI, RETURN_URL, Connector, Subscriber
from tests.support.example_app import without_tokens
from tests.support.subscription import Example, MockQonto

APP_URL = RETURN_URL.removesuffix("/connected")
CONNECTOR_URL = REDIRECT_URI.removesuffix("/callback")
MALLORYS, ALICES = qonto.ORGANIZATIONS


class User:
    """A user whose browser reaches the app, the connector and the mock Qonto."""

    def __init__(self, sites: Mapping[str, ASGIApp]) -> None:
        """Give the browser the application of each origin in *sites*."""
        self.addresses: list[str] = []
        self._sites = {
            origin: TestClient(app, origin, follow_redirects=False) for origin, app in sites.items()
        }

    def visit(self, url: str) -> httpx2.Response:
        """Open *url* without following a redirect."""
        self.addresses.append(url)
        return self._at(url).get(url)

    def _at(self, url: str) -> TestClient:
        return self._sites["{0.scheme}://{0.netloc}".format(urlsplit(url))]

    def follow(self, url: str) -> httpx2.Response:
        """Open *url* and follow all redirects."""
        response = self.visit(url)
        while response.has_redirect_location:
            response = self.visit(str(response.url.join(response.headers["Location"])))
        return response

    def link(self) -> str:
        """Click on *Connect with Qonto*; return the ``/start`` link, not yet followed."""
        [token] = set(re.findall('name="token" value="(.+?)"', self.visit(f"{APP_URL}/").text))
        response = self._at(APP_URL).post("/connect", data={"token": token})
        return response.headers["Location"]

    def allow(self, start_link: str, organization: qonto.Organization) -> str:
        """Follow *start_link* and allow; return the callback's URL, not yet followed."""
        page = self.follow(start_link)
        challenge = query_of(str(page.url))["login_challenge"]
        browser = self._at(str(page.url))
        credentials = {"user": qonto.USER, "password": qonto.PASSWORD}
        browser.post("/sign-in", data={"login_challenge": challenge, **credentials})
        consent = {
            "consent_challenge": challenge,
            "decision": "allow",
            "scope": ["offline_access", "organization.read"],
            "organization": organization.id,
        }
        return browser.post("/consent", data=consent).headers["Location"]

    def connection(self) -> str:
        """Return the app's page about this user's connection."""
        return self.follow(f"{APP_URL}/connection").text


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


type MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(aws: LocalAws, tmp_path: Path) -> Iterator[MakeWorld]:
    """A function that returns a world with *app*, *pkce* and the subscriber's *parameters*."""
    mock_qonto = MockQonto()
    mock_qonto.server.redirect_uris = [REDIRECT_URI]

    def make(app: type[Ledgerly] = Ledgerly, pkce: str = "off", **parameters: str) -> World:
        stack = aws.deploy(PARAMETERS)
        connector = Connector(aws, stack, OAUTH_BASE_URL=mock_qonto.url, PKCE=pkce)
        example = Example(aws, stack.topic_arn, mock_qonto, **parameters)
        dynamodb = aws.session.resource("dynamodb", endpoint_url=aws.endpoint_url)
        connections = dynamodb.Table(example.stack.resources["ConnectionTable"])
        subscriber = SubscriberStack(aws.sqs, example.queue_url, connections)
        database = tmp_path / "ledgerly.sqlite"
        ledgerly = without_tokens(APP_URL, CONNECTOR_URL, subscriber, database, ledgerly=app)
        handlers = {"StartFunction": connector.start, "CallbackFunction": connector.callback}
        sites: dict[str, ASGIApp] = {
            APP_URL: create_app(ledgerly),
            CONNECTOR_URL: gateway.application(gateway.routes(infra.load()), handlers),
            mock_qonto.url: qonto.create_app(mock_qonto.server),
        }
        return World(User(sites), User(sites), mock_qonto, example, Subscriber(aws, stack))

    with mock_qonto.up():
        yield make


# The attacker sends their own start link to the victim


@pytest.mark.claim("S28", "T1")
def test_forwarded_link_connects_nothing(make_world: MakeWorld) -> None:
    world = make_world()

    response = world.alice.follow(world.alice.allow(world.mallory.link(), ALICES))
    [shown] = [url for url in world.alice.addresses if url.startswith(RETURN_URL)]
    world.mallory.follow(shown)
    world.settle()
    world.mallory.follow(shown)
    world.settle()

    assert response.status_code == 403
    assert str(response.url) == f"{APP_URL}/not-asked#_"
    assert world.example.grant(world.topic.message())["status"] == "repudiated"
    assert world.mock_qonto.exchanges == (0, 0)
    assert "Connect with Qonto" in world.mallory.connection()


def test_forwarded_link_without_confirmation_connects_victims_bank(
    make_world: MakeWorld,
) -> None:
    world = make_world(RequireConfirmation="false")
    link = world.mallory.link()

    world.alice.visit(world.alice.allow(link, ALICES))  # the app has no time to repudiate
    world.settle()

    grant = world.example.grant(world.topic.message())
    assert (grant["status"], grant["context"]) == ("connected", query_of(link)["context"])


def test_forwarded_link_with_careless_app_connects_victims_bank(make_world: MakeWorld) -> None:
    world = make_world(ConfirmsEveryReturn)

    world.alice.follow(world.alice.allow(world.mallory.link(), ALICES))
    world.settle()

    assert f"Connected to {ALICES.name}" in world.mallory.connection()


# The attacker puts the victim's code into their own flow


@pytest.mark.parametrize("pkce", ["off", "S256"])
@pytest.mark.claim("T3")
def test_injected_code_obtains_tokens_only_without_pkce(make_world: MakeWorld, pkce: str) -> None:
    world = make_world(pkce=pkce)
    stolen = world.alice.allow(world.alice.link(), ALICES)
    own = world.mallory.allow(world.mallory.link(), MALLORYS)

    world.mallory.follow(with_code_of(stolen, own))
    world.settle()

    page, is_connected = world.mallory.connection(), pkce == "off"
    assert (f"Connected to {ALICES.name}" in page) == is_connected
    assert ("That did not work" in page) != is_connected
    world.alice.follow(stolen)
    world.settle()
    assert "That did not work" in world.alice.connection()  # the price of sending a code once
    assert world.mock_qonto.exchanges == (1, is_connected)


@pytest.mark.parametrize(("pkce", "locked"), [("off", True), ("S256", False)])
@pytest.mark.claim("T3")
def test_used_code_is_sent_again_only_without_lock(
    make_world: MakeWorld, pkce: str, *, locked: bool
) -> None:
    world = make_world(pkce=pkce)
    if not locked:
        example = world.example
        grants = example.stack.resources["GrantTable"]
        example.handler = forgetting_used_codes(example.handler, example.aws, grants)
    used = world.alice.allow(world.alice.link(), ALICES)
    world.alice.follow(used)
    world.settle()
    own = world.mallory.allow(world.mallory.link(), MALLORYS)

    world.mallory.follow(with_code_of(used, own))
    world.settle()

    assert f"Connected to {ALICES.name}" in world.alice.connection()
    assert "That did not work" in world.mallory.connection()
    # For a second attempt, Qonto revokes Alice's tokens.
    assert world.mock_qonto.exchanges == ((1, 1) if locked else (2, 1))


def query_of(url: str) -> dict[str, str]:
    """Return the query parameters of *url*."""
    return dict(parse_qsl(urlsplit(url).query))


def with_code_of(other: str, callback: str) -> str:
    """Return the URL *callback* with the code of the URL *other*."""
    return f"{REDIRECT_URI}?{urlencode(query_of(callback) | {'code': query_of(other)['code']})}"
