"""The engine's pages in the admin: lists and pages of rows, and the forms of people's actions."""

from backoffice import keys

from ..core import registry
from . import audit_trail, deliveries, events, findings, followers, interventions, runs  # noqa: F401 - they register

# Here, and not in `ready`: without the admin the engine does not import the back office.
keys.ask_for_names(registry.named, registry.key_of, registry.key_example)
