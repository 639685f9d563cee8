"""Attacks on whole flows: the real pair, app and subscriber, two browsers, a stand-in for Qonto.

What app, subscriber or a parameter stops is played twice: with it, and with it taken out, where the
attack works.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from demo import gateway, qonto
from demo import template as infra
from demo.local_aws import LocalAws
from examples.app.app import Ledgerly, create_app
from examples.app.app import Subscriber as SubscriberStack
from tests.integration.connector import PARAMETERS, REDIRECT_URI, RETURN_URL, Connector, Subscriber
from tests.integration.subscription import ExampleSubscriber, StandIn

APP_URL = RETURN_URL.removesuffix("/connected")
PAIR_URL = REDIRECT_URI.removesuffix("/callback")
GUESS = "00000000-0000-4000-8000-000000000000"
MALLORYS, ALICES = qonto.ORGANIZATIONS


class CredulousLedgerly(Ledgerly):
    """An app that confirms whatever comes back, in whichever session: as yours must not be."""

    def connected(self, request: Request) -> Response:
        """Confirm without a look at the session."""
        connector = {name: request.query_params[name] for name in ("authorization_id", "context")}
        self.subscriber.confirm(connector)
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)


class Person:
    """Somebody with a browser of their own, which knows all three sites."""

    def __init__(self, sites: Mapping[str, ASGIApp]) -> None:
        """Take what answers at each origin."""
        self._sites = {
            origin: TestClient(app, origin, follow_redirects=False) for origin, app in sites.items()
        }

    def visit(self, url: str) -> httpx2.Response:
        """Open *url*, and go no further."""
        return self._at(url).get(url)

    def _at(self, url: str) -> TestClient:
        return self._sites["{0.scheme}://{0.netloc}".format(urlsplit(url))]

    def follow(self, url: str) -> httpx2.Response:
        """Open *url*, and go wherever it leads."""
        response = self.visit(url)
        while response.has_redirect_location:
            response = self.visit(str(response.url.join(response.headers["Location"])))
        return response

    def link(self) -> str:
        """Click on *Connect with Qonto*; return the pair's ``/start`` link, not yet followed."""
        return self.visit(f"{APP_URL}/connect").headers["Location"]

    def allow(self, start_link: str, organization: qonto.Organization) -> str:
        """Follow *start_link* and allow; return the callback's address, not yet followed."""
        page = self.follow(start_link)
        challenge = dict(parse_qsl(page.url.query.decode()))["login_challenge"]
        browser = self._at(str(page.url))
        user = {"person": qonto.PERSON, "password": qonto.PASSWORD}
        browser.post("/sign-in", data={"login_challenge": challenge, **user})
        consent = {
            "consent_challenge": challenge,
            "decision": "allow",
            "scope": ["offline_access", "organization.read"],
            "organization": organization.id,
        }
        return browser.post("/consent", data=consent).headers["Location"]

    def connection(self) -> str:
        """Return what the app says of this person's connection."""
        return self.follow(f"{APP_URL}/connection").text


@dataclass(frozen=True)
class World:
    """All that two people and an attack need."""

    mallory: Person
    alice: Person
    stand_in: StandIn
    example: ExampleSubscriber
    topic: Subscriber

    def settle(self) -> None:
        """Let the subscriber take in all that waits for it."""
        while self.example.poll():
            pass


type MakeWorld = Callable[..., World]


@pytest.fixture
def world(aws: LocalAws) -> Iterator[MakeWorld]:
    """Make a world, if need be with another app, PKCE, or the subscriber's other *parameters*."""
    stand_in = StandIn()
    stand_in.server.redirect_uris = [REDIRECT_URI]

    def make(app: type[Ledgerly] = Ledgerly, pkce: str = "off", **parameters: str) -> World:
        stack = aws.deploy(PARAMETERS)
        connector = Connector(aws, stack, OAUTH_BASE_URL=stand_in.url, PKCE=pkce)
        example = ExampleSubscriber(aws, stack.topic_arn, stand_in, None, **parameters)
        dynamodb = aws.session.resource("dynamodb", endpoint_url=aws.endpoint_url)
        connections = dynamodb.Table(example.stack.resources["ConnectionTable"])
        ledgerly = app(APP_URL, PAIR_URL, SubscriberStack(aws.sqs, example.queue_url, connections))
        handlers = {"StartFunction": connector.start, "CallbackFunction": connector.callback}
        sites: dict[str, ASGIApp] = {
            APP_URL: create_app(ledgerly, "a-secret-of-the-test"),
            PAIR_URL: gateway.application(gateway.routes(infra.load()), handlers),
            stand_in.url: qonto.create_app(stand_in.server),
        }
        return World(Person(sites), Person(sites), stand_in, example, Subscriber(aws, stack))

    with stand_in.up():
        yield make


