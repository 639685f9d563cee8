"""The app's side of the subscriber's function `tokens`: to use a connection, and to end it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

# Longer than the function may run, so that its response always arrives. The user can try again.
CLIENT_CONFIG = Config(connect_timeout=2, read_timeout=32, retries={"total_max_attempts": 1})
for library in ("boto3", "botocore"):  # at DEBUG they log requests: tokens, authorization_ids
    logging.getLogger(library).setLevel(logging.WARNING)


@dataclass(frozen=True)
class Access:
    """The status of a connection, with its access token.

    Attributes:
        status: `connected`, `ended`, `disconnecting`, `disconnected`, `not-connected`, or
            `unavailable`: ask again.
        access_token: for Qonto's API, empty unless it is connected. It is good for a minute at
            least: never store it, because the next one makes it useless.
        revoked: whether Qonto was told of a disconnection; if not, the user can withdraw there.

    """

    status: str
    access_token: str = field(default="", repr=False)
    revoked: bool = True


@dataclass(frozen=True)
class Tokens:
    """The function `tokens`, which the role of this app may invoke.

    Each method raises `BotoCoreError` or `ClientError` if AWS did not do it, or may not have done
    it. Ask only for a connection whose `authorization_id` and `context` are in the table of
    connections, so that it is the session's own.
    """

    client: "LambdaClient"
    function_name: str

    def access(self, authorization_id: str, refused: str = "") -> Access:
        """Return an access token; a new one if Qonto *refused* the last one with 401."""
        return self._invoke(authorization_id, {"refused": refused} if refused else {})

    def disconnect(self, authorization_id: str) -> Access:
        """End the connection, at Qonto too; it can be repeated."""
        return self._invoke(authorization_id, {"disconnect": True})

    def _invoke(self, authorization_id: str, members: Mapping[str, str | bool]) -> Access:
        request = json.dumps({"authorization_id": authorization_id, **members})
        response = self.client.invoke(FunctionName=self.function_name, Payload=request.encode())
        payload = json.loads(response["Payload"].read())
        if response.get("FunctionError"):
            return Access("unavailable")
        known = ("status", "access_token", "revoked")
        return Access(**{name: payload[name] for name in known if name in payload})
