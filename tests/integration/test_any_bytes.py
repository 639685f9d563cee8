"""Any request of a browser gets a redirect or a page, never a stack trace."""

import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.integration.connector import Browser, Connector, Subscriber
from tests.slow import SLOW

# An HTTP API passes on undecodable bytes unchanged, so a query or a cookie can be any text.
ANYTHING = st.text(alphabet=st.characters(codec=None, categories=None), max_size=400)
NAMES = st.sampled_from(
    ["state", "code", "error", "error_description", "scope", "context", "return_to"]
)
# Blank values, and characters that SQS does not take
VALUES = ANYTHING | st.sampled_from(["", "\ufffe", "%EF%BF%BF", "\ud800"])
QUERIES = ANYTHING | st.lists(st.tuples(NAMES, VALUES)).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
# Cookies that a proxy joined with the browser's
JOINED = st.sampled_from(["", "a=1, ", "a=1,", "a=1; ", "__Host-qonto-connect=b,"]) | ANYTHING
LANGUAGES = st.lists(
    st.tuples(
        st.sampled_from(["fr", "de_DE", "it-IT.UTF-8", "*", ""]),
        st.sampled_from(["", ";q=.8", ";q=0.50000", ";q=0,8", " ; q = 1.5", ";q="]),
    )
).map(lambda ranges: ",".join("".join(each) for each in ranges))
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "accept-language": LANGUAGES | ANYTHING,
        "sec-purpose": st.sampled_from(["prefetch", "prefetch;prerender", ""]) | ANYTHING,
        "sec-fetch-dest": st.sampled_from(["document", "empty", "image", ""]) | ANYTHING,
        "sec-fetch-mode": st.sampled_from(["navigate", "same-origin", "cors", ""]) | ANYTHING,
    },
)
CALLBACK_STATUSES = {303}
START_STATUSES = {302, 400, 425}


@pytest.fixture(scope="module")
def visitor(connector: Connector) -> Browser:
    """Return one browser for this module: Hypothesis runs many examples within one test."""
    return Browser(connector)


fuzzed = settings(
    max_examples=300 if SLOW else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@fuzzed
@given(query=QUERIES, joined=JOINED, cookie=ANYTHING, headers=HEADERS)
def test_any_start_gets_a_designed_response(
    visitor: Browser, query: str, joined: str, cookie: str, headers: dict[str, str]
) -> None:
    visitor.cookies = {f"{joined}__Host-qonto-connect": cookie}

    response = visitor.request("start", query, headers=headers)

    assert response.status in START_STATUSES
    assert "Traceback" not in response.body
    assert bool(response.body) == (response.status == 400)
    assert bool(response.cookies) == (response.status == 302)


@fuzzed
@given(query=QUERIES, joined=JOINED, cookie=ANYTHING | st.just("a" * 43))
def test_any_callback_redirects_to_an_outcome_page(
    visitor: Browser, query: str, joined: str, cookie: str
) -> None:
    visitor.cookies = {f"{joined}__Host-qonto-connect": cookie}

    response = visitor.request("callback", query)

    assert response.status in CALLBACK_STATUSES
    assert response.location in {
        "/callback/invalid-request#_",
        "/callback/other-browser#_",
        "/callback/used#_",
    }


@fuzzed
@given(response=st.lists(st.tuples(NAMES, VALUES), min_size=1))
def test_any_authorization_response_returns_a_redirect(
    visitor: Browser, response: list[tuple[str, str]]
) -> None:
    visitor.cookies = {}
    state = visitor.started()
    query = "&".join(f"{name}={value}" for name, value in response if name != "state")

    result = visitor.request("callback", f"state={state}&{query}")

    assert result.status in CALLBACK_STATUSES
    assert state not in result.location


@fuzzed
@given(
    outcome=ANYTHING,
    query=ANYTHING | ANYTHING.map(lambda text: f"reference={text}"),
    headers=HEADERS,
)
def test_any_path_and_query_give_a_page(
    visitor: Browser, outcome: str, query: str, headers: dict[str, str]
) -> None:
    response = visitor.request("outcome", query, outcome=outcome, headers=headers)

    assert response.status in {200, 400, 403, 404, 410, 425}
    assert "Traceback" not in response.body


# Each example runs a whole flow and takes longer, so the tests run fewer examples.
through_the_queue = settings(fuzzed, max_examples=60 if SLOW else 30)
# Qonto can send any text. A parser or an encoder could damage each of these samples.
TEXTS = st.text(min_size=1, max_size=1500) | st.sampled_from(
    [
        "denied, by the owner, twice",
        "a+b %2B c%20d %",
        "<script>alert(1)</script> & \"'",
        "é € 🏦 \u202e",
        "\x00\x01\x1f\x7f\r\n\t",
        "\ufffe\uffff\ufffd",
        "x" * 5000,
        "\x01" * 5000,
        "🏦" * 5000,
    ]
)
ENCODERS = st.sampled_from([quote, quote_plus])


def is_beginning(text: str, sent: str, characters: int) -> bool:
    """Tell whether *text* is *sent*, cut to *characters* and to four times as many JSON bytes.

    Characters that SQS does not take are replaced.
    """
    sent = sent.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
    size = len(json.dumps(sent[:characters], ensure_ascii=False).encode()) - 2
    whole = size <= 4 * characters
    return text == sent[:characters] if whole else bool(text) and sent.startswith(text)


@through_the_queue
@given(error=TEXTS, description=TEXTS, encoder=ENCODERS)
def test_subscribers_receive_the_error_that_qonto_sent(
    visitor: Browser,
    subscriber: Subscriber,
    error: str,
    description: str,
    encoder: Callable[[str], str],
) -> None:
    state = visitor.started()
    query = f"error={encoder(error)}&error_description={encoder(description)}&state={state}"

    response = visitor.request("callback", query)

    data = subscriber.message()["data"]
    assert is_beginning(data["error"], error, 128)
    assert is_beginning(data["error_description"], description, 1024)
    assert response.parameters["outcome"] == ("denied" if error == "access_denied" else "failed")


@through_the_queue
@given(
    code=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=2048),
    scope=st.lists(st.from_regex(r"[!#-\[\]-~]{1,20}", fullmatch=True), min_size=1, max_size=40),
    encoder=ENCODERS,
)
@example(code="a+b%2Bc,d e", scope=["organization.read", "offline_access"], encoder=quote_plus)
def test_subscribers_receive_the_code_that_qonto_sent(
    visitor: Browser,
    subscriber: Subscriber,
    code: str,
    scope: list[str],
    encoder: Callable[[str], str],
) -> None:
    state = visitor.started()
    granted = " ".join(scope)

    visitor.request("callback", f"code={encoder(code)}&scope={encoder(granted)}&state={state}")

    data = subscriber.message()["data"]
    assert (data["code"], data["granted_scope"]) == (code, granted)


@through_the_queue
@given(
    context=st.from_regex(r"[A-Za-z0-9._~-]{1,256}", fullmatch=True),
    organization_id=st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True),
    registration_id=st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True),
)
def test_subscribers_receive_the_query_of_start(
    visitor: Browser, subscriber: Subscriber, **start_query: str
) -> None:
    state = visitor.request("start", urlencode(start_query)).parameters["state"]

    visitor.granted(state)

    data = subscriber.message()["data"]
    assert data["context"] == start_query["context"]
    assert data["requested_organization_id"] == start_query["organization_id"]
    assert data["requested_registration_id"] == start_query["registration_id"]
