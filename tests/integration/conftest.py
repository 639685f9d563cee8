"""Fixtures: both functions, built as they are deployed, against a local AWS."""

from collections.abc import Iterator

import pytest

from demo.local_aws import LocalAws, Stack, free_port
from tests.support.connector import PARAMETERS, Browser, Connector, Subscriber, watched_aws
from tests.support.subscription import Example, MockQonto


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """A local AWS for this test run, in which every published message is checked."""
    with watched_aws() as local_aws:
        yield local_aws


@pytest.fixture(scope="session")
def stack(aws: LocalAws) -> Iterator[Stack]:
    """A stack of infra/template.yaml without TTL, which would remove items of the past `NOW`."""
    deployed = aws.deploy(PARAMETERS)
    aws.dynamodb.update_time_to_live(
        TableName=deployed.table_name,
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"},
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in deployed.environment["CallbackFunction"].items():
            if name.startswith("POWERTOOLS_"):  # read at each write, and not at the cold start
                monkeypatch.setenv(name, value)
        yield deployed


@pytest.fixture(scope="session")
def connector(aws: LocalAws, stack: Stack) -> Connector:
    """Both functions as they are deployed."""
    return Connector(aws, stack)


@pytest.fixture(scope="session")
def cut_off(aws: LocalAws, stack: Stack) -> Connector:
    """A connector that cannot reach AWS, so that it responds to each AWS call with a 503."""
    return Connector(aws, stack, endpoint_url=f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def browser(connector: Connector) -> Browser:
    """A browser without cookies."""
    return Browser(connector)


@pytest.fixture(scope="session")
def _subscription(aws: LocalAws, stack: Stack) -> Subscriber:
    return Subscriber(aws, stack)


@pytest.fixture
def subscriber(_subscription: Subscriber) -> Subscriber:
    """A subscriber that has read all earlier messages."""
    _subscription.messages()
    return _subscription


@pytest.fixture(scope="session")
def _mock_qonto() -> MockQonto:
    return MockQonto()


@pytest.fixture
def down(_mock_qonto: MockQonto) -> MockQonto:
    """Mock Qonto, not listening, with nothing counted yet."""
    _mock_qonto.reset()
    return _mock_qonto


@pytest.fixture
def qonto(down: MockQonto) -> Iterator[MockQonto]:
    """Mock Qonto, up, with nothing counted yet."""
    with down.up():
        yield down


@pytest.fixture(scope="session")
def _example(aws: LocalAws, stack: Stack, _mock_qonto: MockQonto) -> Example:
    return Example(aws, stack.topic_arn, _mock_qonto)


@pytest.fixture
def example(_example: Example) -> Iterator[Example]:
    """The example subscriber with an empty queue, and the handlers that it was deployed with."""
    _example.aws.sqs.purge_queue(QueueUrl=_example.queue_url)
    handlers = _example.handler, _example.tokens_handler
    yield _example
    _example.handler, _example.tokens_handler = handlers
