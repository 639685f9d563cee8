"""The real handlers against a real, local AWS."""

from collections.abc import Iterator

import pytest

from demo.local_aws import LocalAws, Stack, free_port
from tests.integration import faults
from tests.integration.connector import PARAMETERS, Browser, Connector, Subscriber, watched_aws


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """An AWS of this test run's own; no event is published there without being checked."""
    with watched_aws() as local_aws:
        yield local_aws


@pytest.fixture(scope="session")
def microburst(aws: LocalAws) -> Iterator[str]:
    """Where calls get what AWS says when it fails."""
    with faults.microburst(aws) as url:
        yield url


@pytest.fixture(scope="session")
def stack(aws: LocalAws) -> Stack:
    """Table and topic from infra/template.yaml.

    Nothing is removed once it has expired: all that tests put there has, for their time is past.
    """
    deployed = aws.deploy(PARAMETERS)
    aws.dynamodb.update_time_to_live(
        TableName=deployed.table_name,
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"},
    )
    return deployed


@pytest.fixture(scope="session", autouse=True)
def _telemetry(stack: Stack) -> Iterator[None]:
    """What Powertools reads when it writes, rather than at the cold start."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in stack.environment["CallbackFunction"].items():
            if name.startswith("POWERTOOLS_"):
                monkeypatch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def connector(aws: LocalAws, stack: Stack) -> Connector:
    """The pair as it is deployed."""
    return Connector(aws, stack)


@pytest.fixture(scope="session")
def cut_off(aws: LocalAws, stack: Stack) -> Connector:
    """A pair that can reach no AWS service: what it answers as usual, it answers without."""
    return Connector(aws, stack, endpoint_url=f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def browser(connector: Connector) -> Browser:
    """A browser that was never here before."""
    return Browser(connector)


@pytest.fixture(scope="session")
def _subscription(aws: LocalAws, stack: Stack) -> Subscriber:
    return Subscriber(aws, stack)


@pytest.fixture
def subscriber(_subscription: Subscriber) -> Subscriber:
    """A subscriber that has read all that came before."""
    _subscription.bodies()
    return _subscription
