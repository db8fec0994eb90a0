"""Events of money."""

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
    """The bank declined the charge."""

    type: ClassVar[str] = "payments.payment_declined"
    example: ClassVar[Data] = {**_PAYMENT, "reason": "The card was declined."}

    reason: str


class PaymentRefunded(_PaymentEvent):
    """The customer got the money back."""

    type: ClassVar[str] = "payments.payment_refunded"
    example: ClassVar[Data] = _PAYMENT


class _OrderEvent(IntegrationEvent):
    aggregate: ClassVar[str] = "order_payment"

    order_id: UUID

    @property
    def subject_id(self) -> str:
        return str(self.order_id)


class PaymentFailed(_OrderEvent):
    """An order will not be paid, with the reason for the customer; a charge may remain to be refunded."""

    type: ClassVar[str] = "payments.payment_failed"
    example: ClassVar[Data] = {"order_id": _MONEY["order_id"], "reason": "Your card was declined."}

    reason: str


class PaymentReleased(_OrderEvent):
    """For this order nothing is charged or held any more, and nothing will be."""

    type: ClassVar[str] = "payments.payment_released"
    example: ClassVar[Data] = {"order_id": _MONEY["order_id"]}


def credit_account_id(*, customer_email: str, currency: str) -> str:
    """Return the subject of a credit account's events; it does not show the customer's address."""
    account = f"credit account of {customer_email} in {currency}"
    return hashlib.md5(account.encode(), usedforsecurity=False).hexdigest()


class _CreditEvent(IntegrationEvent):
    """An event of a credit account, which outlives its orders; its key is the order, as for all events of the order."""

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
    """Credit is held for an order."""

    type: ClassVar[str] = "payments.credit_held"
    example: ClassVar[Data] = _CREDIT


class CreditReleased(_CreditEvent):
    """The held credit is released."""

    type: ClassVar[str] = "payments.credit_released"
    example: ClassVar[Data] = _CREDIT
