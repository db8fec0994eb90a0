"""The engine's pages in the admin: rows to look at, and the forms behind what people may do."""

from . import audit_trail, deliveries, events, findings, followers, interventions, runs  # noqa: F401 - they register
