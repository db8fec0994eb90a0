"""Reconciliation: every breach of the books is found with its figures, clears itself, and nothing else is one."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from inventory import services as inventory
from inventory.models import Parcel, Reservation, StockItem
from notifications.models import Notification
from orders.models import Order, OrderLine
from payments.models import CreditAccount, CreditHold, Payment
from payments.services import open_credit
from sagas import deliveries, engine, registry, undo
from sagas.models import Delivery, Event, Finding, Reconciliation, Run
from sagas.plans import WakeUp, wake_ups_of
from sagas.reconciliation import BROKEN, Breach, Check, Look, Reconciled, Walk, dismiss, reconcile
from sagas.relay import relay
from sagas.sweep import sweep
from sagas.testing import MovableClock, drive
from tests.conftest import Processes, wait_for

Place = Callable[..., Order]

#: Later than any grace, and before the sweep of anything that waits.
LATER = timedelta(minutes=1, seconds=30)


def turn(*, after: timedelta = timedelta()) -> Reconciled:
    return reconcile(now=timezone.now() + after, checks=registry.checks(), walks=registry.walks())


def found() -> dict[tuple[str, str], str]:
    """Return the open findings: check and key, message."""
    return {
        (finding.check_name, finding.key): finding.message for finding in Finding.objects.filter(status="open")
    }


def facts(check: str, of: object) -> dict[str, Any]:
    read: dict[str, Any] = Finding.objects.get(check_name=check, key=str(of), status="open").facts
    return read


@pytest.fixture
def confirmed(place: Place) -> Order:
    order = place("tok_visa")
    drive()
    order.refresh_from_db()
    assert order.status == "confirmed"
    turn()
    assert found() == {}
    return order


@pytest.fixture
def rejected(place: Place) -> Order:
    order = place("tok_chargeDeclined")
    drive()
    order.refresh_from_db()
    assert order.status == "rejected"
    turn()
    assert found() == {}
    return order


def test_a_changed_amount_is_found_with_both_figures_and_clears_itself(confirmed: Order) -> None:
    Payment.objects.update(amount_minor=1500)
    assert turn().found == 2
    key = str(confirmed.id)
    assert found() == {
        ("money", key): f"Order {confirmed.number} is confirmed: £20.00 owed, £15.00 captured, £0.00 refunded, "
        "£0.00 credit held.",
        ("paid-for", key): f"Order {confirmed.number} is confirmed, but its parcel is not paid for.",
    }
    run = Run.objects.get()
    assert facts("money", key) == {
        "order": confirmed.number,
        "order_id": key,
        "status": "confirmed",
        "total_minor": 2000,
        "owed_minor": 2000,
        "captured_minor": 1500,
        "refunded_minor": 0,
        "credit_held_minor": 0,
        "currency": "GBP",
        "other_currencies_minor": {},
        "runs": [{"id": str(run.id), "saga": "fulfil-order", "status": "completed"}],
    }
    assert turn().found == 0
    Payment.objects.update(amount_minor=2000)
    assert turn().cleared == 2
    assert found() == {}
    assert set(Finding.objects.values_list("status", flat=True)) == {"cleared"}
