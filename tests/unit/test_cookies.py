"""The cookie that binds a state to one browser, and the one for *Start again*."""

from hashlib import sha256
from urllib.parse import urlencode

import pytest

import cookies
from authorization import STATE_LIFETIME

VALUE = "a" * 43
NAME = "__Host-qonto-connect"
OWN, OTHER = f"{NAME}={VALUE}", f"{NAME}={'b' * 43}"
ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400"


@pytest.mark.claim("T16")
def test_browser_cookie_has_host_prefix_and_secure_attributes() -> None:
    assert cookies.set_browser(VALUE) == f"{OWN}; {ATTRIBUTES}"
    assert cookies.MAX_AGE > STATE_LIFETIME


def test_new_browser_values_are_valid_and_unique() -> None:
    values = {cookies.new_browser() for _ in range(1000)}
    assert len(values) == 1000
    for value in values:
        assert cookies.read_browser({"cookies": [f"{NAME}={value}"]}) == value
    assert cookies.browser_hash(VALUE) == sha256(VALUE.encode()).hexdigest()


@pytest.mark.parametrize(
    "sent",
    [
        ["session=x", OWN, "theme=dark"],
        [f"a=1, {OWN}"],  # headers that a proxy joined
        [f"a=1,b=2,{OWN},c=3"],
        [f"{OWN},a=1", "b=2"],
        ["b=2", f"a=1;\t{OWN} ;c=3"],
        # The value of another cookie, which any host of the domain can set, does not stand for it.
        [OWN, f"a=1,{OTHER}"],
        [f"a=1,{OTHER}; {OWN}"],
    ],
)
@pytest.mark.claim("S7")
def test_browser_cookie_is_found_in_joined_entries(sent: list[str]) -> None:
    assert cookies.read_browser({"cookies": sent}) == VALUE


@pytest.mark.parametrize(
    "sent",
    [
        *([f"{NAME}={VALUE[:-1]}{end}"] for end in ("", "aa", "=", "\n")),
        [NAME],
        ["__host-qonto-connect=" + VALUE],
        ["qonto-connect=" + VALUE],
        *([f"a=1;{space}{OWN}"] for space in "\x0b\x1c\x85\xa0\u2003\u3000"),
        [OWN, OWN],
        [f"{OWN}; {OWN}"],
        [f"a=1,{OWN},{OWN}"],
    ],
)
def test_missing_malformed_or_repeated_browser_cookie_is_ignored(sent: list[str]) -> None:
    assert cookies.read_browser({"cookies": sent}) is None
    assert cookies.read_browser({}) is None


@pytest.mark.claim("T16")
def test_start_query_is_kept_for_its_own_reference() -> None:
    query = "context=ctx.1&organization_id=org-1"
    kept = f"__Host-qonto-connect-start=1a2b3c4d.{query}"
    assert cookies.set_start_query("1a2b3c4d", query) == f"{kept}; {ATTRIBUTES}"
    assert cookies.read_start_query({"cookies": [kept]}, "1a2b3c4d") == query
    assert cookies.read_start_query({"cookies": [kept]}, "another") == ""
    longest = {"organization_id": "o" * 128, "registration_id": "r" * 128, "context": "~" * 256}
    longest |= {"return_to": "https://app.example.com/" + "(" * 488}
    # Every browser keeps 4096 bytes (RFC 6265, section 6.1).
    assert len(cookies.set_start_query("1a2b3c4d", urlencode(longest))) < 4096
