"""A customer's orders in rows that need no join: lines, status, and parcel."""

from collections.abc import Sequence
from functools import singledispatch
from typing import Any
from uuid import UUID

from backoffice.customers import identity
from inventory.events import ShipmentBooked
from notifications.events import NotificationSent
from orders.events import OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected
from payments.events import PaymentCaptured, PaymentRefunded
from sagas.core.read_model import ReadModel, Recorded
from sagas.db.rows import insert_all, update_all

from ..models import CustomerOrder

_CHANGING = ("status", "reason", "decided_at", "paid", "tracking_number", "told_at")


def apply(events: Sequence[Recorded]) -> None:
    """Apply these events to the rows of their orders: three statements, however many events."""
    new: dict[UUID, CustomerOrder] = {}
    for each in events:
        if isinstance(each.event, OrderPlaced):
            new[each.event.order_id] = _placed(each.event, each)
    asked = {order_id for each in events if (order_id := _order_of(each)) not in new}
    old = CustomerOrder.objects.in_bulk(list(asked))
    for each in events:
        row = new.get(_order_of(each)) or old.get(_order_of(each))
        if row is not None:
            _change(each.event, row, each)
    insert_all(list(new.values()))
    update_all(list(old.values()), _CHANGING)


def of_customer(email: str, *, limit: int) -> list[CustomerOrder]:
    """Return the newest orders of a customer; one statement."""
    mine = CustomerOrder.objects.filter(customer_email=identity(email))
    return list(mine.order_by("-placed_at", "-number")[:limit])


def _order_of(recorded: Recorded) -> UUID:
    return UUID(recorded.key)


def _placed(order: OrderPlaced, recorded: Recorded) -> CustomerOrder:
    return CustomerOrder(
        order_id=order.order_id,
        number=order.number,
        customer_email=identity(order.customer_email),
        status="pending",
        reason="",
        currency=order.currency,
        total_minor=order.total_minor,
        contents=", ".join(f"{line.quantity} x {line.name}" for line in order.lines),
        placed_at=recorded.occurred_at,
        tracking_number="",
    )


@singledispatch
def _change(_event: Any, _row: CustomerOrder, _recorded: Recorded) -> None:
    """Apply an event to the row of its order."""


@_change.register
def _(_: OrderConfirmed, row: CustomerOrder, recorded: Recorded) -> None:
    row.status, row.decided_at = "confirmed", recorded.occurred_at


@_change.register
def _(event: OrderRejected, row: CustomerOrder, recorded: Recorded) -> None:
    row.status, row.reason, row.decided_at = "rejected", event.reason, recorded.occurred_at


@_change.register
def _(event: OrderCancelled, row: CustomerOrder, recorded: Recorded) -> None:
    row.status, row.reason, row.decided_at = "cancelled", event.reason, recorded.occurred_at


@_change.register
def _(_: PaymentCaptured, row: CustomerOrder, __: Recorded) -> None:
    row.paid = True


@_change.register
def _(_: PaymentRefunded, row: CustomerOrder, __: Recorded) -> None:
    row.paid = False


@_change.register
def _(event: ShipmentBooked, row: CustomerOrder, _: Recorded) -> None:
    row.tracking_number = event.tracking_number


@_change.register
def _(_: NotificationSent, row: CustomerOrder, recorded: Recorded) -> None:
    row.told_at = recorded.occurred_at


order_list = ReadModel(
    "order-list",
    events=(
        OrderPlaced,
        OrderConfirmed,
        OrderRejected,
        OrderCancelled,
        PaymentCaptured,
        PaymentRefunded,
        ShipmentBooked,
        NotificationSent,
    ),
    tables=(CustomerOrder,),
    apply=apply,
)
