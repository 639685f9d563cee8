"""How both functions call AWS, and the error that a failed call becomes."""

import json
from http import HTTPStatus
from typing import Any

from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import OperationModel

# Timeouts are in seconds. Callback makes at most four calls (claim, publish, receipt, delete). Each
# takes at most 2 x (1 s + 1.5 s) and one pause of at most 1 s: 24 s together, within its timeout of
# 26 s.
CALL_CONFIG = Config(
    connect_timeout=1,
    read_timeout=1.5,
    retries={"mode": "standard", "total_max_attempts": 2},
    user_agent_extra="qonto-connect",  # shows in CloudTrail which requests are the connector's
)


def guarded[Client: BaseClient](client: Client) -> Client:
    """Return *client*, with its responses checked before botocore reads them."""
    client.meta.events.register("before-parse", _check)
    return client


def _check(operation_model: OperationModel, response_dict: dict[str, Any], **_: object) -> None:
    # botocore would pause for up to 5 s more than its own pause of at most 1 s.
    response_dict["headers"].pop("x-amz-retry-after", None)
    is_json = operation_model.service_model.protocol == "json"
    if is_json and response_dict["status_code"] < HTTPStatus.MULTIPLE_CHOICES:
        # botocore reads a body that is not JSON as an empty response, which means success.
        json.loads(response_dict["body"])


class AwsCallError(Exception):
    """An AWS call failed. The call may or may not have been applied.

    Attributes:
        code: the error code of AWS, or the name of the exception where AWS sent no error.

    """

    def __init__(self, error: Exception) -> None:
        """Keep the code of *error*, and never its text.

        The text may quote the body of a malformed response, which may hold a code or a state.
        """
        self.code = type(error).__name__
        if isinstance(error, ClientError):
            # A proxy's response with status 500 need not have an error code.
            self.code = error.response.get("Error", {}).get("Code", "Unknown")
        super().__init__(self.code)
