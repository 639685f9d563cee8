"""How the two functions call AWS: for how long, how often, and what a failed call looks like."""

from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

# In seconds. Callback makes three calls at the worst (delete, publish, restore), each at most
# 2 x (1 s + 2 s) and one pause of at most 1 s: 21 s, within its time-out of 25 s.
CALL_CONFIG = Config(
    connect_timeout=1,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    parameter_validation=False,  # the parameters are ours, and AWS checks them as well
)

# One for all clients of a function: they share what it has read. Not boto3's, whose own imports
# would be a twentieth of a cold start, for nothing that is called.
_session = botocore.session.get_session()

# Refused by AWS, not reached or not answered in time, answered with what is no answer: in each case
# the call may or may not have been taken. For the last of these botocore has no exception: a body
# that is not AWS's ends in whatever its parsers stumble over, a KeyError or an AttributeError.
AWS_FAILURES = Exception


def client(service: str) -> Any:  # noqa: ANN401 - each service's has its own type
    """Return a client of *service*."""
    return _session.create_client(service, config=CALL_CONFIG)


def failure_name(error: Exception) -> str:
    """Return what to log of a failed call: AWS's own code, or else the exception's name.

    Never its text: of an answer that was damaged on its way, it may hold the body.
    """
    if isinstance(error, ClientError):
        # What answers 500 for AWS need not say why in AWS's way.
        return error.response.get("Error", {}).get("Code", "Unknown")
    return type(error).__name__
