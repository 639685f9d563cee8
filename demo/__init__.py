"""The connector on a laptop: the real handlers, a local AWS, and a mock Qonto."""
