"""The engine's pages in the admin: lists and pages of rows, and the forms of people's actions."""

from . import audit_trail, deliveries, events, findings, followers, interventions, runs  # noqa: F401 - they register
