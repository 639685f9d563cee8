"""The function behind ``GET /start``."""
