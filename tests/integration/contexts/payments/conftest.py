"""Calls to the services of payments with the usual arguments, and what they leave behind."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from payments import credit
from payments import services as payments
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from tests import one
from tests.factories.credit import CreditAccountFactory
from tests.factories.payments import PaymentRequestFactory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ORDER, OTHER = UUID(int=1), UUID(int=2)


def request(method: str, key: str, order_id: UUID = ORDER) -> payments.PaymentRequest:
    return PaymentRequestFactory.build(order_id=order_id, method=method, key=key)


def capture(method: str = "tok_visa", *, key: str = "k", order_id: UUID = ORDER, now: datetime = NOW) -> Payment:
    return one.capture(request(method, key, order_id), now=now)


def find(method: str = "tok_visa", *, key: str = "k") -> Payment | None:
    return payments.find_capture(request(method, key), now=LATER)


def refund(method: str = "tok_visa", *, key: str = "k") -> Payment | None:
    return payments.refund(request(method, key), now=LATER)


def stored() -> list[tuple[str, str]]:
    return list(Payment.objects.order_by("id").values_list("key", "status"))


def books() -> list[tuple[str, int]]:
    """Return what the provider has done, and how often it was asked to charge."""
    return list(FakeCharge.objects.order_by("id").values_list("status", "calls"))


# Credit -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def account(db: None) -> CreditAccount:
    return credit.open_credit(customer_email="Ada@Example.com", limit_minor=5000, currency="GBP")


@pytest.fixture
def committed_account(transactional_db: None) -> CreditAccount:
    return CreditAccountFactory.create(limit_minor=5000)


def key_of(order_id: UUID) -> str:
    return f"run of {order_id}:hold-credit"


def hold(amount_minor: int = 2000, *, order_id: UUID = ORDER, now: datetime = NOW, **more: Any) -> CreditHold:
    asked: dict[str, Any] = {"customer_email": "ADA@example.com", "currency": "GBP", "key": key_of(order_id)} | more
    return one.hold_credit(credit.CreditRequest(order_id=order_id, amount_minor=amount_minor, **asked), now=now)


def release(order_id: UUID = ORDER, *, key: str | None = None) -> None:
    credit.release_credit(order_id=order_id, key=key or key_of(order_id), now=LATER)


def kept_back() -> int:
    return CreditAccount.objects.get().held_minor
