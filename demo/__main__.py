"""Runs the connector for real on this machine, ``make demo``: the six servers of servers.toml.

Variables, all optional: ``PORT`` is the first of the six ports. ``APP_URL`` is the return URL of an
app of one's own, beside the example app's. ``QONTO_ENVIRONMENT`` and ``CLIENT_ID`` (and ``SCOPE``)
lead to Qonto itself instead of mock Qonto. With ``CLIENT_SECRET``, in the sandbox ``STAGING_TOKEN``
too, the subscriber exchanges the code; else the live page shows it.
"""

import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory

from demo import clock, guard
from demo import template as infra
from demo.child import ChildError
from demo.local_aws import LocalAws, ParameterError, Stack, ministack

HOSTS = {service: server["host"] for service, server in guard.SERVERS.items()}
FIRST_PORTS = range(1024, 65536 - len(HOSTS) + 1)
MOCK_CLIENT: dict[str, str] = guard.SERVERS["qonto"]["environment"]
SECRETS = ("CLIENT_SECRET", "STAGING_TOKEN")
# The variables of the user's own client, and the template's parameters.
PARAMETERS = {"QONTO_ENVIRONMENT": "QontoEnvironment", "CLIENT_ID": "ClientId", "SCOPE": "Scope"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SANDBOX = "https://sandbox.staging.qonto.co/devportal"

say = partial(print, flush=True)


def main() -> None:
    """Run the demo until Ctrl-C; exit with 1 and a line that gives the reason if it fails."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may know no more than ASCII
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as processes:
        try:
            sys.exit(f"demo: {_run(_first_port(), processes)} stopped, so the demo stops.")
        except ChildError as error:
            sys.exit(f"demo: {error}")
        except ParameterError as error:
            names = {parameter: name for name, parameter in PARAMETERS.items()}
            names["ReturnUrls"] = "APP_URL"
            sys.exit(f"demo: {names.get(error.name, error.name)} must be {error.constraint}.")
        except KeyboardInterrupt:
            say("Stopping ...")
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)  # already stopping


def _run(port: int, processes: ExitStack) -> str:
    """Start everything and return the name of the first server that stops."""
    url = {name: f"http://{host}:{each}" for each, (name, host) in enumerate(HOSTS.items(), port)}
    real = bool(os.environ.get("QONTO_ENVIRONMENT"))
    client = _client_of_the_user() if real else MOCK_CLIENT
    directory = processes.enter_context(TemporaryDirectory())
    say("Starting the local AWS (ministack) ...")
    aws = processes.enter_context(ministack(url["aws"], directory))
    own_app = os.environ.get("APP_URL", "")
    # The first is where the user goes without `return_to`, which the example app sends.
    return_urls = f"{own_app} {url['app']}/connected".strip()
    stack, example = _deploy(aws, client, return_urls)
    redirect_uri = f"{url['connector']}/callback"
    environment = aws.environment() | {"REDIRECT_URI": redirect_uri}
    functions = stack.environment | example.environment
    if not real:
        environment[clock.VARIABLE] = f"{directory}/clock"
        for variables in functions.values():
            variables |= {"OAUTH_BASE_URL": url["qonto"], "API_URL": url["qonto"]}
            variables["TOKEN_ENDPOINT"] = f"{url['qonto']}/oauth2/token"
    if "CLIENT_SECRET" not in client:
        del functions["SubscriberFunction"]["QUEUE_URL"]
    names = dict.fromkeys(SECRETS, "") | {
        "APP_URL": own_app,
        "directory": directory,
        "access_key": aws.access_key,
    }
    names |= {"raw_queue": aws.subscribe_queue(stack.topic_arn)} | stack.resources
    names |= example.resources | functions["TokensFunction"] | client | url
    children = []
    for service in sorted(HOSTS.keys() - ({"aws", "qonto"} if real else {"aws"})):
        variables = environment.copy()
        for function in guard.SERVERS[service].get("functions", ()):
            variables |= functions[function]
        children.append(processes.enter_context(guard.serve(service, variables, names)))
    for child in children:
        child.wait_until_ready()

    if real:
        _say_what_qonto_needs(client, redirect_uri)
    file = Path(directory, "demo.env")  # the directory is its owner's alone
    quoted = {name: shlex.quote(value) for name, value in (environment | names).items()}
    quoted["aws_variables"] = "\n".join(
        f"export {name}={quoted[name]}" for name in environment if name.startswith("AWS_")
    )
    template = (infra.ROOT / "demo" / "demo.env").read_text("utf-8")
    file.write_text(template.format(**quoted), "utf-8")
    say(f"\nFor an app of yours, and for AWS clients, in another shell:  source {file}")
    if own_app:
        say(f"The connector returns to {own_app}, unless return_to names the example app.")
    say(f"\nOpen {url['app']} in Chrome, Edge or Firefox")
    say("(Safari refuses Secure cookies on http://localhost). Ctrl-C stops everything.\n")
    stopped = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    started = {child.pid: child.name for child in children}
    return started.get(stopped.si_pid if stopped else 0, "the local AWS")


def _say_what_qonto_needs(client: Mapping[str, str], redirect_uri: str) -> None:
    say(f"\nThe connector talks to Qonto itself ({client['QONTO_ENVIRONMENT']}).")
    say(f"Register in Qonto's Developer Portal, as redirection URI:  {redirect_uri}")
    if client["QONTO_ENVIRONMENT"] == "sandbox":
        say(f"Before you connect, sign in at {SANDBOX}")
        say("with your account of the Developer Portal; docs/qonto.md says what else it takes.")
    if "CLIENT_SECRET" not in client:
        say("The live page shows the code, which is not exchanged: that would take")
        say("CLIENT_SECRET, and in the sandbox STAGING_TOKEN as well.")


def _first_port() -> int:
    """Return ``PORT`` after a check that this port and the next five are free."""
    value = os.environ.get("PORT") or "8000"
    if not value.isdecimal() or int(value) not in FIRST_PORTS:
        sys.exit(f"demo: PORT must be a number from 1024 to {FIRST_PORTS[-1]}, not {value!r}.")
    port = int(value)
    for each in range(port, port + len(HOSTS)):
        for host in ("127.0.0.1", "::1"):  # "localhost" may be either
            with suppress(OSError), socket.create_connection((host, each), timeout=1):
                sys.exit(f"demo: port {each} is taken. Take six others:  PORT=9000 make demo")
    return port


def _client_of_the_user() -> dict[str, str]:
    """Return the Qonto client that the environment names, with its secrets if they are complete."""
    client = {name: os.environ[name] for name in PARAMETERS if os.environ.get(name)}
    if "CLIENT_ID" not in client:
        sys.exit("demo: QONTO_ENVIRONMENT needs CLIENT_ID, from Qonto's Developer Portal.")
    names = SECRETS if client["QONTO_ENVIRONMENT"] == "sandbox" else SECRETS[:1]
    if all(map(os.environ.get, names)):
        client |= {name: os.environ[name] for name in names}
    return client


def _deploy(aws: LocalAws, client: Mapping[str, str], return_urls: str) -> tuple[Stack, Stack]:
    """Return the connector's stack and the subscriber's, which has the secrets of *client*."""
    say("Deploying table and topic from infra/template.yaml ...")
    parameters = {it: client[name] for name, it in PARAMETERS.items() if name in client}
    # The local AWS has no certificate of Amazon's.
    own = {"AppName": "Ledgerly", "TrustedRoots": "all", "ReturnUrls": return_urls}
    stack = aws.deploy(parameters | own)
    say("  (the local AWS enforces no policy and encrypts nothing)")
    say("Deploying queue, tables and secret from examples/subscriber/template.yaml ...")
    parameters.pop("Scope", None)
    # Any role will do: the local AWS enforces no policy.
    own = {"TopicArn": stack.topic_arn, "AppRoleArn": "arn:aws:iam::000000000000:role/ledgerly"}
    example = aws.deploy(parameters | own, infra.load(infra.EXAMPLE))
    secrets = json.dumps({name.lower(): client[name] for name in SECRETS if name in client})
    secret = example.resources["ClientSecret"]
    aws.secrets.put_secret_value(SecretId=secret, SecretString=secrets)
    return stack, example


if __name__ == "__main__":
    main()
