"""The rows of the four contexts about an order, as entries of its timeline."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from backoffice.money import formatted
from inventory import selectors as inventory
from notifications import selectors as notifications
from payments import selectors as payments

from .entries import Entry
from .words import seconds_between, words


def effects(order_id: UUID) -> Iterator[Entry]:
    """Yield the entries of the four contexts, in no order."""
    yield from _reservations(order_id)
    yield from _payments(order_id)
    yield from _credit(order_id)
    yield from _notifications(order_id)


def _reservations(order_id: UUID) -> Iterator[Entry]:
    """Yield one entry for all goods that were held, or ended, at one moment: an order may have hundreds of lines."""
    moments: dict[tuple[datetime, str], dict[str, int]] = defaultdict(dict)
    for reservation in inventory.reservations(order_id):
        moments[reservation.reserved_at, "held"][reservation.sku] = reservation.quantity
        if reservation.ended_at is not None:
            moments[reservation.ended_at, reservation.status][reservation.sku] = reservation.quantity
    for (at, status), quantities in moments.items():
        shown = [f"{quantity} x {sku}" for sku, quantity in list(quantities.items())[:5]]
        more = [f"and {len(quantities) - 5} more"] if len(quantities) > 5 else []
        yield Entry(
            at=at,
            kind="reservation",
            title=f"Stock {status}",
            status=status,
            detail=", ".join(shown + more),
            data={"quantities": quantities},
        )


def _payments(order_id: UUID) -> Iterator[Entry]:
    for payment in payments.payments(order_id):
        amount = formatted(payment.amount_minor, payment.currency)
        data = {"id": str(payment.id), "key": payment.key, "provider_reference": payment.provider_reference}
        declined = payment.status == "declined"
        yield Entry(
            at=payment.made_at,
            kind="payment",
            title="Payment declined" if declined else "Payment captured",
            status="declined" if declined else "captured",
            detail=f"{amount} by {payment.method}{': ' if payment.reason else ''}{payment.reason}",
            data=data,
        )
        if payment.refunded_at is not None:
            yield Entry(
                at=payment.refunded_at,
                kind="payment",
                title="Payment refunded",
                status="refunded",
                detail=f"{amount} to {payment.method}",
                data=data,
            )


def _credit(order_id: UUID) -> Iterator[Entry]:
    hold = payments.credit_hold(order_id)
    if hold is None:
        return
    detail = f"{formatted(hold.amount_minor, hold.account.currency)} of {hold.account.customer_email}"
    yield Entry(at=hold.held_at, kind="payment", title="Credit held", status="held", detail=detail)
    if hold.released_at is not None:
        yield Entry(at=hold.released_at, kind="payment", title="Credit released", status="released", detail=detail)


def _notifications(order_id: UUID) -> Iterator[Entry]:
    for notification in notifications.notifications(order_id):
        yield Entry(
            at=notification.sent_at or notification.queued_at,
            kind="notification",
            title=f"Message “{words(notification.kind).lower()}” {notification.status}",
            status=notification.status,
            detail=f"{notification.channel} to {notification.recipient}",
            duration_seconds=seconds_between(notification.queued_at, notification.sent_at),
            data={"id": str(notification.id), "channel": notification.channel, "recipient": notification.recipient},
        )
