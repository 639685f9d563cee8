"""Records the AWS calls of both functions, so that the bare rivals make the same ones."""

from collections.abc import Callable
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any

from aws_lambda_powertools import Logger

from callback.app import CallbackApp
from callback.publisher import Publisher
from settings import CallbackSettings, StartSettings
from start.app import StartApp
from state_store import StateStore
from tests.integration.connector import REQUESTS
from tests.unit.flow import pending

type Call = tuple[str, str, dict[str, Any]]  # service, operation, parameters


class _Recorder:
    """A client that records each call, and responds with the old item and success."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConnectionError)

    def __init__(self, service: str, calls: list[Call]) -> None:
        self._service = service
        self._calls = calls

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - of any operation
            self._calls.append((self._service, operation, parameters))
            return {"Attributes": pending().item}

        return call


def recorded(variables: dict[str, str]) -> dict[str, list[Call]]:
    """Return the AWS calls of one request to each function, deployed with *variables*."""
    logger = Logger(level="CRITICAL")
    start_calls: list[Call] = []
    of_start = StartSettings.model_validate(variables)
    states = StateStore(_client("dynamodb", start_calls), of_start)
    start = StartApp(of_start, states, logger)

    callback_calls: list[Call] = []
    of_callback = CallbackSettings.model_validate(variables)
    publisher = Publisher(_client("sns", callback_calls), of_callback.topic_arn)
    states = StateStore(_client("dynamodb", callback_calls), of_callback)
    callback = CallbackApp(of_callback, states, publisher, logger)

    with redirect_stdout(None):  # metrics
        start.handle(REQUESTS["start"])
        callback.handle(REQUESTS["callback"])
    return {"start": start_calls, "callback": callback_calls}


def _client(service: str, calls: list[Call]) -> Any:  # noqa: ANN401 - in place of boto3's client
    return _Recorder(service, calls)
