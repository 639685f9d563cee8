"""The local Runtime API of the tests gives a function what Lambda does, and nothing more."""

from pathlib import Path

import pytest

from tests.support.lambda_runtime import ExecutionEnvironment

HANDLER = """
import os, sys

def environment(payload, context):
    return dict(os.environ) | {"path": sys.path, "left": context.get_remaining_time_in_millis()}
"""


def test_function_sees_only_lambda_and_given_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "handlers.py").write_text(HANDLER, "utf-8")
    monkeypatch.setenv("AWS_PROFILE", "of-the-developer")

    with ExecutionEnvironment(tmp_path, "handlers.environment", {"GIVEN": "1"}, timeout=20) as one:
        seen = one.invoke({})

    assert seen["path"][0] == seen["LAMBDA_TASK_ROOT"] == str(tmp_path)
    assert not [path for path in seen["path"] if "site-packages" in path]
    assert seen["GIVEN"] == "1"
    assert seen.keys().isdisjoint({"AWS_PROFILE", "HOME", "PYTHONWARNINGS", "VIRTUAL_ENV"})
    assert 15_000 < seen["left"] <= 20_000
    assert [path.name for path in tmp_path.iterdir()] == ["handlers.py"]
