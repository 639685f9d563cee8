"""How both functions call AWS, and the error that a failed call becomes."""

from botocore.config import Config
from botocore.exceptions import ClientError

# Timeouts are in seconds. Callback makes at most three calls (delete, publish, restore). Each takes
# at most 2 x (1 s + 2 s) and one pause of at most 1 s: 21 s together, within its timeout of 25 s.
CALL_CONFIG = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    user_agent_extra="qonto-connect",  # shows in CloudTrail which requests are the connector's
)


class AwsCallError(Exception):
    """An AWS call failed. The call may or may not have been applied.

    Attributes:
        code: the error code of AWS, or the name of the exception where AWS sent no error.

    """

    def __init__(self, error: Exception) -> None:
        """Keep the code of *error*, and never its text.

        The text of a malformed response may hold the response's body, and that a code or a state.
        """
        self.code = type(error).__name__
        if isinstance(error, ClientError):
            # A proxy's response with status 500 need not have an error code.
            self.code = error.response.get("Error", {}).get("Code", "Unknown")
        super().__init__(self.code)
