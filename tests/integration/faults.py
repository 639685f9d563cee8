"""A proxy before the embedded AWS that makes its calls fail as the real ones do."""

import http.client
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from demo.child import Child
from demo.local_aws import LocalAws, free_port

# What AWS says before it takes a call, and what happens to a connection.
REFUSED = {"error": {"code": "AccessDeniedException", "status": 403}}
THROTTLED = {"error": {"code": "ThrottlingException", "status": 400}}
FAILED = {"error": {"code": "InternalServerError", "status": 500}}
RESET = {"reset": True}
HANGING = {"timeout_ms": 60_000}
# The call is taken, and its answer gets lost on the way.
ANSWER_LOST = {"response": {"abort_bytes": 0}}
ANSWER_TRUNCATED = {"response": {"truncate_frac": 0.5}}
# Without DynamoDB's checksum, the client takes what is left for the answer.
ANSWER_DAMAGED = {"response": {"truncate_frac": 0.5, "strip_headers": ["x-amz-crc32"]}}


class FaultProxy:
    """The calls of all clients whose endpoint it is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.endpoint_url = f"http://127.0.0.1:{port}"

    def inject(self, operation: str, fault: dict[str, Any], *, times: int | None = None) -> None:
        """Let *fault* happen to each call of *operation*, or to the next *times* attempts."""
        rule = {"operation": operation, **fault}
        if times is not None:
            rule["times"] = times
        self._control("PATCH", "rules", [rule])

    def clear(self) -> None:
        """Let all calls through."""
        self._control("POST", "rules", [])
        self._control("DELETE", "fired")

    def attempts(self, operation: str) -> int:
        """Return to how many attempts of *operation* a fault has happened."""
        fired = self._control("GET", f"fired?operation={operation}")
        return len(fired["fired"] if isinstance(fired, dict) else fired)

    def _control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, f"/_microburst/{path}", json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        assert answer.status < 300, text
        return json.loads(text) if text else None


@contextmanager
def fault_proxy(aws: LocalAws) -> Iterator[FaultProxy]:
    """Run a proxy before *aws* for as long as the block runs."""
    port = free_port()
    arguments = ["--upstream", aws.endpoint_url, "--port", str(port), "--host", "127.0.0.1"]
    environment = {"PATH": os.environ["PATH"]}
    with Child(
        "the fault proxy", port, "microburst", *arguments, environment=environment, quiet=True
    ) as child:
        child.wait_until_ready()
        yield FaultProxy(port)
