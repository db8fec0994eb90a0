"""What happens to money."""

import hashlib
from typing import ClassVar
from uuid import UUID

from sagas.core.events import Data, IntegrationEvent

_MONEY: Data = {"order_id": "01a2133d-0634-7601-8156-ed54c8ee7b63", "amount_minor": 2000, "currency": "GBP"}
_PAYMENT: Data = {"payment_id": "01a2133d-0638-7c12-a2f4-03c6f7d1b9aa", **_MONEY}
_CREDIT: Data = {**_MONEY, "customer_email": "credit@example.com"}


class _PaymentEvent(IntegrationEvent):
    aggregate: ClassVar[str] = "payment"

    payment_id: UUID
    order_id: UUID
    amount_minor: int
    currency: str

    @property
    def subject_id(self) -> str:
        return str(self.payment_id)

    @property
    def key(self) -> str:
        return str(self.order_id)


class PaymentCaptured(_PaymentEvent):
    """The customer was charged."""

    type: ClassVar[str] = "payments.payment_captured"
    example: ClassVar[Data] = {**_PAYMENT, "method": "tok_visa", "provider_reference": "fake_42"}

    method: str
    provider_reference: str


class PaymentDeclined(_PaymentEvent):
    """The bank said no."""

    type: ClassVar[str] = "payments.payment_declined"
    example: ClassVar[Data] = {**_PAYMENT, "reason": "The card was declined."}

    reason: str


class PaymentRefunded(_PaymentEvent):
    """The customer has their money back."""

    type: ClassVar[str] = "payments.payment_refunded"
    example: ClassVar[Data] = _PAYMENT


class _OrderEvent(IntegrationEvent):
    aggregate: ClassVar[str] = "order_payment"

    order_id: UUID

    @property
    def subject_id(self) -> str:
        return str(self.order_id)


class PaymentFailed(_OrderEvent):
    """An order will not be paid for, and why, as the customer reads it; a charge may be left to be given back."""

    type: ClassVar[str] = "payments.payment_failed"
    example: ClassVar[Data] = {"order_id": _MONEY["order_id"], "reason": "Your card was declined."}

    reason: str


class PaymentReleased(_OrderEvent):
    """Nothing is charged or kept back for an order any more, and nothing will be."""

    type: ClassVar[str] = "payments.payment_released"
    example: ClassVar[Data] = {"order_id": _MONEY["order_id"]}


def credit_account_id(*, customer_email: str, currency: str) -> str:
    """Return the subject of a credit account's events; it does not show the customer's address."""
    account = f"credit account of {customer_email} in {currency}"
    return hashlib.md5(account.encode(), usedforsecurity=False).hexdigest()


class _CreditEvent(IntegrationEvent):
    """It happens to an account, which outlives its orders; order is kept by the order, as for all its events."""

    aggregate: ClassVar[str] = "credit_account"

    order_id: UUID
    customer_email: str
    amount_minor: int
    currency: str

    @property
    def subject_id(self) -> str:
        return credit_account_id(customer_email=self.customer_email, currency=self.currency)

    @property
    def key(self) -> str:
        return str(self.order_id)


class CreditHeld(_CreditEvent):
    """Credit is kept back for an order."""

    type: ClassVar[str] = "payments.credit_held"
    example: ClassVar[Data] = _CREDIT


class CreditReleased(_CreditEvent):
    """The credit is free again."""

    type: ClassVar[str] = "payments.credit_released"
    example: ClassVar[Data] = _CREDIT
