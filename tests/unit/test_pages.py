"""The HTML pages that users read."""

import re
import tomllib
from base64 import b64encode
from hashlib import sha256
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import pages
from outcomes import Outcome
from settings import Settings
from tests.support.packages import VARIABLES

BACK = ("https://app.example.com/back", "Back to Ledgerly")
HELP = ("mailto:help@example.com", "Get help")
ENVIRONMENT = VARIABLES | {
    "RETURN_URLS": f"{BACK[0]} https://app.example.com/other",
    "APP_NAME": "Ledgerly",
    "SUPPORT_URL": HELP[0],
}
TEXTS = tomllib.loads(Path(pages.__file__).with_name("catalogue.toml").read_text("utf-8"))
WORDS = TEXTS.pop("words")
LONGEST = {"context": "x" * 256, "return_to": BACK[0] + "?" + "x=1&" * 120}
LONGEST |= {"organization_id": "o" * 128, "registration_id": "r" * 128}
DETAILS = {"reference": "1a2b3c4d", "invalid": ", ".join(LONGEST), None: ""}


def response(name: str, *given: str, language: str = "en", **environment: str) -> dict[str, Any]:
    settings = Settings.model_validate(ENVIRONMENT | environment)
    request = {"headers": {"accept-language": language} if language else {}}
    return pages.page(request, settings, name, *given)


def links(name: str, *given: str, **environment: str) -> list[tuple[str, str]]:
    """Return the URL and text of each link of the English page *name*, in order."""
    body = response(name, "", *given, language="", **environment)["body"]
    assert not re.search(r"</a></p>\s*[^\s<]", body)  # nothing between two links
    return re.findall(r'<a [^>]*?href="([^"]*)"[^>]*>\s*([^<]*?)\s*</a>', unescape(body))


def test_every_page_and_language_has_its_texts() -> None:
    assert {outcome.page for outcome in Outcome} <= TEXTS.keys()
    assert WORDS.keys() == {"en", "fr", "de", "it", "es"}  # of Qonto's markets
    for words in WORDS.values():
        assert words.keys() == WORDS["en"].keys()
        assert words["unnamed"].keys() == {"app", "back"}
    assert links("granted", APP_NAME="") == [(BACK[0], "Back to the app"), HELP]
    assert "Zurück zur App" in response("granted", language="de", APP_NAME="")["body"]
    assert "Zurück zu Ledgerly" in response("granted", language="de")["body"]


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.claim("S17")
def test_page_is_complete_small_and_loads_nothing(name: str, language: str) -> None:
    detail, texts = DETAILS[TEXTS[name].get("detail")], TEXTS[name][language]
    page = response(name, detail, urlencode(LONGEST), language=language, APP_NAME="N" * 64)
    plain = response(name, language=language, RETURN_URLS="", APP_NAME="", SUPPORT_URL="")
    body, [style] = page["body"], re.findall(r"<style>(.*?)</style>", page["body"], re.DOTALL)

    assert f'<html lang="{language}">' in body
    assert re.search(rf"<title>({escape(texts['title'])})</title>.*<h1>\1</h1>", body, re.DOTALL)
    assert f"<header>{'N' * 64}</header>" in body
    assert texts.keys() == {"title", "happened", "todo"}
    for text in (texts["happened"].format(app="N" * 64), texts["todo"].format(app="N" * 64)):
        assert re.fullmatch(r"[^.!?]+\.", text)
        assert f"<p>{escape(text)}</p>" in body
    assert len(body.encode()) < 5000
    assert not re.search(r"[{$]|None", plain["body"].replace(style, ""))
    assert not re.search(r"<(script|link|img|iframe|form|object)\b", body)
    assert not re.search(r"<[^>]*\s(on\w+|src|style)\s*=|url\(|@import", body)
    allowed = b64encode(sha256(style.encode()).digest()).decode()
    assert page["statusCode"] == TEXTS[name]["status"]
    assert page["headers"] == {
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{allowed}'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "Content-Type": "text/html; charset=utf-8",
        "Referrer-Policy": "no-referrer",
        "Strict-Transport-Security": "max-age=63072000",
        "X-Content-Type-Options": "nosniff",
        **({"Retry-After": "5"} if name.endswith("-unavailable") else {}),
    }


@pytest.mark.parametrize("name", TEXTS)
def test_page_has_links_of_its_kind(name: str) -> None:
    query = "context=ctx-1&organization_id=org-1"
    if name.endswith(("-unavailable", "-in-flight")):
        assert links(name) == links(name, query) == [("", "Try again"), HELP]
    elif name in {"granted", "start-invalid"}:
        assert links(name) == links(name, query) == [BACK, HELP]
        assert links(name, query, RETURN_URLS="", SUPPORT_URL="") == []
    else:
        assert links(name) == [BACK, HELP]
        assert links(name, query) == [(f"/start?{query}", "Start again"), BACK, HELP]
        assert links(name, RETURN_URLS="", SUPPORT_URL="") == [("/start", "Start again")]


@pytest.mark.claim("T8")
def test_app_name_and_return_url_are_escaped() -> None:
    app_name, return_url = "<script>&\"' {app} $title {", "https://app.example.com/?a=1&b='x'"
    granted = response("granted", "1a2b3c4d", APP_NAME=app_name, RETURN_URLS=return_url)["body"]
    denied = response("denied", "", "context=\"><script>&return_to='")["body"]
    assert "<script" not in granted
    assert app_name in unescape(granted)
    assert 'href="https://app.example.com/?a=1&amp;b=&#x27;x&#x27;"' in granted
    assert 'href="/start?context=&quot;&gt;&lt;script&gt;&amp;return_to=&#x27;"' in denied
