"""The logger and the metrics of both functions: one log line and one metric for each outcome.

Neither ever holds a code, a state, a cookie value or a ``Location``.
"""

import logging

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric


def new_logger() -> Logger:
    """Return the logger of a function, and keep botocore's own logger at WARNING.

    At DEBUG, botocore logs whole requests with state and code, and Lambda's log level can set it.
    """
    logging.getLogger("botocore").setLevel(logging.WARNING)
    # Lambda's JSON logging reads a line's level only where its timestamp is in RFC 3339.
    return Logger(use_rfc3339=True)


def count(metric: str, **dimensions: str) -> None:
    """Add 1 to *metric* in the namespace ``qonto-connect``, with *dimensions* and the service.

    Emit each metric immediately, so that dimensions are not shared and nothing is lost if the
    function is killed.
    """
    with single_metric(metric, MetricUnit.Count, 1, namespace="qonto-connect") as single:
        for name, value in dimensions.items():
            single.add_dimension(name=name, value=value)
