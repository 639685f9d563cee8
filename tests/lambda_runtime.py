"""Lambda's Runtime API on this machine: runs a package under awslambdaric, as Lambda runs it.

`ExecutionEnvironment` is what Lambda calls by that name: one process that runs one function. It is
started at once, in an environment of variables that holds what Lambda sets, what the caller gives
and nothing of this process. The package comes first on its import path; besides, there are the
standard library and what the run-time brings along (awslambdaric), and none of this project's own
packages. Nothing is compiled to disk: Lambda's is read-only.

    variables = stack.environment["StartFunction"] | {
        "REDIRECT_URI": "https://connect.example.com/callback",
        "AWS_ENDPOINT_URL": aws.endpoint_url,
    }
    with start_function("StartFunction", packages["StartFunction"], variables) as start:
        answer = start.invoke(payload_2_0("GET", "/start", route_key="GET /start"))
        cold_start = start.answered_at[0] - start.spawned_at  # nanoseconds

What else a process needs is given as variables: `AWS_CA_BUNDLE`, proxies, another endpoint.
One event is handled at a time; several threads may call `invoke`, and any may `kill`.
Errors are named as Lambda names them. After one that ends the process, take a new environment.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import parse_headers
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from uuid import uuid4

from demo import template as infra
from demo.local_aws import REGION
from demo.template import Json

# Lambda gives an initialisation 10 s; a busy machine may need more.
SECONDS_TO_INITIALISE = 60
# What the run-time brings along and a package does not.
_RUNTIME = ("awslambdaric", "simplejson", "snapshot_restore_py")


class FunctionError(Exception):
    """An invocation that has no answer.

    Attributes:
        type: as Lambda reports it: of what the handler raised, its class.
        message: what it says.

    """

    def __init__(self, error_type: str, message: str) -> None:
        """Take Lambda's ``errorType`` and ``errorMessage``."""
        super().__init__(f"{error_type}: {message}")
        self.type = error_type
        self.message = message


class InitError(FunctionError):
    """The handler could not be imported; the process has ended or is about to."""


class TimedOutError(FunctionError):
    """The function took too long, and its process was killed."""


class ExitedError(FunctionError):
    """The process is gone, killed or by itself; `returncode` is that of subprocess."""

    def __init__(self, returncode: int) -> None:
        """Take how it ended."""
        how = signal.strsignal(-returncode) if returncode < 0 else f"exit status {returncode}"
        super().__init__("Runtime.ExitError", f"Runtime exited: {how}")
        self.returncode = returncode


