"""Garbage collection waits until a cold start is over. Each handler imports this first of all."""

import gc

# More objects than a cold start makes, and none of those is garbage. What invocations leave behind
# is collected when it comes to as many.
gc.set_threshold(100_000)
