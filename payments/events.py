"""What happens to money."""

from typing import ClassVar
from uuid import UUID

from sagas.events import DomainEvent


class _PaymentEvent(DomainEvent):
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

    method: str
    provider_reference: str


class PaymentDeclined(_PaymentEvent):
    """The bank said no."""

    type: ClassVar[str] = "payments.payment_declined"

    reason: str


class PaymentRefunded(_PaymentEvent):
    """The customer has their money back."""

    type: ClassVar[str] = "payments.payment_refunded"


class _CreditEvent(DomainEvent):
    aggregate: ClassVar[str] = "credit_hold"

    order_id: UUID
    customer_email: str
    amount_minor: int
    currency: str

    @property
    def subject_id(self) -> str:
        return str(self.order_id)


class CreditHeld(_CreditEvent):
    """Credit is kept back for an order."""

    type: ClassVar[str] = "payments.credit_held"


class CreditReleased(_CreditEvent):
    """The credit is free again."""

    type: ClassVar[str] = "payments.credit_released"
