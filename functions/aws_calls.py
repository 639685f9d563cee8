"""How the two functions call AWS: for how long, how often, and what a failed call looks like."""

from botocore.config import Config
from botocore.exceptions import ClientError

# Callback makes three calls at the worst (delete, publish, restore), each at most 2 x (1 s + 2 s)
# and one pause of at most 1 s: 21 s, within its time-out of 25 s.
CONNECT_TIMEOUT = 1  # seconds
READ_TIMEOUT = 2  # seconds
ATTEMPTS = 2
CALL_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT,
    read_timeout=READ_TIMEOUT,
    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
)

# Refused by AWS, not reached or not answered in time, answered with what is no answer: in each case
# the call may or may not have been taken. For the last of these botocore has no exception: a body
# that is not AWS's ends in whatever its parsers stumble over, a KeyError or an AttributeError.
AWS_FAILURES = Exception


def failure_name(error: Exception) -> str:
    """Return what to log of a failed call: AWS's own code, or else the exception's name.

    Never its text: of an answer that was damaged on its way, it may hold the body.
    """
    if isinstance(error, ClientError):
        # What answers 500 for AWS need not say why in AWS's way.
        return error.response.get("Error", {}).get("Code", "Unknown")
    return type(error).__name__
