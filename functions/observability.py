"""The logger and the metrics of both functions: one log line and one metric for each outcome.

They never hold a code, a state, a cookie value, a ``Location`` or a whole ``authorization_id``.
"""

import logging
from traceback import walk_tb
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from aws import AwsCallError


def new_logger() -> Logger:
    """Return the logger of a function, and keep botocore's own logger at WARNING.

    At DEBUG, botocore logs whole requests with state and code, and Lambda's log level can set it.
    """
    logging.getLogger("botocore").setLevel(logging.WARNING)
    # Lambda's JSON logging reads a line's level only where its timestamp is in RFC 3339.
    return Logger(use_rfc3339=True)


def failure(error: Exception) -> dict[str, Any]:
    """Return the log fields of *error*: its code; or its type, and its place in the code.

    The fields never hold the error's text, which may contain a code or a state.
    """
    if isinstance(error, AwsCallError):
        return {"error": error.code}
    frames = walk_tb(error.__traceback__)
    place = " ".join(f"{frame.f_globals['__name__']}:{line}" for frame, line in frames)
    return {"error": type(error).__name__, "place": place}


def count(metric: str, **dimensions: str) -> None:
    """Add 1 to *metric* in the namespace ``qonto-connect``, with *dimensions* and the service.

    Emit each metric immediately, so that dimensions are not shared and nothing is lost if the
    function is killed.
    """
    with single_metric(metric, MetricUnit.Count, 1, namespace="qonto-connect") as single:
        for name, value in dimensions.items():
            single.add_dimension(name=name, value=value)
