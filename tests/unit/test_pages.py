"""The HTML pages that users read."""

import re
import tomllib
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import pages
from outcomes import Outcome
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


def response(
    name: str, detail: str = "", start_query: str = "", language: str = "en", **environment: str
) -> dict[str, Any]:
    """Return the response with the page *name*, for ENVIRONMENT with *environment*."""
    settings = Settings.model_validate(ENVIRONMENT | environment)
    request = {"headers": {"accept-language": language} if language else {}}
    return pages.page(request, settings, name, detail, start_query)


def links(name: str, start_query: str = "", **environment: str) -> list[tuple[str, str]]:
    """Return the URL and text of each link of the English page *name*, in order."""
    body = response(name, start_query=start_query, **environment)["body"]
    return re.findall(r'<a [^>]*?href="([^"]*)"[^>]*>\s*([^<]*?)\s*</a>', unescape(body))


def test_every_page_and_language_has_its_texts() -> None:
    assert TEXTS.keys() - {"words"} == STATUSES.keys()
    assert {outcome.page for outcome in Outcome} <= STATUSES.keys()
    assert set(LANGUAGES) == {"en", "fr", "de", "it", "es"}  # of Qonto's markets
    for words in TEXTS["words"].values():
        assert words.keys() == TEXTS["words"]["en"].keys()
        assert words["unnamed"].keys() == {"app", "back"}


def test_app_is_told_four_outcomes() -> None:
    told = {outcome.reason for outcome in Outcome if outcome.app_is_told}

    assert told == {"granted", "denied", "failed", "expired"}


@every_language
@every_page
def test_page_says_what_happened_and_what_to_do(name: str, language: str) -> None:
    page = response(name, language=language)
    [title] = re.findall(r"<title>(.*?)</title>", page["body"])

    assert f'<html lang="{language}">' in page["body"]
    assert re.search(rf"<h1[^>]*>\s*{re.escape(title)}\s*</h1>", page["body"])
    assert re.search(r"<header[^>]*>\s*Ledgerly\s*</header>", page["body"])
    assert TEXTS[name][language].keys() == {"title", "happened", "todo"}
    for part in ("happened", "todo"):
        text = TEXTS[name][language][part].format(app="Ledgerly")
        assert text in unescape(page["body"])
        assert re.fullmatch(r"[^.!?]+\.", text)


@pytest.mark.parametrize("language", ["", "pt-PT, pl;q=0.8"])
def test_unsupported_language_gets_english(language: str) -> None:
    assert '<html lang="en">' in response("granted", language=language)["body"]


BACK = ("https://app.example.com/back", "Back to Ledgerly")
HELP = ("mailto:help@example.com", "Get help")


@every_page
def test_page_has_links_of_its_kind(name: str) -> None:
    query = "context=ctx-1&organization_id=org-1"
    again = (f"/start?{query}", "Start again")
    if name in TRY_AGAIN:
        assert links(name) == links(name, query) == [("", "Try again"), HELP]
    elif name in {"granted", "start-invalid"}:
        assert links(name) == links(name, query) == [BACK, HELP]
        assert links(name, query, RETURN_URLS="", SUPPORT_URL="") == []
    else:
        assert links(name) == [BACK, HELP]
        assert links(name, query) == [again, BACK, HELP]
        assert links(name, RETURN_URLS="", SUPPORT_URL="") == [("/start", "Start again")]


def test_unnamed_app_is_called_the_app() -> None:
    back = ("https://app.example.com/back", "Back to the app")

    assert links("granted", APP_NAME="", SUPPORT_URL="") == [back]
    assert "Zurück zur App" in response("granted", language="de", APP_NAME="")["body"]
    assert "Zurück zu Ledgerly" in response("granted", language="de")["body"]


@every_page
@pytest.mark.claim("S17")
def test_page_loads_nothing_and_runs_nothing(name: str) -> None:
    page = response(name)

    assert not re.search(r"<(script|link|img|iframe|form|object)\b", page["body"])
    assert not re.search(r"<[^>]*\s(on\w+|src|style)\s*=", page["body"])
    [style] = re.findall(r"<style>(.*?)</style>", page["body"], re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    allowed = b64encode(sha256(style.encode()).digest()).decode()
    assert page["headers"]["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{allowed}'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


@every_page
@pytest.mark.claim("S17")
def test_page_has_security_headers_and_503_retry_after(name: str) -> None:
    page = response(name)

    assert page["statusCode"] == STATUSES[name]
    del page["headers"]["Content-Security-Policy"]
    assert page["headers"] == {
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

    assert not re.search(r"[{$]|None", text)


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
    invalid = "context, return_to, organization_id, registration_id"
    detail = {"reference": "1a2b3c4d", "invalid": invalid, None: ""}[TEXTS[name].get("detail")]

    page = response(name, detail, start_query, language, APP_NAME="N" * 64)

    assert len(page["body"].encode()) < 5000


@pytest.mark.claim("T8")
def test_app_name_and_return_url_are_escaped() -> None:
    app_name, return_url = "<script>&\"' {app} $title {", "https://app.example.com/?a=1&b='x'"

    granted = response("granted", "1a2b3c4d", APP_NAME=app_name, RETURN_URLS=return_url)["body"]
    denied = response("denied", start_query="context=\"><script>&return_to='")["body"]

    assert "<script" not in granted
    assert app_name in unescape(granted)
    assert 'href="https://app.example.com/?a=1&amp;b=&#x27;x&#x27;"' in granted
    assert 'href="/start?context=&quot;&gt;&lt;script&gt;&amp;return_to=&#x27;"' in denied


def test_granted_page_does_not_claim_a_connection() -> None:
    body = response("granted")["body"]

    assert "received" in body
    assert "connected" not in body
    assert "Reference" not in body
    assert "Reference: 1a2b3c4d" in response("granted", "1a2b3c4d")["body"]
    assert "may well have worked" in response("used")["body"]
