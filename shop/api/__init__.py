"""The HTTP API; its documentation is at /api/docs."""
