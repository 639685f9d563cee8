"""One log line and one count for each outcome; never a code, a state, a cookie or a Location."""

import logging

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric

# Lambda's JSON logs take a line for INFO unless its time is RFC 3339.
logger = Logger(use_rfc3339=True)

# At DEBUG, botocore logs whole requests: state and code. Lambda's own log level must not reach it.
logging.getLogger("botocore").setLevel(logging.WARNING)


def count(metric: str, **dimensions: str) -> None:
    """Write *metric*, value 1, with *dimensions* besides the service, and write it at once.

    A blob per count and not one per invocation: a dimension of one must not reach another, and a
    kill must not lose what happened before it.
    """
    with single_metric(metric, MetricUnit.Count, 1, namespace="qonto-connect") as single:
        for name, value in dimensions.items():
            single.add_dimension(name=name, value=value)
