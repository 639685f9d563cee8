"""The local Runtime API of the tests treats a function as Lambda does."""

from pathlib import Path

import pytest

from tests import lambda_runtime
from tests.lambda_runtime import ExecutionEnvironment

HANDLERS = """
import os, signal, sys

def environment(payload, context):
    return dict(os.environ) | {"path": sys.path, "left": context.get_remaining_time_in_millis()}

def fail(payload, context):
    raise LookupError("no")

def leave(payload, context):
    print("going")
    os._exit(3)

def hang(payload, context):
    signal.pause()
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "handlers.py").write_text(HANDLERS, "utf-8")
    return tmp_path


def test_function_sees_only_lambda_and_given_variables(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-the-developer")

    with ExecutionEnvironment(package, "handlers.environment", {"GIVEN": "1"}, timeout=20) as one:
        seen = one.invoke({})

    assert seen["path"][0] == seen["LAMBDA_TASK_ROOT"] == str(package)
    assert not [path for path in seen["path"] if "site-packages" in path]
    assert seen["GIVEN"] == "1"
    assert seen.keys().isdisjoint({"AWS_PROFILE", "HOME", "PYTHONWARNINGS", "VIRTUAL_ENV"})
    assert 15_000 < seen["left"] <= 20_000
    assert [path.name for path in package.iterdir()] == ["handlers.py"]


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        ("missing", lambda_runtime.InitError),
        ("fail", lambda_runtime.FunctionError),
        ("leave", lambda_runtime.ExitedError),
        ("hang", lambda_runtime.TimedOutError),
    ],
)
def test_failed_invocation_is_reported(package: Path, handler: str, error: type[Exception]) -> None:
    function = ExecutionEnvironment(package, f"handlers.{handler}", {}, timeout=0.5)
    with function, pytest.raises(error) as reported:
        function.invoke({})

    assert type(reported.value) is error
    assert not Path(f"/proc/{function.pid}").exists()
