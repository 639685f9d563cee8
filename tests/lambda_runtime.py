"""Runs a package under awslambdaric, as Lambda does, with a local Runtime API.

An `ExecutionEnvironment` is one process that runs one function, as in Lambda. The process starts at
once, with the variables that Lambda sets and those that the caller gives, and with no variable of
this process. The package comes first on its import path, before the runtime client (awslambdaric)
and the standard library; this project's other packages are not on it. The process writes no
compiled files, because Lambda's disk is read-only.

    variables = stack.environment["StartFunction"] | {
        "REDIRECT_URI": "https://connect.example.com/callback",
        "AWS_ENDPOINT_URL": aws.endpoint_url,
    }
    with start_function("StartFunction", packages["StartFunction"], variables) as start:
        response = start.invoke(payload_2_0("GET", "/start", route_key="GET /start"))
        cold_start = start.responded_at[0] - start.spawned_at  # nanoseconds

Further settings of a process are variables too: `AWS_CA_BUNDLE`, proxies, another endpoint. The
process handles one payload at a time; any thread may call `invoke` and `kill`. Errors have Lambda's
names. After an error that ends the process, start a new environment.
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
# The distributions of Lambda's runtime, which a package does not contain.
_RUNTIME = ("awslambdaric", "simplejson", "snapshot_restore_py")


class FunctionError(Exception):
    """An invocation without a response.

    Attributes:
        type: Lambda's ``errorType``; for an exception of the handler, its class.
        message: Lambda's ``errorMessage``.

    """

    def __init__(self, error_type: str, message: str) -> None:
        """Keep Lambda's ``errorType`` and ``errorMessage``."""
        super().__init__(f"{error_type}: {message}")
        self.type = error_type
        self.message = message


class InitError(FunctionError):
    """The handler could not be imported; the process has ended or is about to."""


class TimedOutError(FunctionError):
    """The function exceeded its timeout, and its process was killed."""


class ExitedError(FunctionError):
    """The process was killed or exited; `returncode` has the meaning that subprocess gives it."""

    def __init__(self, returncode: int) -> None:
        """Keep *returncode*, and describe it in the message."""
        how = signal.strsignal(-returncode) if returncode < 0 else f"exit status {returncode}"
        super().__init__("Runtime.ExitError", f"Runtime exited: {how}")
        self.returncode = returncode


class _Connection:
    """One of the process's connections to the Runtime API."""

    def __init__(self, connected: socket.socket) -> None:
        # Send each response at once, without waiting for the acknowledgement of the last one.
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
        with suppress(ConnectionError):  # the process is gone, which _request() reports
            self._socket.sendall(head.encode() + body)

    def close(self) -> None:
        self._received.close()
        self._socket.close()


class ExecutionEnvironment:
    """A process that runs *handler* of *package*, from construction on.

    Attributes:
        spawned_at: the start of the process, by `time.monotonic_ns`, as all times here.
        initialised_at: the process's first request for a payload, which follows the import of the
            handler; None until `invoke` or `wait_until_initialised` receives that request.
        responded_at: the arrival of each response, or of the handler's error.

    """

    def __init__(  # noqa: PLR0913 - a function's configuration
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

        *timeout* is in seconds and *memory_size* in MB, which is not enforced.
        """
        self._timeout = timeout
        self._arn = f"arn:aws:lambda:{REGION}:000000000000:function:{name}"
        self._one_at_a_time = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._idle: _Connection | None = None  # the process waits on it for a payload
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
            # Lambda's account has no home. On this machine, AWS settings at home must not apply.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **environment,
        }
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.spawned_at = time.monotonic_ns()
            self._process = subprocess.Popen(
                # -S: no site-packages; -B: no .pyc; -m: the working directory is first on the path.
                [sys.executable, "-S", "-B", "-m", "awslambdaric", handler],
                cwd=package,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                process_group=0,  # Ctrl-C reaches only this process, which then stops the function
            )
        self.initialised_at: int | None = None
        self.responded_at: list[int] = []
        self._pidfd = os.pidfd_open(self._process.pid)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._pidfd, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        """Return this environment; the end of the block stops it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process."""
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def stdout(self) -> str:
        """The standard output so far: the log and the metrics."""
        return self._stdout.read_text("utf-8")

    @property
    def stderr(self) -> str:
        """The standard error so far."""
        return self._stderr.read_text("utf-8")

    def wait_until_initialised(self) -> None:
        """Return when the process waits for a payload.

        Raises:
            InitError, ExitedError, TimedOutError: the process cannot initialise.

        """
        with self._one_at_a_time:
            self._wait_until_idle()

    def invoke(self, payload: Json) -> Json:
        """Return the handler's response to *payload*; both are JSON.

        Raises:
            FunctionError: the handler raised an exception; the process continues.
            InitError, ExitedError, TimedOutError: the process has ended or is about to.

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
            idle.respond(200, headers, json.dumps(payload).encode())

            path, body, connection = self._request(self._timeout)
            self.responded_at.append(time.monotonic_ns())
            connection.respond(202)
            if path.endswith(f"/invocation/{request_id}/response"):
                return json.loads(body)
            raise FunctionError(**_error(body))

    def kill(self) -> None:
        """Kill the process at once; a waiting `invoke` raises `ExitedError`."""
        self._process.kill()

    def stop(self) -> None:
        """Kill the process, as Lambda does with an idle one, and return when it is gone."""
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
        """Return the next request's path and body, and the connection for its response."""
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
            # Read the last requests of an exited process before reporting its exit.
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

    The template gives the handler, timeout and memory. *environment* gives all variables, because
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
    """Make *folder* with links to the runtime's distributions, and nothing else."""
    folder.mkdir()
    for name in _RUNTIME:
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()}:
            if not top.endswith((".dist-info", "__pycache__")):
                (folder / top).symlink_to(str(installed.locate_file(top)))


def _error(body: bytes) -> dict[str, str]:
    error = json.loads(body)
    return {"error_type": error["errorType"], "message": error["errorMessage"]}
