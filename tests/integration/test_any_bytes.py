"""Whatever a browser sends, it gets a designed answer, never a stack trace."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.pair import Browser, Pair

# An HTTP API hands on what it cannot decode as it is, so any text can arrive.
ANYTHING = st.text(alphabet=st.characters(codec=None, categories=None), max_size=400)
NAMES = st.sampled_from(
    ["state", "code", "error", "error_description", "scope", "context", "return_to"]
)
QUERIES = ANYTHING | st.lists(st.tuples(NAMES, ANYTHING)).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
CALLBACK_STATUSES = {303}
START_STATUSES = {302, 400}


@pytest.fixture(scope="module")
def visitor(pair: Pair) -> Browser:
    """A browser of this module's own: Hypothesis runs many examples within one test."""
    return Browser(pair)


fuzzed = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@fuzzed
@given(query=QUERIES, cookie=ANYTHING)
def test_any_start_is_a_redirect_or_a_400(visitor: Browser, query: str, cookie: str) -> None:
    visitor.cookies = {"__Host-qonto-connect": cookie}

    answer = visitor.request("start", query)

    assert answer.status in START_STATUSES
    assert "Traceback" not in answer.body


@fuzzed
@given(query=QUERIES, cookie=ANYTHING | st.just("a" * 43))
def test_any_callback_is_a_redirect_to_a_clean_page(
    visitor: Browser, query: str, cookie: str
) -> None:
    visitor.cookies = {"__Host-qonto-connect": cookie}

    answer = visitor.request("callback", query)

    assert answer.status in CALLBACK_STATUSES
    assert answer.location in {
        "/callback/invalid-request",
        "/callback/other-browser",
        "/callback/used",
    }


@fuzzed
@given(answer=st.lists(st.tuples(NAMES, ANYTHING), min_size=1))
def test_any_answer_to_a_state_of_ours_is_a_redirect(
    visitor: Browser, answer: list[tuple[str, str]]
) -> None:
    visitor.cookies = {}
    state = visitor.started()
    query = "&".join(f"{name}={value}" for name, value in answer if name != "state")

    result = visitor.request("callback", f"state={state}&{query}")

    assert result.status in CALLBACK_STATUSES
    assert state not in result.location


@fuzzed
@given(outcome=ANYTHING, query=ANYTHING | ANYTHING.map(lambda text: f"reference={text}"))
def test_any_path_and_query_give_a_page(visitor: Browser, outcome: str, query: str) -> None:
    answer = visitor.request("outcome", query, outcome=outcome)

    assert answer.status in {200, 400, 403, 404, 410, 503}
    assert "Traceback" not in answer.body
