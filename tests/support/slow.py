"""Marks slow tests, which `make check` runs in full and `make test` skips or shortens."""

import os

import pytest

SLOW = bool(os.environ.get("SLOW"))
SEED = 20_261_124  # of every random choice in the tests, so that runs are repeatable

slow = pytest.mark.skipif(not SLOW, reason="slow: only make check runs it")
