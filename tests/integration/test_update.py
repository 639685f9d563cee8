"""Flows that are under way while their stack is updated or rolled back."""

from demo.local_aws import LocalAws, Stack
from tests.integration.connector import REDIRECT_URI, RETURN_URL, Browser, Connector, Subscriber


def test_flow_keeps_the_settings_of_its_start(
    aws: LocalAws, stack: Stack, browser: Browser, subscriber: Subscriber
) -> None:
    """The event must match the request that Qonto received."""
    state = browser.started(context="ctx-1")
    browser.connector = Connector(
        aws,
        stack,
        SCOPE="card.read",
        RETURN_URLS="https://new.example.com/",
        REDIRECT_URI="https://new.example.com/callback",
        PKCE="S256",
    )

    response = browser.granted(state)

    assert response.location.startswith(f"{RETURN_URL}?")
    data = subscriber.message()["data"]
    assert data["requested_scope"] == "offline_access organization.read"
    assert data["redirect_uri"] == REDIRECT_URI
    assert "code_verifier" not in data


def test_item_of_a_newer_version_survives_a_rollback(
    aws: LocalAws, stack: Stack, browser: Browser, subscriber: Subscriber
) -> None:
    state = browser.started()
    aws.dynamodb.update_item(
        TableName=stack.table_name,
        Key={"state": {"S": state}},
        UpdateExpression="SET added_later = :value",
        ExpressionAttributeValues={":value": {"S": "x"}},
    )

    response = browser.granted(state)

    assert response.parameters["outcome"] == "granted"
    assert subscriber.message()["data"]["code"]