# Somebody's own start link, sent to somebody else


def test_a_forwarded_link_connects_nothing(world: MakeWorld) -> None:
    it = world()
    link = it.mallory.link()

    seen = it.alice.follow(it.alice.allow(link, ALICES))
    it.mallory.follow(came_back(GUESS, context_of(link)))
    it.settle()

    assert seen.status_code == 403
    assert "This browser did not ask for that" in seen.text
    event = it.topic.message()
    assert it.example.grant(event)["state"] == "held"
    assert it.stand_in.exchanges == (0, 0)
    assert "Finishing" in it.mallory.connection()


def test_without_confirmation_a_forwarded_link_connects_somebody_elses_bank(
    world: MakeWorld,
) -> None:
    it = world(RequireConfirmation="false")
    link = it.mallory.link()

    it.alice.follow(it.alice.allow(link, ALICES))
    it.settle()

    grant = it.example.grant(it.topic.message())
    assert grant["state"] == "connected"
    assert grant["context"] == context_of(link)
    assert it.stand_in.exchanges == (1, 1)


def test_an_app_that_confirms_whatever_returns_connects_somebody_elses_bank(
    world: MakeWorld,
) -> None:
    it = world(CredulousLedgerly)
    link = it.mallory.link()

    it.alice.follow(it.alice.allow(link, ALICES))
    it.settle()

    event = it.topic.message()
    assert it.example.status(event) == "connected"
    assert event["data"]["context"] == context_of(link)
    assert it.stand_in.exchanges == (1, 1)


# Somebody else's code, in a flow of one's own


def test_without_pkce_an_injected_code_connects_somebody_elses_bank(world: MakeWorld) -> None:
    it = world()
    stolen = it.alice.allow(it.alice.link(), ALICES)
    own = it.mallory.allow(it.mallory.link(), MALLORYS)

    it.mallory.follow(with_code_of(stolen, own))
    it.settle()

    assert f"Connected to {ALICES.name}" in it.mallory.connection()


def test_with_pkce_an_injected_code_brings_no_tokens(world: MakeWorld) -> None:
    it = world(pkce="S256")
    stolen = it.alice.allow(it.alice.link(), ALICES)
    own = it.mallory.allow(it.mallory.link(), MALLORYS)

    it.mallory.follow(with_code_of(stolen, own))
    it.settle()

    assert it.stand_in.exchanges == (1, 0)
    assert "That did not work" in it.mallory.connection()
    it.alice.follow(stolen)
    it.settle()
    assert f"Connected to {ALICES.name}" in it.alice.connection()


# One's own answer, in somebody else's browser


def test_a_callback_made_in_one_browser_is_worth_nothing_in_another(world: MakeWorld) -> None:
    it = world()
    it.alice.visit(it.alice.link())  # she has a cookie, and a flow of her own

    seen = it.alice.follow(it.mallory.allow(it.mallory.link(), MALLORYS))

    assert seen.status_code == 403
    assert str(seen.url) == f"{PAIR_URL}/callback/other-browser"
    assert it.topic.messages() == []


def context_of(start_link: str) -> str:
    """Return the context that *start_link* carries."""
    return dict(parse_qsl(urlsplit(start_link).query))["context"]


def came_back(authorization_id: str, context: str) -> str:
    """Return the app's address to which a granted authorization leads."""
    returned = {"authorization_id": authorization_id, "outcome": "granted", "context": context}
    return f"{APP_URL}/connected?{urlencode(returned)}"


def with_code_of(other: str, callback: str) -> str:
    """Return the address *callback* with the code of *other* in it."""
    code = {"code": dict(parse_qsl(urlsplit(other).query))["code"]}
    query = dict(parse_qsl(urlsplit(callback).query)) | code
    return f"{REDIRECT_URI}?{urlencode(query)}"
