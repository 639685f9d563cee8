"""Builds the collaborators of both functions from their environment, once per cold start."""

import logging
import os
import time
from collections.abc import Callable

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from botocore.config import Config

from subscriber.access_tokens import AccessTokens
from subscriber.client_secret import ClientSecret, SecretError
from subscriber.connections import Connections
from subscriber.grants import Grants
from subscriber.settings import Settings

settings = Settings.model_validate(dict(os.environ))
logger = Logger(use_rfc3339=True, serialize_stacktrace=False)
for library in ("boto3", "botocore"):  # at DEBUG they log whole requests: codes and tokens
    logging.getLogger(library).setLevel(logging.WARNING)
aws_config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 3})
_dynamodb = boto3.resource("dynamodb", config=aws_config)
grants = Grants(_dynamodb.Table(settings.grant_table_name))
connections = Connections(_dynamodb.Table(settings.connection_table_name))
client_secret = ClientSecret(
    SecretsProvider(boto3_client=boto3.client("secretsmanager", config=aws_config)),
    settings.client_secret_arn,
    is_sandbox=settings.qonto_environment == "sandbox",
)
_said: set[str] = set()  # errors of an unusable secret that were logged


def now() -> int:
    """Return the time in epoch seconds."""
    return int(time.time())


def count(metric: str) -> None:
    """Count *metric* once."""
    with single_metric(metric, MetricUnit.Count, 1, namespace="qonto-connect"):
        pass


def report(error: SecretError) -> None:
    """Count *error*, and log it only once, because each message and request raises it."""
    count("SecretUnusable")
    if str(error) not in _said:
        _said.add(str(error))
        logger.error(str(error))


def access_tokens_with(remind: Callable[[str], None]) -> AccessTokens:
    """Return the `AccessTokens` of this stack; *remind* sends the stack its messages."""
    return AccessTokens(
        settings, grants, connections, client_secret, remind, count, report, logger, now
    )
