"""The responses of AWS that count as failures, and the error that a failed call becomes."""

import os
from json import JSONDecodeError
from typing import TYPE_CHECKING
from unittest.mock import Mock, patch

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ClientError

from aws import AwsCallError, guarded
from demo.local_aws import scrubbed_environment

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ITEM = {"state": {"S": "x"}}


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ClientError({"Error": {"Code": "Throttled", "Message": "s3cr3t"}}, "Put"), "Throttled"),
        (ClientError({"Error": {"Message": "s3cr3t"}}, "Put"), "Unknown"),
        (ClientError({}, "Put"), "Unknown"),
        (KeyError("s3cr3t"), "KeyError"),
    ],
    ids=repr,
)
def test_failure_has_code_of_aws_without_text(failure: Exception, code: str) -> None:
    error = AwsCallError(failure)
    assert error.code == str(error) == code


def responding(status: int, body: bytes, **headers: str) -> "DynamoDBClient":
    raw = Mock(stream=lambda **_: [body])
    response = AWSResponse("", status, HTTPHeaders.from_dict(headers), raw)
    config = Config(retries={"total_max_attempts": 1})
    with patch.dict(os.environ, scrubbed_environment("http://127.0.0.1:9", "local"), clear=True):
        client = guarded(boto3.Session().client("dynamodb", config=config))
    # A handler of this event may return the response.
    client.meta.events.register("before-send", lambda **_: response)  # type: ignore[arg-type]
    return client


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize("body", [b"<html></html>", b'{"Attributes": ', b""])
def test_successful_response_without_json_raises(status: int, body: bytes) -> None:
    client = responding(status, body)
    with pytest.raises(JSONDecodeError):
        client.put_item(TableName="states", Item=ITEM)


def test_successful_response_with_json_is_returned() -> None:
    client = responding(200, b'{"Attributes": {"state": {"S": "x"}}}')
    assert client.put_item(TableName="states", Item=ITEM)["Attributes"] == ITEM


@pytest.mark.parametrize("name", ["x-amz-retry-after", "X-Amz-Retry-After"])
@pytest.mark.parametrize("status", [400, 500])
def test_botocore_sees_no_longer_pause(status: int, name: str) -> None:
    client = responding(status, b"{}", **{name: "60000"})
    with pytest.raises(ClientError) as failure:
        client.put_item(TableName="states", Item=ITEM)
    headers = failure.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers == {}
