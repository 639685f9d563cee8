"""Runs the pair for real on this machine: ``make demo``.

A process each for the example app, the pair, the stand-in for Qonto, the example subscriber with
its live page, the local AWS and the example's function `tokens`, on six ports in a row. They stop
together.

Variables, all optional: ``PORT``, the first of the six. ``QONTO_ENVIRONMENT`` and ``CLIENT_ID``
(and ``SCOPE``) lead to Qonto itself instead of the stand-in; with ``CLIENT_SECRET``, in the sandbox
``STAGING_TOKEN`` as well, the subscriber exchanges the code; without, the live page shows it.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory

from demo import clock, guard, live
from demo import template as infra
from demo.child import Child, ChildError, server
from demo.lambda_api import TOKENS_FUNCTION
from demo.local_aws import LocalAws, ParameterError, Stack, start_ministack

# To a browser, the stand-in's name is another site than the pair's, as Qonto is: its cookies do
# what they will do.
HOSTS = {
    "app": "localhost",
    "pair": "localhost",
    "qonto": "127.0.0.1",
    "subscriber": "localhost",
    "aws": "127.0.0.1",
    "tokens": "127.0.0.1",
}
FIRST_PORTS = range(1024, 65536 - len(HOSTS) + 1)
# The stand-in's own client: no secret outside this machine.
STAND_IN = {
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": "7d3f9a52-2f0c-4a55-9d5e-6c1b0e8f4a21",
    "CLIENT_SECRET": "in-the-demo-only",
    "STAGING_TOKEN": "in-the-demo-only",
}
# Of no account: the local AWS enforces no policy.
APP_ROLE_ARN = "arn:aws:iam::000000000000:role/ledgerly"
# What the person may set: the variable, and the template's parameter.
PARAMETERS = {"QONTO_ENVIRONMENT": "QontoEnvironment", "CLIENT_ID": "ClientId", "SCOPE": "Scope"}

# The local AWS has no certificate of Amazon's.
DEPLOYED = {"AppName": "Ledgerly", "TrustedRoots": "all"}

STOPS_AT_ONCE = ("--timeout-graceful-shutdown", "1")
GATEWAY = (
    *("--lifespan", "off"),
    *("--reload", "--reload-dir", "functions", "--reload-include", "*.toml"),
    *("--h11-max-incomplete-event-size", "65536"),  # the gateway has its own limit
)


def main() -> None:
    """Run the demo until Ctrl-C; exit with 1 and a line that says why if something is wrong."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may know no more than ASCII
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as processes:
        try:
            stopped = _run(_first_port(), processes)
            sys.exit(f"demo: {stopped} stopped, so the demo stops.")
        except ChildError as error:
            sys.exit(f"demo: {error}")
        except KeyboardInterrupt:
            _say("Stopping ...")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # already stopping


def _run(port: int, processes: ExitStack) -> str:
    """Start everything and return the name of what stops first."""
    ports = {service: port + index for index, service in enumerate(HOSTS)}
    url = {service: f"http://{host}:{ports[service]}" for service, host in HOSTS.items()}
    real = bool(os.environ.get("QONTO_ENVIRONMENT"))
    client = _client_of_the_person() if real else STAND_IN
    redirect_uri = f"{url['pair']}/callback"
    aws = LocalAws(url["aws"], guard.new_access_key())
    environment = aws.environment()
    children: dict[int, Child] = {}

    def add(child: Child) -> Child:
        children[child.pid] = processes.enter_context(child)
        return child

    def serve(
        name: str, service: str, factory: str, variables: dict[str, str], *arguments: str
    ) -> None:
        guarded = {guard.APPLICATION: factory, guard.URL: url[service]}
        create = "create_for_this_run" if service == "tokens" else "create"
        module = server(f"demo.guard:{create}", ports[service], *STOPS_AT_ONCE, *arguments)
        add(Child(name, ports[service], *module, environment=environment | variables | guarded))

    _say("Starting the local AWS (ministack) ...")
    directory = processes.enter_context(TemporaryDirectory())
    ministack = add(start_ministack(ports["aws"], directory, aws.access_key))
    if not real:
        environment[clock.VARIABLE] = clock.file_in(directory)
        qonto = client | {"REDIRECT_URI": redirect_uri}
        serve("the stand-in for Qonto", "qonto", "demo.qonto:create", qonto)
    ministack.wait_until_ready()

    stack = _deploy(aws, client, f"{url['app']}/connected")
    example = _deploy_example(aws, client, stack.topic_arn)

    mock_qonto = {
        "OAUTH_BASE_URL": url["qonto"],
        "TOKEN_ENDPOINT": f"{url['qonto']}/oauth2/token",
        "API_URL": url["qonto"],
    }
    place = {} if real else mock_qonto
    pair = stack.environment["StartFunction"] | stack.environment["CallbackFunction"] | place
    pair["REDIRECT_URI"] = redirect_uri
    tokens = example.environment[TOKENS_FUNCTION] | place
    subscriber = example.environment["SubscriberFunction"] | place
    subscriber["RAW_QUEUE_URL"] = aws.subscribe_queue(stack.topic_arn)
    if "CLIENT_SECRET" not in client:
        del subscriber["QUEUE_URL"]
    app = {
        "APP_URL": url["app"],
        "CONNECTOR_URL": url["pair"],
        "DATABASE": f"{directory}/ledgerly.sqlite",
        "FOOTER_URL": url["subscriber"],
        "QUEUE_URL": example.resources["Queue"],
        "CONNECTION_TABLE_NAME": example.resources["ConnectionTable"],
        "TOKENS_FUNCTION_NAME": TOKENS_FUNCTION,
        "AWS_ENDPOINT_URL_LAMBDA": url["tokens"],
        "API_URL": tokens["API_URL"],
        "STAGING_TOKEN": client.get("STAGING_TOKEN", ""),
    }
    serve("the example app", "app", "examples.app.app:create", app)
    serve("the pair", "pair", "demo.gateway:create", pair, *GATEWAY)
    serve("the subscriber", "subscriber", "demo.live:create", subscriber)
    serve("the function tokens", "tokens", "demo.lambda_api:create", tokens)
    for child in children.values():
        child.wait_until_ready()

    if real:
        _say_what_qonto_needs(client, redirect_uri)
    file = processes.enter_context(_kept_for_its_owner(variables_file(port), environment))
    _say(f"\nThe local AWS serves this run alone. To make a shell its client:  source {file}")
    _say(f"\nOpen {url['app']} in Chrome, Edge or Firefox")
    _say("(Safari refuses Secure cookies on http://localhost). Ctrl-C stops everything.\n")
    stopped = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return children[stopped.si_pid].name if stopped else "a process"


