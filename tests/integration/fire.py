"""How long the pair is under fire, and from which seed: the same each time."""

import os

LONG = os.environ.get("FIRE") == "long"
SEED = 20_261_124
