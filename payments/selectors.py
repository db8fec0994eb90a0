"""Questions about money."""

from uuid import UUID

from django.db.models import QuerySet

from .gateways.fake import FakeGateway
from .models import CreditHold, Payment

#: The method of customers who pay later, from their credit.
INVOICE = "invoice"


def methods() -> tuple[str, ...]:
    """Return every way to pay."""
    return (*FakeGateway.methods, INVOICE)


def payments(order_id: UUID) -> QuerySet[Payment]:
    return Payment.objects.filter(order_id=order_id).order_by("made_at")


def credit_hold(order_id: UUID) -> CreditHold | None:
    return CreditHold.objects.select_related("account").filter(order_id=order_id).order_by("-pk").first()
