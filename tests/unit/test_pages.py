"""The HTML pages that users read."""

import re
import tomllib
from base64 import b64encode
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import pages
from settings import Settings

STATUSES = {
    "granted": 200,
    "denied": 200,
    "failed": 200,
    "expired": 410,
    "used": 410,
    "other-browser": 403,
    "invalid-request": 400,
    "not-found": 404,
    "callback-unavailable": 503,
    "callback-in-flight": 409,
    "start-unavailable": 503,
    "start-invalid": 400,
}
TRY_AGAIN = ["callback-unavailable", "callback-in-flight", "start-unavailable"]
START_AGAIN = [name for name in STATUSES if name not in {*TRY_AGAIN, "granted", "start-invalid"}]
ENVIRONMENT = {
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": "client-1",
    "TABLE_NAME": "states",
    "RETURN_URLS": "https://app.example.com/back https://app.example.com/other",
    "APP_NAME": "Ledgerly",
    "SUPPORT_URL": "mailto:help@example.com",
}
TEXTS = tomllib.loads(Path(pages.__file__).with_name("catalogue.toml").read_text("utf-8"))
LANGUAGES = list(TEXTS["words"])

every_page = pytest.mark.parametrize("name", STATUSES)
every_language = pytest.mark.parametrize("language", LANGUAGES)


