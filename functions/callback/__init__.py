"""The function behind ``GET /callback``: it takes the browser's way back from Qonto."""
