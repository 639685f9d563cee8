"""The built packages, run as Lambda runs them, called as API Gateway calls them, and killed."""

from collections.abc import Mapping

from demo.gateway import Handler
from demo.local_aws import LocalAws, Stack
from tests.integration.connector import REDIRECT_URI, Connector
from tests.lambda_runtime import ExecutionEnvironment, FunctionError

FUNCTIONS = {"start": "StartFunction", "callback": "CallbackFunction"}


class Deployed(Connector):
    """The built packages, each under a Runtime API."""

    def __init__(
        self, aws: LocalAws, stack: Stack, environments: Mapping[str, ExecutionEnvironment]
    ) -> None:
        self.aws, self.stack = aws, stack
        functions = (environments.get(function) for function in FUNCTIONS.values())
        self.start, self.callback = map(_invoked, functions)


def _invoked(environment: ExecutionEnvironment | None) -> Handler:
    def handler(request: dict[str, object], _context: object) -> object:
        assert environment
        try:
            return environment.invoke(request)
        except FunctionError:
            return {"statusCode": 500, "headers": {}, "body": '{"message":"Internal Server Error"}'}

    return handler


def variables(aws: LocalAws, stack: Stack, function: str) -> dict[str, str]:
    return stack.environment[function] | aws.client_variables | {"REDIRECT_URI": REDIRECT_URI}
