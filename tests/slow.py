"""What is slow by nature, which `make check` runs and `make test` leaves out or makes shorter."""

import os

import pytest

SLOW = bool(os.environ.get("SLOW"))
SEED = 20_261_124  # of whatever is random here: the same each time

slow = pytest.mark.skipif(not SLOW, reason="slow by nature: make check runs it")
