"""Builds the app of ``GET /callback`` from the environment, and hands it each request of Lambda."""

import gc

# A cold start creates fewer objects than this and keeps them all, so collecting garbage would only
# cost time.
gc.set_threshold(100_000)

import os

import boto3

import observability
from aws import CALL_CONFIG, guarded
from callback.app import CallbackApp
from callback.publisher import Publisher
from http_api import Request, Response
from settings import CallbackSettings
from state_store import StateStore

settings = CallbackSettings.model_validate(dict(os.environ))
logger = observability.new_logger()
states = StateStore(guarded(boto3.client("dynamodb", config=CALL_CONFIG)), settings)
publisher = Publisher(guarded(boto3.client("sns", config=CALL_CONFIG)), settings.topic_arn)
app = CallbackApp(settings, states, publisher, logger)


# set in the code, so that the environment cannot turn it on
@logger.inject_lambda_context(log_event=False)
def handler(request: Request, _context: object) -> Response:
    """Return the response to *request*, both in API Gateway's payload format 2.0."""
    return app.handle(request)
