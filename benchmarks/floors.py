"""The floors: the same rows as the flow leaves, written by one process that does nothing else.

No step, no claim, no retry: each row is written once, in its final state. This is the minimum cost of the database and
the ORM.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from backoffice.money import formatted
from inventory.events import Held, ShipmentBooked, StockReserved
from inventory.models import Parcel, Reservation, StockItem
from notifications.events import NotificationKind, NotificationQueued, NotificationSent
from notifications.models import Notification
from orders.events import OrderConfirmed, OrderPlaced
from orders.models import Order
from payments.events import PaymentCaptured
from payments.models import FakeCharge, Payment
from sagas.core.events import DomainEvent
from sagas.db import clock
from sagas.log import followers
from sagas.models import Delivery, Event, Run, StepRun
from shop.processes.fulfil_order import fulfil_order

#: Orders of one transaction.
PORTION = 500


def by_the_orm(orders: Sequence[dict[str, Any]]) -> None:
    """Write everything with `bulk_create`, `bulk_update` and `update`."""
    for begin in range(0, len(orders), PORTION):
        with transaction.atomic():
            _write(
                [OrderPlaced.read(order, version=OrderPlaced.version) for order in orders[begin : begin + PORTION]],
                clock.now(),
            )


@dataclass(kw_only=True)
class _Rows:
    """The rows of one order."""

    order: OrderPlaced
    run: Run
    charge: FakeCharge
    payment: Payment
    parcel: Parcel
    notification: Notification


def _write(orders: Sequence[OrderPlaced], now: datetime) -> None:
    keys = [str(order.order_id) for order in orders]
    placed = {event.key: event for event in Event.objects.filter(key__in=keys, type=OrderPlaced.type)}
    rows = [_rows_of(order, placed[key], now) for order, key in zip(orders, keys, strict=True)]
    _ship(orders, [row.run.id for row in rows], now)
    FakeCharge.objects.bulk_create(row.charge for row in rows)
    for row in rows:
        row.payment.provider_reference = f"fake_{row.charge.pk}"
    Payment.objects.bulk_create(row.payment for row in rows)
    Parcel.objects.bulk_create(row.parcel for row in rows)
    Order.objects.filter(id__in=[order.order_id for order in orders]).update(
        status=Order.Status.CONFIRMED, decided_at=now
    )
    Notification.objects.bulk_create(row.notification for row in rows)
    told = [event for row in rows for event in _events_of(row, placed, now)]
    for place, event in enumerate((*placed.values(), *told), followers.head() + 1):
        event.log_position, event.relayed_at = place, now
    Event.objects.bulk_update(placed.values(), ("log_position", "relayed_at"))
    events = Event.objects.bulk_create(told)
    Run.objects.bulk_create(row.run for row in rows)
    StepRun.objects.bulk_create(step for row in rows for step in _steps_of(row.run, now))
    Delivery.objects.bulk_create(
        Delivery(
            event=event, subscription="send-notification", key=event.key, status="done", attempts=1,
            started_at=now, finished_at=now,
        )
        for event in events
        if event.type == NotificationQueued.type
    )  # fmt: skip


def _ship(orders: Sequence[OrderPlaced], run_ids: Sequence[UUID], now: datetime) -> None:
    """Take the goods out of the stock; the reservations are over."""
    quantities: dict[str, int] = defaultdict(int)
    for order in orders:
        for line in order.lines:
            quantities[line.sku] += line.quantity
    items = list(StockItem.objects.filter(sku__in=quantities).order_by("sku").select_for_update())
    for item in items:
        item.on_hand -= quantities[item.sku]
    StockItem.objects.bulk_update(items, ["on_hand"])
    Reservation.objects.bulk_create(
        Reservation(
            order_id=order.order_id, key=f"{run_id}:reserve-stock", sku=line.sku, quantity=line.quantity,
            status=Reservation.Status.SHIPPED, reserved_at=now, ended_at=now,
        )
        for order, run_id in zip(orders, run_ids, strict=True)
        for line in order.lines
    )  # fmt: skip


def _rows_of(order: OrderPlaced, event: Event, now: datetime) -> _Rows:
    run = Run(
        saga=fulfil_order.name, definition_hash=fulfil_order.definition_hash, key=event.key, status="completed",
        place=len(fulfil_order.steps) - 1, pivot_place=fulfil_order.pivot_place, input=event.data, event_id=event.id,
        correlation_id=event.correlation_id, started_at=now, finished_at=now,
    )  # fmt: skip
    key = f"{run.id}:capture-payment"
    charge = FakeCharge(
        key=key, status="charged", amount_minor=order.total_minor, currency=order.currency,
        method=order.payment_method, calls=1,
    )  # fmt: skip
    payment = Payment(
        order_id=order.order_id, key=key, status="captured", amount_minor=order.total_minor, currency=order.currency,
        method=order.payment_method, made_at=now,
    )  # fmt: skip
    parcel = Parcel(order_id=order.order_id, booked_at=now)
    parcel.tracking_number = f"PX{parcel.id.hex[-14:].upper()}"
    total = formatted(order.total_minor, order.currency)
    notification = Notification(
        order_id=order.order_id, kind=NotificationKind.ORDER_CONFIRMED, recipient=order.customer_email, status="sent",
        context=_context(order, parcel.tracking_number, total), queued_at=now, sent_at=now,
    )  # fmt: skip
    run.results = {
        "reserve-stock": {"skus": len(order.lines), "pieces": sum(line.quantity for line in order.lines)},
        "capture-payment": {"payment_id": str(payment.id), "charged": total},
        "book-shipment": {"tracking_number": parcel.tracking_number},
        "notify-customer": {"queued": f"email to {order.customer_email}"},
    }
    return _Rows(order=order, run=run, charge=charge, payment=payment, parcel=parcel, notification=notification)


def _context(order: OrderPlaced, tracking_number: str, total: str) -> dict[str, Any]:
    lines = [
        {
            "quantity": line.quantity,
            "name": line.name,
            "total": formatted(line.quantity * line.unit_price_minor, order.currency),
        }
        for line in order.lines
    ]
    return {
        "number": order.number,
        "name": order.customer_name,
        "total": total,
        "lines": lines,
        "tracking_number": tracking_number,
    }


def _steps_of(run: Run, now: datetime) -> list[StepRun]:
    """Return the plan with all steps done; credit is not held for payments by card."""
    names = [step.name for step in fulfil_order.steps]
    following = dict(zip(range(len(names)), [2, None, 3, 4, 5, None], strict=True))
    return [
        StepRun(
            run=run, place=place, name=name, step=name, idempotency_key=f"{run.id}:{name}",
            next_place=following[place], status="skipped" if name == "hold-credit" else "done",
            attempts=0 if name == "hold-credit" else 1,
            started_at=None if name == "hold-credit" else now, finished_at=None if name == "hold-credit" else now,
        )
        for place, name in enumerate(names)
    ]  # fmt: skip


def _events_of(rows: _Rows, placed: dict[str, Event], now: datetime) -> list[Event]:
    order, notification = rows.order, rows.notification
    held = tuple(Held(sku=line.sku, quantity=line.quantity) for line in order.lines)
    about = {
        "notification_id": notification.id,
        "order_id": order.order_id,
        "kind": notification.kind,
        "channel": notification.channel,
    }
    events: list[tuple[DomainEvent, int]] = [
        (StockReserved(order_id=order.order_id, lines=held), 1),
        (
            PaymentCaptured(
                payment_id=rows.payment.id, order_id=order.order_id, amount_minor=order.total_minor,
                currency=order.currency, method=order.payment_method,
                provider_reference=rows.payment.provider_reference,
            ),
            1,
        ),
        (ShipmentBooked(order_id=order.order_id, lines=held, tracking_number=rows.parcel.tracking_number), 2),
        (OrderConfirmed(order_id=order.order_id, number=order.number), 2),
        (NotificationQueued(**about), 1),
        (NotificationSent(**about), 2),
    ]  # fmt: skip
    return [_event(event, sequence, placed[str(order.order_id)], now) for event, sequence in events]


def _event(event: DomainEvent, sequence: int, cause: Event, now: datetime) -> Event:
    return Event(
        type=event.type, version=event.version, aggregate=event.aggregate, subject=event.subject_id, sequence=sequence,
        key=event.key, data=event.model_dump(mode="json"), correlation_id=cause.correlation_id, causation_id=cause.id,
        occurred_at=now,
    )  # fmt: skip