def _say_what_qonto_needs(client: dict[str, str], redirect_uri: str) -> None:
    _say(f"\nThe pair talks to Qonto itself ({client['QONTO_ENVIRONMENT']}).")
    _say(f"Register in Qonto's Developer Portal, as redirection URI:  {redirect_uri}")
    if "CLIENT_SECRET" not in client:
        _say("The live page shows the code, and nobody exchanges it: that would take")
        _say("CLIENT_SECRET, and in the sandbox STAGING_TOKEN as well.")


def _first_port() -> int:
    """Return ``PORT``, once it is known to be usable, with the five that follow it."""
    value = os.environ.get("PORT") or "8000"
    if not value.isdecimal() or int(value) not in FIRST_PORTS:
        sys.exit(f"demo: PORT must be a number from 1024 to {FIRST_PORTS[-1]}, not {value!r}.")
    port = int(value)
    for each in range(port, port + len(HOSTS)):
        for host in ("127.0.0.1", "::1"):  # "localhost" may be either
            with suppress(OSError), socket.create_connection((host, each), timeout=1):
                sys.exit(f"demo: port {each} is taken. Take six others:  PORT=9000 make demo")
    return port


def _client_of_the_person() -> dict[str, str]:
    """Return the client of Qonto's that the environment names, with secrets only if complete."""
    client = {name: os.environ[name] for name in PARAMETERS if os.environ.get(name)}
    if "CLIENT_ID" not in client:
        sys.exit("demo: QONTO_ENVIRONMENT needs CLIENT_ID, from Qonto's Developer Portal.")
    sandbox = client["QONTO_ENVIRONMENT"] == "sandbox"
    names = ("CLIENT_SECRET", "STAGING_TOKEN") if sandbox else ("CLIENT_SECRET",)
    secrets = {name: os.environ[name] for name in names if os.environ.get(name)}
    return client | (secrets if len(secrets) == len(names) else {})


def _deploy(aws: LocalAws, client: dict[str, str], return_url: str) -> Stack:
    _say("Deploying table and topic from infra/template.yaml ...")
    parameters = {it: client[name] for name, it in PARAMETERS.items() if name in client}
    try:
        stack = aws.deploy(parameters | DEPLOYED | {"ReturnUrls": return_url})
    except ParameterError as error:
        names = {it: name for name, it in PARAMETERS.items()}
        sys.exit(f"demo: {names.get(error.name, error.name)} must be {error.constraint}.")
    if stack.not_honoured:
        _say(f"  ministack leaves out {', '.join(stack.not_honoured)}")
    return stack


def _deploy_example(aws: LocalAws, client: dict[str, str], topic_arn: str) -> Stack:
    """Deploy the subscriber, and put the client secret in, if there is one."""
    _say("Deploying queue, tables and secret from examples/subscriber/template.yaml ...")
    parameters = {
        "TopicArn": topic_arn,
        "QontoEnvironment": client["QONTO_ENVIRONMENT"],
        "ClientId": client["CLIENT_ID"],
        "AppRoleArn": APP_ROLE_ARN,
    }
    example = aws.deploy(parameters, infra.load(live.EXAMPLE))
    names = ("CLIENT_SECRET", "STAGING_TOKEN")
    aws.secrets.put_secret_value(
        SecretId=example.resources["ClientSecret"],
        SecretString=json.dumps({name.lower(): client[name] for name in names if name in client}),
    )
    return example


def variables_file(port: int) -> Path:
    """Return the file that makes a shell a client of the local AWS of the demo at *port*."""
    return infra.ROOT / "build" / f"demo-{port}.env"


@contextmanager
def _kept_for_its_owner(path: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Keep a file at *path* that sets the AWS variables of *environment*, while the block runs.

    It is given as it stands to the project's folder.
    """
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    variables = {name: it for name, it in environment.items() if name.startswith("AWS_")}
    others = "for name in $(env | sed -n 's/=.*//; /^AWS_/p'); do unset $name; done"
    lines = [others, *(f"export {name}={it}" for name, it in variables.items())]
    path.write_text("\n".join([*lines, ""]), "utf-8")
    try:
        yield path.relative_to(infra.ROOT)
    finally:
        path.unlink(missing_ok=True)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a program


if __name__ == "__main__":
    main()
