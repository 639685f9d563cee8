"""What a person reads."""

import re
from base64 import b64encode
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

import pages
from deployment import Deployment

STATUSES = {
    "granted": 200,
    "denied": 200,
    "failed": 200,
    "expired": 410,
    "used": 410,
    "other-browser": 403,
    "invalid-request": 400,
    "start-again": 503,
    "not-found": 404,
    "callback-unavailable": 503,
    "start-unavailable": 503,
    "start-invalid": 400,
}
ENVIRONMENT = {
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": "client-1",
    "TABLE_NAME": "states",
    "RETURN_URLS": "https://app.example.com/back https://app.example.com/other",
    "APP_NAME": "Ledgerly",
    "SUPPORT_URL": "mailto:help@example.com",
}
every_page = pytest.mark.parametrize("name", STATUSES)


class _Elements(HTMLParser):
    """The elements of a page and the text of each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str | None]] = []
        self.names: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts[self.names[-1]] = data


def answer(name: str, detail: str | None = None, **environment: str) -> dict[str, Any]:
    """Return the answer with a page, of a deployment with *environment* changed."""
    return pages.answer(name, Deployment.model_validate(ENVIRONMENT | environment), detail)


@every_page
def test_a_page_has_its_own_status(name: str) -> None:
    assert answer(name)["statusCode"] == STATUSES[name]


def test_there_is_no_page_that_no_test_names() -> None:
    assert pages._PAGES.keys() == STATUSES.keys()  # noqa: SLF001 - the file's own tables


@every_page
def test_a_page_says_what_happened_and_offers_a_way_on(name: str) -> None:
    elements = _Elements(answer(name)["body"])

    assert elements.texts["title"] == elements.texts["h1"] != ""
    assert {"main", "p", "a"} <= set(elements.names)
    targets = [value for attribute, value in elements.attributes if attribute == "href"]
    assert targets[0] in {"", "https://app.example.com/back"}
    assert targets[1:] == ["mailto:help@example.com"]


@every_page
def test_only_a_503_in_place_of_a_redirect_offers_the_same_address_again(name: str) -> None:
    offers_again = 'href=""' in answer(name)["body"]

    assert offers_again == (name in {"callback-unavailable", "start-unavailable"})


@every_page
def test_a_page_loads_nothing_and_runs_nothing(name: str) -> None:
    page = answer(name)
    elements = _Elements(page["body"])

    assert not {"script", "link", "img", "iframe", "form", "object"} & set(elements.names)
    assert not [a for a, _ in elements.attributes if a.startswith("on") or a in {"src", "style"}]
    style = re.findall(r"<style>(.*?)</style>", page["body"])
    allowed = b64encode(sha256(style[0].encode()).digest()).decode()
    assert page["headers"]["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{allowed}'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


@every_page
def test_a_page_has_every_security_header(name: str) -> None:
    headers = answer(name)["headers"]

    del headers["Content-Security-Policy"]
    assert headers == {
        "Cache-Control": "no-store",
        "Content-Type": "text/html; charset=utf-8",
        "Referrer-Policy": "no-referrer",
        "Strict-Transport-Security": "max-age=63072000",
        "X-Content-Type-Options": "nosniff",
    }


@every_page
def test_a_page_reads_well_without_any_setting(name: str) -> None:
    page = answer(name, RETURN_URLS="", APP_NAME="", SUPPORT_URL="")

    assert "{" not in re.sub(r"<style>.*?</style>", "", page["body"])
    assert "Back to" not in page["body"]
    assert len(page["body"].encode()) < 5000


def test_names_and_addresses_are_escaped() -> None:
    page = answer(
        "granted",
        "1a2b3c4d",
        APP_NAME="<script>&\"' {app} {",
        RETURN_URLS="https://app.example.com/?a=1&b='x'",
    )

    assert "<script" not in page["body"]
    assert "<script>&\"' {app} {" in unescape(page["body"])
    assert 'href="https://app.example.com/?a=1&amp;b=&#x27;x&#x27;"' in page["body"]


def test_a_reference_is_shown_where_there_is_one() -> None:
    assert "Reference: 1a2b3c4d" in answer("granted", "1a2b3c4d")["body"]
    assert "Reference" not in answer("granted")["body"]


def test_granted_says_received_and_not_connected() -> None:
    body = answer("granted")["body"]

    assert "received" in body
    assert "connected" not in body


def test_used_says_that_it_may_have_worked() -> None:
    assert "may well have worked" in answer("used")["body"]