class _Connection:
    """One of the process's connections to the Runtime API."""

    def __init__(self, connected: socket.socket) -> None:
        # An answer leaves at once, and not when the one before it was acknowledged.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._received = connected.makefile("rb")

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> tuple[str, bytes] | None:
        """Return a request's path and body; None if the connection ended before it was complete."""
        with suppress(ConnectionError):
            line = self._received.readline()
            length = int(parse_headers(self._received).get("Content-Length", 0))
            body = self._received.read(length)
            if line and len(body) == length:
                return line.split()[1].decode(), body
        return None

    def respond(self, status: int, headers: Mapping[str, str] = {}, body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        with suppress(ConnectionError):  # it is gone: whoever waits for its next request is told
            self._socket.sendall(head.encode() + body)

    def close(self) -> None:
        self._received.close()
        self._socket.close()


class ExecutionEnvironment:
    """A process that runs *handler* of *package*, from construction on.

    Attributes:
        spawned_at: when it was started, by `time.monotonic_ns`, as all times here.
        initialised_at: when it first asked for an event, hence had imported the handler; None
            until that was seen, by `invoke` or by `wait_until_initialised`.
        answered_at: when each invocation's answer (or error of the handler) had come.

    """

    def __init__(  # noqa: PLR0913 - what a function's configuration says
        self,
        package: Path,
        handler: str,
        environment: Mapping[str, str],
        *,
        name: str = "function",
        timeout: float = 3,
        memory_size: int = 128,
    ) -> None:
        """Start *handler* of the folder *package* with *environment* besides Lambda's variables.

        *timeout* in seconds and *memory_size* in MB have Lambda's defaults; nothing limits memory.
        """
        self._timeout = timeout
        self._arn = f"arn:aws:lambda:{REGION}:000000000000:function:{name}"
        self._one_at_a_time = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._idle: _Connection | None = None  # it waits there for an event
        self._directory = TemporaryDirectory()
        self._stdout = Path(self._directory.name, "stdout")
        self._stderr = Path(self._directory.name, "stderr")
        runtime = Path(self._directory.name, "runtime")
        _gather_runtime(runtime)
        variables = {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_size),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"2026/01/01/[$LATEST]{uuid4().hex}",
            "AWS_LAMBDA_RUNTIME_API": "{}:{}".format(*self._listener.getsockname()),
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
            "LAMBDA_RUNTIME_DIR": str(runtime),
            "LAMBDA_TASK_ROOT": str(package),
            "LANG": "en_US.UTF-8",
            "PATH": os.defpath,
            "PYTHONPATH": str(runtime),
            "TZ": ":UTC",
            "_HANDLER": handler,
            # Lambda's user has no home. This machine's has, and what is set up there is not ours.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **environment,
        }
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.spawned_at = time.monotonic_ns()
            self._process = subprocess.Popen(
                # No site-packages, no .pyc written; -m has the working directory first on the path.
                [sys.executable, "-S", "-B", "-m", "awslambdaric", handler],
                cwd=package,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                process_group=0,  # Ctrl-C is for this process, which then stops it
            )
        self.initialised_at: int | None = None
        self.answered_at: list[int] = []
        self._pidfd = os.pidfd_open(self._process.pid)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._pidfd, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        """Return the environment, to be stopped at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def stdout(self) -> str:
        """What it has written so far: its log and its metrics."""
        return self._stdout.read_text("utf-8")

    @property
    def stderr(self) -> str:
        """What it has written there so far."""
        return self._stderr.read_text("utf-8")

    def wait_until_initialised(self) -> None:
        """Return once it waits for an event.

        Raises:
            InitError, ExitedError, TimedOutError: it never will.

        """
        with self._one_at_a_time:
            self._wait_until_idle()

    def invoke(self, event: Json) -> Json:
        """Return the handler's answer to *event*; both are JSON.

        Raises:
            FunctionError: the handler raised; the process goes on.
            InitError, ExitedError, TimedOutError: as they say.

        """
        with self._one_at_a_time:
            idle = self._wait_until_idle()
            self._idle = None
            request_id = str(uuid4())
            headers = {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self._timeout) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": self._arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-00000000-{uuid4().hex[:24]};Sampled=0",
            }
            idle.respond(200, headers, json.dumps(event).encode())

            path, body, connection = self._request(self._timeout)
            self.answered_at.append(time.monotonic_ns())
            connection.respond(202)
            if path.endswith(f"/invocation/{request_id}/response"):
                return json.loads(body)
            raise FunctionError(**_error(body))

    def kill(self) -> None:
        """End the process at once, as the kernel does; whoever waits gets an `ExitedError`."""
        self._process.kill()

    def stop(self) -> None:
        """End it, as Lambda does when there is nothing more to do; return when it is gone."""
        self.kill()
        self._process.wait()
        with self._one_at_a_time:
            for key in self._selector.get_map().values():
                if isinstance(key.fileobj, (_Connection, socket.socket)):
                    key.fileobj.close()
            self._selector.close()
            os.close(self._pidfd)
            self._directory.cleanup()

    def _wait_until_idle(self) -> _Connection:
        if self._idle is None:
            path, body, connection = self._request(SECONDS_TO_INITIALISE)
            if path.endswith("/init/error"):
                connection.respond(202)
                raise InitError(**_error(body))
            self._idle = connection
            if self.initialised_at is None:
                self.initialised_at = time.monotonic_ns()
        return self._idle

    def _request(self, seconds: float) -> tuple[str, bytes, _Connection]:
        """Return the next request's path and body, and where its answer goes."""
        deadline = time.monotonic() + seconds
        while ready := self._selector.select(max(0, deadline - time.monotonic())):
            for key, _ in ready:
                if key.fileobj is self._listener:
                    connection = _Connection(self._listener.accept()[0])
                    self._selector.register(connection, selectors.EVENT_READ)
                elif isinstance(key.fileobj, _Connection):
                    if request := key.fileobj.read():
                        return (*request, key.fileobj)
                    self._selector.unregister(key.fileobj)
                    key.fileobj.close()
            # What it still had to say comes first.
            if [key.fileobj for key, _ in ready] == [self._pidfd]:
                raise ExitedError(self._process.wait())
        self.kill()
        self._process.wait()
        message = f"Task timed out after {seconds:.2f} seconds"
        raise TimedOutError("Sandbox.Timedout", message)


def start_function(
    logical_id: str, package: Path, environment: Mapping[str, str]
) -> ExecutionEnvironment:
    """Start the function of infra/template.yaml that has *logical_id*, packed in *package*.

    Its handler, time-out and memory are the template's; its variables are *environment* alone, for
    only a stack has their values.
    """
    properties = infra.function(infra.load(), logical_id)
    return ExecutionEnvironment(
        package,
        properties["Handler"],
        environment,
        name=logical_id,
        timeout=properties["Timeout"],
        memory_size=properties["MemorySize"],
    )


def _gather_runtime(folder: Path) -> None:
    """Link what the run-time brings along into *folder*, and nothing else."""
    folder.mkdir()
    for name in _RUNTIME:
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()}:
            if not top.endswith((".dist-info", "__pycache__")):
                (folder / top).symlink_to(str(installed.locate_file(top)))


def _error(body: bytes) -> dict[str, str]:
    error = json.loads(body)
    return {"error_type": error["errorType"], "message": error["errorMessage"]}
