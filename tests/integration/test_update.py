"""Flows that are under way while their stack is updated or rolled back."""

from demo.local_aws import LocalAws, Stack
from tests.support.connector import REDIRECT_URI, Browser, Connector, Subscriber


def test_flow_keeps_the_settings_of_its_start(
    aws: LocalAws, stack: Stack, browser: Browser, subscriber: Subscriber
) -> None:
    """The event must match the request that Qonto received. A newer version may add attributes."""
    state = browser.started(context="ctx-1")
    uri = "https://new.example.com/"
    new = {"SCOPE": "card.read", "RETURN_URLS": uri, "REDIRECT_URI": f"{uri}callback"}
    browser.connector = Connector(aws, stack, PKCE="S256", **new)
    item = aws.dynamodb.get_item(TableName=stack.table_name, Key={"state": {"S": state}})["Item"]
    aws.dynamodb.put_item(TableName=stack.table_name, Item=item | {"added_later": {"S": "x"}})

    response = browser.granted(state)

    assert response.parameters["outcome"] == "granted"
    assert not response.location.startswith(uri)
    data = subscriber.message()["data"]
    assert data["requested_scope"] == "offline_access organization.read"
    assert data["redirect_uri"] == REDIRECT_URI
    assert "code_verifier" not in data
