"""Runs a package under AWS's own runtime client (awslambdaric), with a local Runtime API."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from uuid import uuid4

from demo import template as infra
from demo.local_aws import REGION
from demo.template import Json

# Lambda gives an initialisation 10 s; a busy machine may need more.
SECONDS_TO_INITIALISE = 60
# The distributions of Lambda's runtime, which a package does not contain.
_RUNTIME = ("awslambdaric", "simplejson", "snapshot_restore_py")
_NEXT, _EXIT = "/2018-06-01/runtime/invocation/next", "exit"


class FunctionError(Exception):
    """An invocation without a response: Lambda's ``errorType``, and the error's text."""


class _RuntimeApi(ThreadingHTTPServer):
    """The paths and bodies that the process sends, and the headers and payloads that it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.requests: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self.payloads: SimpleQueue[tuple[dict[str, str], bytes]] = SimpleQueue()
        Thread(target=self.serve_forever, args=[0.05], daemon=True).start()


class _Request(BaseHTTPRequestHandler):
    server: _RuntimeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Respond with the next payload."""
        self.server.requests.put((_NEXT, b""))
        self._respond(200, *self.server.payloads.get())

    def do_POST(self) -> None:
        """Take a response or an error."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.put((self.path, body))
        self._respond(202, {}, b"")

    def _respond(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # the process was killed
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class ExecutionEnvironment(AbstractContextManager["ExecutionEnvironment"]):
    """A process that runs *handler* of the folder *package*, one payload at a time.

    It has the variables that Lambda sets and those of *environment*, and no other. On its import
    path are the package, the runtime client and the standard library, in this order.
    """

    def __init__(
        self, package: Path, handler: str, environment: Mapping[str, str], timeout: float
    ) -> None:
        """Start the process. *timeout* is in seconds."""
        self._timeout, self._is_idle = timeout, False
        self._api = _RuntimeApi()
        self._directory = TemporaryDirectory()
        folder = Path(self._directory.name)
        for runtime in map(distribution, _RUNTIME):
            for top in {file.parts[0] for file in runtime.files or ()}:
                if not top.endswith((".dist-info", "__pycache__")):
                    (folder / top).symlink_to(str(runtime.locate_file(top)))
        variables = {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
            "LAMBDA_TASK_ROOT": str(package),
            "LANG": "en_US.UTF-8",
            "PATH": os.defpath,
            "PYTHONPATH": str(folder),
            "TZ": ":UTC",
            "_HANDLER": handler,
            # Lambda's account has no home. On this machine, AWS settings at home must not apply.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **environment,
        }
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
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
        self.pid = self._process.pid
        self.responded_at: list[int] = []  # by time.monotonic_ns: each response or error
        self._waiter = Thread(target=self._report_exit)
        self._waiter.start()

    def _report_exit(self) -> None:
        self._api.requests.put((_EXIT, f"Runtime exited: {self._process.wait()}".encode()))

    def __exit__(self, *_: object) -> None:
        """Kill the process, as Lambda does with an idle one, and return when it is gone."""
        self.kill()
        self._waiter.join()
        self._api.payloads.put(({}, b""))  # ends the thread that waits for a payload
        self._api.shutdown()
        self._api.server_close()
        self._directory.cleanup()

    @property
    def stdout(self) -> str:
        """The standard output so far: the log and the metrics."""
        return self._stdout.read_text("utf-8")

    @property
    def stderr(self) -> str:
        """The standard error so far."""
        return self._stderr.read_text("utf-8")

    def wait_until_initialised(self) -> None:
        """Return when the process waits for a payload, or raise a `FunctionError`."""
        if not self._is_idle:
            self._take(_NEXT, SECONDS_TO_INITIALISE)
            self._is_idle = True

    def invoke(self, payload: Json) -> Json:
        """Return the handler's response to *payload*; both are JSON. Or raise a `FunctionError`.

        After an exception of the handler, the process continues; after any other error, it has
        ended.
        """
        self.wait_until_initialised()
        self._is_idle = False
        arn = f"arn:aws:lambda:{REGION}:000000000000:function:function"
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": str(uuid4()),
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self._timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-00000000-{uuid4().hex[:24]};Sampled=0",
        }
        self._api.payloads.put((headers, json.dumps(payload).encode()))
        return self._take("/response", self._timeout)

    def kill(self) -> None:
        """Kill the process at once; a waiting `invoke` raises a `FunctionError`."""
        self._process.kill()

    def _take(self, expected: str, seconds: float) -> Json:
        """Return the body of the process's next request, if its path ends as *expected*."""
        try:
            path, body = self._api.requests.get(timeout=seconds)
        except Empty:
            self.kill()
            self._waiter.join()
            raise FunctionError("Sandbox.Timedout", f"timed out after {seconds} s") from None
        if path == _EXIT:
            raise FunctionError("Runtime.ExitError", body.decode())
        if path == _NEXT:
            return None
        self.responded_at.append(time.monotonic_ns())
        found = json.loads(body)
        if not path.endswith(expected):
            raise FunctionError(found["errorType"], found["errorMessage"])
        return found


def start_function(
    logical_id: str, package: Path, environment: Mapping[str, str]
) -> ExecutionEnvironment:
    """Start the function of infra/template.yaml that has *logical_id*, packed in *package*."""
    properties = infra.function(infra.load(), logical_id)
    return ExecutionEnvironment(package, properties["Handler"], environment, properties["Timeout"])
