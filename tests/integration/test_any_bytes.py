"""Any request of a browser gets a redirect or a page, never a stack trace."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.connector import Browser, Connector, Subscriber
from tests.support.slow import SLOW

# An HTTP API passes on undecodable bytes unchanged, so a query or a cookie can be any text.
ANYTHING = st.text(alphabet=st.characters(codec=None, categories=None), max_size=400)
NAMES = ["state", "code", "error", "error_description", "scope", "context", "return_to"]
# Blank values, and characters that SQS does not take
VALUES = ANYTHING | st.sampled_from(["", "\ufffe", "%EF%BF%BF", "\ud800"])
QUERIES = st.lists(st.tuples(st.sampled_from([*NAMES, "reference"]), VALUES)).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
# Cookies that a proxy joined with the browser's
JOINED = st.sampled_from(["", "a=1, ", "a=1,", "a=1; ", "__Host-qonto-connect=b,"]) | ANYTHING
HEADERS = st.dictionaries(
    st.sampled_from(["accept-language", "sec-purpose", "sec-fetch-dest", "sec-fetch-mode"]),
    st.sampled_from(["fr;q=.8", "de_DE,*;q=0,8", "prefetch", "document", "navigate"]) | ANYTHING,
)
STATUSES = {
    "start": {302, 400, 425},
    "callback": {303, 425},
    "outcome": {200, 400, 403, 404, 410, 425},
}
REQUESTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(list(STATUSES)),
        "outcome": st.sampled_from(["granted", "used"]) | ANYTHING,
        "raw_query": QUERIES | ANYTHING,
        "headers": HEADERS,
    }
)
REFUSALS = ["/callback/invalid-request#_", "/callback/other-browser#_", "/callback/used#_"]
# Qonto can send any text. A parser or an encoder could damage each of these samples.
SAMPLES = [
    *("denied, by the owner, twice", "a+b %2B c%20d %", "<script>alert(1)</script> & \"'"),
    *("é € 🏦 \u202e", "\x00\x01\x1f\x7f\r\n\t", "\ufffe\uffff\ufffd"),
    *("x" * 5000, "\x01" * 5000, "🏦" * 5000),
]
type Encoder = Callable[[str], str]
TEXTS = st.text(min_size=1, max_size=1500) | st.sampled_from(SAMPLES)
fuzzed = settings(
    max_examples=1000 if SLOW else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def visitor(connector: Connector) -> Browser:
    """Return one browser for this module: Hypothesis runs many examples within one test."""
    return Browser(connector)


@fuzzed
@given(asked=REQUESTS, joined=JOINED, value=ANYTHING | st.just("a" * 43))
@pytest.mark.claim("S16", "T8")
def test_any_request_gets_a_designed_response(
    visitor: Browser, asked: dict[str, Any], joined: str, value: str
) -> None:
    visitor.cookies = {f"{joined}__Host-qonto-connect": value}

    response = visitor.request(**asked)

    assert response.status in STATUSES[asked["name"]]
    assert bool(response.body) == (response.status not in {302, 303, 425})
    assert "Traceback" not in response.body
    assert bool(response.cookies) == (response.status == 302)
    assert response.status != 303 or response.location in REFUSALS


@fuzzed
@given(query=QUERIES.filter(lambda query: "state=" not in query))
@pytest.mark.claim("S16", "T8")
def test_any_authorization_response_returns_a_redirect(visitor: Browser, query: str) -> None:
    visitor.cookies = {}
    state = visitor.started()

    first, repeat = (visitor.request("callback", f"state={state}&{query}") for _ in range(2))

    assert first.status == 303
    assert state not in first.location
    assert repeat == first


def is_beginning(text: str, sent: str, characters: int) -> bool:
    """Tell whether *text* is *sent*, cut to *characters* and to four times as many JSON bytes."""
    cut = re.sub("[\ufffe\uffff]", "\ufffd", sent)[:characters]  # which SQS does not take
    is_whole = len(json.dumps(cut, ensure_ascii=False).encode()) - 2 <= 4 * characters
    return text == cut if is_whole else bool(text) and cut.startswith(text)


@settings(fuzzed, max_examples=60 if SLOW else 30)  # a whole flow takes longer
@given(error=TEXTS, description=TEXTS, encoder=st.sampled_from([quote, quote_plus]))
@pytest.mark.claim("S10", "T8")
def test_subscribers_receive_the_error_that_qonto_sent(
    visitor: Browser, subscriber: Subscriber, error: str, description: str, encoder: Encoder
) -> None:
    query = f"error={encoder(error)}&error_description={encoder(description)}"

    response = visitor.request("callback", f"{query}&state={visitor.started()}")

    data = subscriber.message()["data"]
    assert is_beginning(data["error"], error, 128)
    assert is_beginning(data["error_description"], description, 1024)
    assert response.parameters["outcome"] == ("denied" if error == "access_denied" else "failed")
