"""Builds the app of ``GET /start`` from the environment, and hands it each request of Lambda."""

import gc

# A cold start creates fewer objects than this and keeps them all, so collecting garbage would only
# cost time.
gc.set_threshold(100_000)

import os

import boto3

import observability
from aws import CALL_CONFIG, guarded
from http_api import Request, Response
from settings import StartSettings
from start.app import StartApp
from state_store import StateStore

settings = StartSettings.model_validate(dict(os.environ))
logger = observability.new_logger()
states = StateStore(guarded(boto3.client("dynamodb", config=CALL_CONFIG)), settings)
app = StartApp(settings, states, logger)


# set in the code, so that the environment cannot turn it on
@logger.inject_lambda_context(log_event=False)
def handler(request: Request, _context: object) -> Response:
    """Return the response to *request*, both in API Gateway's payload format 2.0."""
    return app.handle(request)
