"""The HTTP API, described by itself at /api/docs."""