class _Elements(HTMLParser):
    """Parses a page into its elements, their attributes, texts and links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self.links: dict[str, str | None] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if not data.strip():
            return
        self.texts[self.names[-1]] = data
        if self.names[-1] == "a":
            self.links[data] = self.attributes[-1][1]


def response(
    name: str, detail: str = "", start_query: str = "", language: str = "en", **environment: str
) -> dict[str, Any]:
    """Return the response with the page *name*, for ENVIRONMENT with *environment*."""
    settings = Settings.model_validate(ENVIRONMENT | environment)
    request = {"headers": {"accept-language": language}}
    return pages.page(request, settings, name, detail, start_query)


def links(name: str, start_query: str = "", **environment: str) -> list[Any]:
    """Return the text and URL of each link of the English page *name*, in order."""
    page = response(name, start_query=start_query, **environment)
    return list(_Elements(page["body"]).links.items())


def test_page_without_accept_language_is_english() -> None:
    page = pages.page({"headers": {}}, Settings.model_validate(ENVIRONMENT), "granted")

    assert '<html lang="en">' in page["body"]


@every_page
def test_page_has_its_status(name: str) -> None:
    assert response(name)["statusCode"] == STATUSES[name]


def test_every_page_of_catalogue_is_tested() -> None:
    assert TEXTS.keys() - {"words"} == STATUSES.keys()


def test_pages_are_in_languages_of_qonto_markets() -> None:
    assert set(LANGUAGES) == {"en", "fr", "de", "it", "es"}


@every_language
def test_every_language_has_every_text(language: str) -> None:
    assert TEXTS["words"][language].keys() == TEXTS["words"]["en"].keys()
    assert TEXTS["words"][language]["unnamed"].keys() == {"app", "back"}
    for name in STATUSES:
        assert TEXTS[name][language].keys() == {"title", "happened", "todo"}
        assert all(text.strip() for text in TEXTS[name][language].values())


@every_language
@every_page
def test_page_says_what_happened_and_what_to_do(name: str, language: str) -> None:
    page = response(name, language=language)
    elements = _Elements(page["body"])

    assert f'<html lang="{language}">' in page["body"]
    assert elements.texts["title"] == elements.texts["h1"]
    assert elements.texts["header"] == "Ledgerly"
    for part in ("happened", "todo"):
        text = TEXTS[name][language][part].format(app="Ledgerly")
        assert text in unescape(page["body"])
        assert re.fullmatch(r"[^.!?]+\.", text)


@pytest.mark.parametrize("name", TRY_AGAIN)
def test_try_again_page_links_to_itself(name: str) -> None:
    assert links(name) == [("Try again", ""), ("Get help", "mailto:help@example.com")]


@pytest.mark.parametrize("name", [name for name in STATUSES if name not in TRY_AGAIN])
def test_page_without_start_query_links_to_app(name: str) -> None:
    assert links(name) == [
        ("Back to Ledgerly", "https://app.example.com/back"),
        ("Get help", "mailto:help@example.com"),
    ]


def test_unnamed_app_is_called_the_app() -> None:
    back = ("Back to the app", "https://app.example.com/back")

    assert links("granted", APP_NAME="", SUPPORT_URL="") == [back]
    assert "Zurück zur App" in response("granted", language="de", APP_NAME="")["body"]
    assert "Zurück zu Ledgerly" in response("granted", language="de")["body"]


@pytest.mark.parametrize("name", START_AGAIN)
def test_page_with_start_query_offers_to_start_again(name: str) -> None:
    assert links(name, "context=ctx-1&organization_id=org-1") == [
        ("Start again", "/start?context=ctx-1&organization_id=org-1"),
        ("Back to Ledgerly", "https://app.example.com/back"),
        ("Get help", "mailto:help@example.com"),
    ]


@pytest.mark.parametrize("name", START_AGAIN)
def test_page_without_return_urls_offers_to_start_again(name: str) -> None:
    assert links(name, RETURN_URLS="", SUPPORT_URL="") == [("Start again", "/start")]


@pytest.mark.parametrize("name", ["granted", "start-invalid"])
def test_granted_or_invalid_start_offers_no_start_again(name: str) -> None:
    assert links(name, "context=ctx-1", RETURN_URLS="", SUPPORT_URL="") == []


@every_page
def test_page_loads_nothing_and_runs_nothing(name: str) -> None:
    page = response(name)
    elements = _Elements(page["body"])

    assert not {"script", "link", "img", "iframe", "form", "object"} & set(elements.names)
    assert not [
        name for name, _ in elements.attributes if name.startswith("on") or name in {"src", "style"}
    ]
    [style] = re.findall(r"<style>(.*?)</style>", page["body"], re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    allowed = b64encode(sha256(style.encode()).digest()).decode()
    assert page["headers"]["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{allowed}'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


@every_page
def test_page_has_security_headers_and_503_retry_after(name: str) -> None:
    headers = response(name)["headers"]

    del headers["Content-Security-Policy"]
    assert headers == {
        "Cache-Control": "no-store",
        "Content-Type": "text/html; charset=utf-8",
        "Referrer-Policy": "no-referrer",
        "Strict-Transport-Security": "max-age=63072000",
        "X-Content-Type-Options": "nosniff",
        **({"Retry-After": "5"} if STATUSES[name] == 503 else {}),
    }


@every_language
@every_page
def test_page_without_optional_settings_has_no_placeholders(name: str, language: str) -> None:
    page = response(name, language=language, RETURN_URLS="", APP_NAME="", SUPPORT_URL="")
    text = re.sub(r"<style>.*?</style>", "", page["body"], flags=re.DOTALL)

    assert "{" not in text
    assert "$" not in text
    assert "None" not in text


@every_language
@every_page
def test_longest_page_stays_under_5_kb(name: str, language: str) -> None:
    start_query = urlencode(
        {
            "context": "x" * 256,
            "return_to": "https://app.example.com/?" + "x=1&" * 121,
            "organization_id": "o" * 128,
            "registration_id": "r" * 128,
        }
    )
    details = {
        "reference": "1a2b3c4d",
        "invalid": "context, return_to, organization_id, registration_id",
        None: "",
    }
    detail = details[TEXTS[name].get("detail")]

    page = response(name, detail, start_query, language, APP_NAME="N" * 64)

    assert len(page["body"].encode()) < 5000


def test_app_name_and_return_url_are_escaped() -> None:
    page = response(
        "granted",
        "1a2b3c4d",
        APP_NAME="<script>&\"' {app} $title {",
        RETURN_URLS="https://app.example.com/?a=1&b='x'",
    )

    assert "<script" not in page["body"]
    assert "<script>&\"' {app} $title {" in unescape(page["body"])
    assert 'href="https://app.example.com/?a=1&amp;b=&#x27;x&#x27;"' in page["body"]


def test_start_query_is_escaped() -> None:
    page = response("denied", start_query="context=\"><script>&return_to='")

    assert 'href="/start?context=&quot;&gt;&lt;script&gt;&amp;return_to=&#x27;"' in page["body"]


def test_reference_is_shown_if_given() -> None:
    assert "Reference: 1a2b3c4d" in response("granted", "1a2b3c4d")["body"]
    assert "Reference" not in response("granted")["body"]


def test_granted_page_does_not_claim_a_connection() -> None:
    body = response("granted")["body"]

    assert "received" in body
    assert "connected" not in body


def test_used_page_says_it_may_have_worked() -> None:
    assert "may well have worked" in response("used")["body"]


def test_unsupported_language_gets_english() -> None:
    assert '<html lang="en">' in response("granted", language="pt-PT, pl;q=0.8")["body"]
