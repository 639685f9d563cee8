"""The cookie that binds a state to one browser, and the one for *Start again*."""

from hashlib import sha256
from urllib.parse import urlencode

import pytest

import cookies
from authorization import STATE_LIFETIME

VALUE = "a" * 43


def test_browser_cookie_has_host_prefix_and_secure_attributes() -> None:
    assert cookies.set_browser(VALUE) == (
        f"__Host-qonto-connect={VALUE}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400"
    )


def test_browser_cookie_outlives_every_state() -> None:
    assert cookies.MAX_AGE > STATE_LIFETIME


def test_new_browser_values_are_valid_and_unique() -> None:
    values = {cookies.new_browser() for _ in range(1000)}

    assert len(values) == 1000
    for value in values:
        assert cookies.read_browser({"cookies": [f"__Host-qonto-connect={value}"]}) == value


def test_browser_cookie_is_found_among_others() -> None:
    sent = ["session=x", f"__Host-qonto-connect={VALUE}", "theme=dark"]

    assert cookies.read_browser({"cookies": sent}) == VALUE


@pytest.mark.parametrize(
    "sent",
    [
        [f"a=1, __Host-qonto-connect={VALUE}"],  # headers that a proxy joined
        [f"a=1; __Host-qonto-connect={VALUE}"],
        [f"a=1,b=2,__Host-qonto-connect={VALUE},c=3"],
        [f"__Host-qonto-connect={VALUE},a=1", "b=2"],
        ["b=2", f"a=1;\t__Host-qonto-connect={VALUE} ;c=3"],
        # The value of another cookie, which any host of the domain can set, does not stand for it.
        [f"__Host-qonto-connect={VALUE}", f"a=1,__Host-qonto-connect={'b' * 43}"],
        [f"a=1,__Host-qonto-connect={'b' * 43}; __Host-qonto-connect={VALUE}"],
    ],
)
def test_browser_cookie_is_found_in_joined_entries(sent: list[str]) -> None:
    assert cookies.read_browser({"cookies": sent}) == VALUE


@pytest.mark.parametrize(
    "sent",
    [
        [],
        ["__Host-qonto-connect"],
        ["__Host-qonto-connect="],
        ["__Host-qonto-connect=" + "a" * 42],
        ["__Host-qonto-connect=" + "a" * 44],
        ["__Host-qonto-connect=" + "a" * 42 + "="],
        ["__Host-qonto-connect=" + "a" * 42 + "\n"],
        ["__host-qonto-connect=" + VALUE],
        ["qonto-connect=" + VALUE],
        *([f"a=1;{space}__Host-qonto-connect={VALUE}"] for space in "\x0b\x1c\x85\xa0\u2003\u3000"),
        [f"__Host-qonto-connect={VALUE}", f"__Host-qonto-connect={VALUE}"],
        [f"__Host-qonto-connect={VALUE}; __Host-qonto-connect={VALUE}"],
        [f"a=1,__Host-qonto-connect={VALUE},__Host-qonto-connect={VALUE}"],
    ],
)
def test_missing_malformed_or_repeated_browser_cookie_is_ignored(sent: list[str]) -> None:
    assert cookies.read_browser({"cookies": sent}) is None


def test_request_without_cookies_has_no_browser_cookie() -> None:
    assert cookies.read_browser({}) is None


def test_browser_hash_is_sha256_of_the_value() -> None:
    assert cookies.browser_hash(VALUE) == sha256(VALUE.encode()).hexdigest()


def test_start_query_is_kept_for_its_own_reference() -> None:
    header = cookies.set_start_query("1a2b3c4d", "context=ctx.1&organization_id=org-1")

    kept = header.partition(";")[0]
    assert header == (
        "__Host-qonto-connect-start=1a2b3c4d.context=ctx.1&organization_id=org-1; "
        "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400"
    )
    query = cookies.read_start_query({"cookies": [kept]}, "1a2b3c4d")
    assert query == "context=ctx.1&organization_id=org-1"


def test_start_query_is_found_in_a_joined_entry() -> None:
    sent = [f"a=1, __Host-qonto-connect={VALUE}, __Host-qonto-connect-start=1a2b3c4d.context=c"]

    assert cookies.read_start_query({"cookies": sent}, "1a2b3c4d") == "context=c"


@pytest.mark.parametrize("reference", ["", "1a2b3c4e", "1a2b3c4d.context=ctx-1"])
def test_start_query_is_empty_for_another_reference(reference: str) -> None:
    sent = ["__Host-qonto-connect-start=1a2b3c4d.context=ctx-1"]

    assert cookies.read_start_query({"cookies": sent}, reference) == ""
    assert cookies.read_start_query({}, reference) == ""


def test_longest_start_query_fits_into_a_cookie() -> None:
    query = urlencode(
        {
            "organization_id": "o" * 128,
            "registration_id": "r" * 128,
            "context": "~" * 256,
            "return_to": "https://app.example.com/" + "(" * 488,
        }
    )

    header = cookies.set_start_query("1a2b3c4d", query)

    assert len(header) < 4096  # the size that every browser keeps (RFC 6265, section 6.1)
