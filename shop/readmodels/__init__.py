"""Answers kept ready: each follows the event log; who may be behind by how much stands in docs/readmodels.md."""
