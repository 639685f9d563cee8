"""The function behind ``GET /callback`` and ``GET /callback/{outcome}``."""
