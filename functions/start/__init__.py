"""The function behind ``GET /start``: it sends the browser to Qonto."""
