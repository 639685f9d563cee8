"""Both handlers, given raw events that a fuzzer makes by what code they reach."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.connector import ROOT
from tests.slow import SEED, SLOW

RUNS = 150_000 if SLOW else 4_000

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="atheris has packages for Linux alone"
)


def test_any_event_gets_a_designed_answer_and_no_event_goes_out_for_another_browser(
    tmp_path: Path,
) -> None:
    """tests/fuzz/target.py says what else must hold."""
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
