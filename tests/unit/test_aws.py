"""The error that a failed AWS call becomes."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws import AwsCallError


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"Error": {"Code": "ThrottlingException", "Message": "s3cr3t"}}, "ThrottlingException"),
        ({"Error": {"Message": "s3cr3t"}}, "Unknown"),
        ({}, "Unknown"),
    ],
)
def test_client_error_has_the_code_of_aws(response: Any, code: str) -> None:  # noqa: ANN401
    error = AwsCallError(ClientError(response, "PutItem"))

    assert error.code == str(error) == code


def test_other_exception_is_named_without_its_text() -> None:
    error = AwsCallError(KeyError("s3cr3t"))

    assert error.code == str(error) == "KeyError"
