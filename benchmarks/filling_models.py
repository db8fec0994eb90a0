"""The model orders of a filled database: one of each kind, placed and driven to its end."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Model, QuerySet

from inventory import services as inventory
from inventory.models import Parcel, Reservation
from notifications.models import Notification
from orders import services
from orders.models import Order, OrderLine
from payments.credit import open_credit
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from sagas.core.ids import new_id
from sagas.core.statuses import Action
from sagas.models import Attempt, Delivery, Event, Intervention, Run, StepRun
from sagas.operations import interventions
from sagas.testing import drive, run_chain

from .sequences import reserve_ids

#: Where in a UUIDv7 the milliseconds begin.
MS_AT = 80
PRODUCTS, _ACCOUNTS = 200, 1000
#: Placeholders in the model orders for values that differ from order to order, without characters that JSON escapes.
EMAIL, NAME, _KEY = "model@filling.example", "Model Of Filling", "filling-model-key"
SKUS, TITLES = ("FILLING-MODEL-A", "FILLING-MODEL-B"), ("First model of filling", "Second model of filling")
_PRICES = (1295, 6450)


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """One kind of order: its share in percent, and how the model is placed."""

    share: int
    lines: tuple[tuple[str, int], ...]
    method: str = "tok_visa"
    key: str | None = None
    called_off: bool = False


SKU_A, SKU_B = SKUS
KINDS = (
    _Kind(share=45, lines=((SKU_A, 2),)),
    _Kind(share=35, lines=((SKU_A, 1), (SKU_B, 1)), key=_KEY),
    _Kind(share=5, lines=((SKU_B, 3),), method="tok_flaky"),
    _Kind(share=6, lines=((SKU_B, 1),), method="invoice"),
    _Kind(share=5, lines=((SKU_A, 1), (SKU_B, 2)), method="tok_chargeDeclined"),
    _Kind(share=2, lines=((SKU_A, services.MAX_QUANTITY),)),
    _Kind(share=2, lines=((SKU_A, 1),), method="tok_flaky", called_off=True),
)


def shelves_and_accounts() -> range:
    """Write the products with their stock, and the credit accounts; return the ids of the accounts."""
    services.add_products(zip(SKUS, TITLES, _PRICES, strict=True), currency=settings.CURRENCY)
    services.add_products(
        ((f"FILL-{n:04}", f"Article {n}", _PRICES[n % 2]) for n in range(PRODUCTS)), currency=settings.CURRENCY
    )
    inventory.receive(dict.fromkeys((*SKUS, *(f"FILL-{n:04}" for n in range(PRODUCTS))), 100))
    open_credit(customer_email=EMAIL, limit_minor=10**12, currency=settings.CURRENCY)
    first = reserve_ids(CreditAccount, _ACCOUNTS)
    CreditAccount.objects.bulk_create(
        CreditAccount(pk=pk, customer_email=f"account{pk}@example.com", limit_minor=10**12, currency=settings.CURRENCY)
        for pk in range(first, first + _ACCOUNTS)
    )
    return range(first, first + _ACCOUNTS)


class _Ticking:
    """A clock that advances with each reading."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=7)
        return self.now


def placed_model(kind: _Kind, at: datetime) -> Order:
    """Place an order of this kind and drive it to its end."""
    now = _Ticking(at)
    order = services.place(
        customer_email=EMAIL,
        customer_name=NAME,
        payment_method=kind.method,
        lines=[services.LineRequest(sku=sku, quantity=quantity) for sku, quantity in kind.lines],
        idempotency_key=f"{kind.key}-{new_id()}" if kind.key else None,
        now=at,
    )
    drive(now=now)
    if kind.called_off:
        _call_off(Run.objects.get(key=str(order.id)), now)
    while Run.objects.filter(key=str(order.id), finished_at=None).exists():
        now.now += timedelta(seconds=1)
        drive(now=now)
    drive(now=now)
    order.refresh_from_db()
    return order


def _call_off(run: Run, now: Callable[[], datetime]) -> None:
    batch = interventions.ask([run], Action.CANCEL, reason="Ordered twice.", by="filling", now=now())
    for wake_up in interventions.work(batch=batch, now=now()).wake_ups:
        run_chain(wake_up, now=now)


Rows = Mapping[type[Model], Sequence[Any]]


def rows_of(order: Order) -> Rows:
    """Return all rows of one order, by their table."""
    run = Run.objects.get(key=str(order.id))
    found: tuple[QuerySet[Any], ...] = (
        Order.objects.filter(pk=order.pk),
        OrderLine.objects.filter(order=order),
        Event.objects.filter(key=str(order.id)),
        Run.objects.filter(pk=run.pk),
        StepRun.objects.filter(run=run),
        Delivery.objects.filter(key=str(order.id)),
        Attempt.objects.filter(step__run=run),
        Intervention.objects.filter(key=run.key),
        Reservation.objects.filter(order_id=order.id),
        Parcel.objects.filter(order_id=order.id),
        FakeCharge.objects.filter(key__startswith=str(run.id)),
        Payment.objects.filter(order_id=order.id),
        CreditHold.objects.filter(order_id=order.id),
        Notification.objects.filter(order_id=order.id),
    )
    return {rows.model: list(rows.order_by("pk")) for rows in found}


def with_events(rows: Rows, count: int) -> Rows:
    """Return the rows with this many events: the last one, "message sent", is repeated.

    Their order in the log is the order in which they are written.
    """
    events = [copy(event) for event in rows[Event]]
    while len(events) < count:
        events.append(_told_again(events[-1]))
    for event in events:
        event.log_position = event.position
    return {**rows, Event: events}


def _told_again(event: Event) -> Event:
    """Return a copy of the event half a second later."""
    later = timedelta(milliseconds=500)
    again = copy(event)
    again.id = UUID(int=event.id.int + (later // timedelta(milliseconds=1) << MS_AT))
    again.position, again.sequence = event.position + 1, event.sequence + 1
    again.occurred_at, again.relayed_at = event.occurred_at + later, event.occurred_at + 2 * later
    return again


def uuids_of(rows: Rows) -> list[UUID]:
    """Return the ids that belong to an order."""
    values = (value for found in rows.values() for row in found for value in vars(row).values())
    return sorted({value for value in values if isinstance(value, UUID)})
