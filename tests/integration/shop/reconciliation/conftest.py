"""Turns of the reconciliation over orders that are right, and what they find."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orders.models import Order
from sagas.books.reconciliation import Reconciled, reconcile
from sagas.core import registry
from sagas.models import Finding
from sagas.testing import drive
from tests.factories.orders import Place


def turn(*, after: timedelta = timedelta()) -> Reconciled:
    return reconcile(now=timezone.now() + after, checks=registry.checks(), walks=registry.walks())


def found() -> dict[tuple[str, str], str]:
    """Return the open findings: check and key, message."""
    return {(finding.check_name, finding.key): finding.message for finding in Finding.objects.filter(status="open")}


def facts(check: str, of: object) -> dict[str, Any]:
    read: dict[str, Any] = Finding.objects.get(check_name=check, key=str(of), status="open").facts
    return read


@pytest.fixture
def confirmed(place: Place) -> Order:
    return _decided(place("tok_visa"), "confirmed")


@pytest.fixture
def rejected(place: Place) -> Order:
    return _decided(place("tok_chargeDeclined"), "rejected")


def _decided(order: Order, status: str) -> Order:
    drive()
    order.refresh_from_db()
    assert order.status == status
    turn()
    assert found() == {}
    return order
