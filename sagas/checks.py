"""Definition mistakes fail at start-up, as Django system checks."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from . import registry


def register_checks() -> None:
    """Have Django run the checks with its own."""
    register(check_definitions, "sagas")


def check_definitions(**_: Any) -> list[CheckMessage]:
    """Report every fault of every registered saga."""
    return [
        Error(f"saga {saga.name}: {fault}", hint="See sagas/definition.py.", id="sagas.E001")
        for saga in registry.sagas()
        for fault in saga.faults()
    ]
