"""Tests that the local Runtime API of the tests treats a function as Lambda does."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.lambda_runtime import (
    ExecutionEnvironment,
    ExitedError,
    FunctionError,
    InitError,
    TimedOutError,
)

HANDLERS = """
import os, signal, sys

def environment(payload, context):
    return dict(os.environ) | {"path": sys.path, "modules": sorted(sys.modules)}

def remaining(payload, context):
    return context.get_remaining_time_in_millis()

def echo(payload, context):
    return payload

def fail(payload, context):
    raise LookupError(f"no {payload}")

def leave(payload, context):
    print("going")
    print("gone", file=sys.stderr)
    os._exit(3)

def hang(payload, context):
    if payload:
        open(payload, "w").close()  # unblocks the test, which reads from this FIFO
    signal.pause()
"""

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="Lambda's runtime client is for Linux alone"
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "handlers.py").write_text(HANDLERS, "utf-8")
    return folder


def _function(package: Path, handler: str, *, timeout: float = 30) -> ExecutionEnvironment:
    return ExecutionEnvironment(package, f"handlers.{handler}", {"GIVEN": "1"}, timeout=timeout)


def _is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def _open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_function_sees_only_lambda_and_given_variables(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-the-developer")
    monkeypatch.setenv("PYTHONWARNINGS", "error")

    with _function(package, "environment") as function:
        seen = function.invoke({})

    first, runtime, *library = seen.pop("path")
    modules = seen.pop("modules")
    assert first == seen["LAMBDA_TASK_ROOT"] == str(package)
    assert runtime == seen["PYTHONPATH"] == seen["LAMBDA_RUNTIME_DIR"]
    assert not [path for path in library if "site-packages" in path]
    assert "site" not in modules
    assert (seen["GIVEN"], seen["_HANDLER"]) == ("1", "handlers.environment")
    assert seen.keys().isdisjoint({"AWS_PROFILE", "HOME", "PYTHONWARNINGS", "VIRTUAL_ENV"})


def test_function_writes_no_compiled_files(package: Path) -> None:
    with _function(package, "echo") as function:
        function.wait_until_initialised()

    assert [path.name for path in package.iterdir()] == ["handlers.py"]


def test_one_process_handles_consecutive_invocations(package: Path) -> None:
    payloads = [{"text": "é" * 200_000}, ["x"], None]

    with _function(package, "echo") as function:
        responses = [function.invoke(payload) for payload in payloads]

    assert responses == payloads
    assert function.initialised_at is not None
    times = [function.spawned_at, function.initialised_at, *function.responded_at]
    assert len(function.responded_at) == 3
    assert times == sorted(times)


def test_parallel_invocations_run_one_at_a_time(package: Path) -> None:
    responses: list[object] = []

    with _function(package, "echo") as function:
        threads = [
            threading.Thread(
                target=lambda payload: responses.append(function.invoke(payload)), args=(number,)
            )
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(responses, key=str) == sorted(range(20), key=str)


def test_function_reads_its_remaining_time(package: Path) -> None:
    with _function(package, "remaining", timeout=20) as function:
        assert 15_000 < function.invoke({}) <= 20_000


def test_handler_exception_is_reported_and_process_survives(package: Path) -> None:
    with _function(package, "fail") as function:
        for payload in ("first", "second"):
            with pytest.raises(FunctionError, match=f"LookupError: no {payload}"):
                function.invoke(payload)

        assert '"errorType": "LookupError"' in function.stdout


@pytest.mark.parametrize(
    ("handler", "error_type"),
    [("missing", "Runtime.HandlerNotFound"), ("environment.x", "Runtime.ImportModuleError")],
)
def test_handler_import_failure_is_reported(package: Path, handler: str, error_type: str) -> None:
    with _function(package, handler) as function:
        with pytest.raises(InitError) as reported:
            function.invoke({})
        with pytest.raises(ExitedError, match="exit status 1"):
            function.invoke({})

    assert reported.value.type == error_type


def test_process_exit_is_reported_with_its_output(package: Path) -> None:
    with _function(package, "leave") as function:
        with pytest.raises(ExitedError) as reported:
            function.invoke({})

        assert (reported.value.returncode, function.stdout, function.stderr) == (
            3,
            "going\n",
            "gone\n",
        )


def test_timed_out_function_is_killed(package: Path) -> None:
    with _function(package, "hang", timeout=0.5) as function:
        with pytest.raises(TimedOutError, match=r"timed out after 0\.50 seconds"):
            function.invoke(None)

        assert _is_gone(function.pid)


def test_running_function_can_be_killed(package: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    with _function(package, "hang") as function:

        def kill_when_it_hangs() -> None:
            fifo.read_text("utf-8")
            function.kill()

        killer = threading.Thread(target=kill_when_it_hangs)
        killer.start()
        with pytest.raises(ExitedError) as reported:
            function.invoke(str(fifo))
        killer.join()

    assert reported.value.returncode == -signal.SIGKILL


def test_stopped_function_leaves_no_process_or_files(package: Path) -> None:
    before = _open_files()
    function = _function(package, "echo")
    function.invoke({})

    function.stop()

    assert _is_gone(function.pid)
    assert _open_files() == before
