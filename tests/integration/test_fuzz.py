"""Coverage-guided fuzzing of both handlers with raw requests."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.connector import ROOT
from tests.slow import SEED, slow

RUNS = 150_000

pytestmark = [
    slow,
    pytest.mark.skipif(sys.platform != "linux", reason="atheris has packages only for Linux"),
]


def test_fuzzed_requests_get_only_designed_responses(tmp_path: Path) -> None:
    """tests/fuzz/target.py holds the assertions; its run ends at the first one that fails."""
    found = tmp_path / "found"
    found.mkdir()
    corpus = ROOT / "tests" / "fuzz" / "corpus"
    options = [f"-runs={RUNS}", f"-seed={SEED}", "-max_len=1200", f"-artifact_prefix={tmp_path}/"]

    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.target", *options, found, corpus],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,  # the log of each run
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )

    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert (run.returncode, kept) == (0, {}), run.stderr[-4000:]
    assert f"Done {RUNS} runs" in run.stderr
