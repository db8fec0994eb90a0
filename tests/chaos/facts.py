"""What stands in the tables and in the mail folder at the end, gathered by order."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Sum

from inventory.models import Parcel, Reservation, StockItem
from notifications.models import Notification
from orders.models import Order, OrderLine
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from sagas.models import Delivery, Event, Run, StepRun
from shop.wiring import CHOREOGRAPHY

T = TypeVar("T")
#: A reaction that gave up with something following from it is over as well.
_OVER = ("done", "failed")
#: A killed PostgreSQL is back within seconds; these last for half a minute.
_TRIES = 300
_NOBODY = UUID(int=0)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One message as it arrived; `kind` is that of the notification whose id it bears, empty if there is none."""

    id: str
    kind: str
    to: str
    text: str


@dataclass(kw_only=True)
class OrderFacts:
    """All that any table says of one order."""

    id: UUID
    key: str
    number: str
    status: str
    reason: str
    email: str
    method: str
    total_minor: int
    placed_at: datetime
    decided_at: datetime | None
    lines: dict[str, int] = field(default_factory=dict)
    #: (status, amount) of each charge in the provider's own books.
    charges: list[tuple[str, int]] = field(default_factory=list)
    #: (status, amount, when) of each payment in ours.
    payments: list[tuple[str, int, datetime]] = field(default_factory=list)
    #: (status, amount, when) of each credit hold.
    holds: list[tuple[str, int, datetime]] = field(default_factory=list)
    #: (SKU, pieces, status)
    reservations: list[tuple[str, int, str]] = field(default_factory=list)
    #: (tracking number, when booked)
    parcels: list[tuple[str, datetime]] = field(default_factory=list)
    #: (status, failure)
    runs: list[tuple[str, dict[str, Any] | None]] = field(default_factory=list)
    #: (subscription, status, error) of each reaction of its choreography
    reactions: list[tuple[str, str, str]] = field(default_factory=list)
    #: (kind, status)
    notifications: list[tuple[str, str]] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.number} ({self.key})"


@dataclass(kw_only=True)
class Facts:
    """All that stands at the end.

    Attributes:
        stock: SKU → (on hand, reserved).
        credit: customer → (held by the account, held by its orders), minor units.
        strays: rows and mails that belong to no order.
        left_over: sentences about what should have ended.
    """

    orders: list[OrderFacts]
    stock: dict[str, tuple[int, int]]
    credit: dict[str, tuple[int, int]]
    strays: list[str]
    left_over: list[str]


def steadily(question: Callable[[], T]) -> T:
    """Ask the database, again on a new connection when the server went away meanwhile."""
    for _ in range(_TRIES):
        try:
            return question()
        except (OperationalError, InterfaceError):
            connection.close()
            time.sleep(0.1)
    return question()


def anything_left() -> bool:
    """Say whether something is still to be done, at the price of three questions."""
    return (
        _open_runs().exists()
        or Event.objects.filter(log_position=None).exists()
        or Delivery.objects.exclude(status__in=_OVER).exists()
    )


def left_over() -> list[str]:
    """Say what has not ended; empty once all is quiet."""
    found = [f"{run} is {run.status}: {run.attention or run.failure or ''}" for run in _open_runs()]
    found += [f"event {event} was not relayed" for event in Event.objects.filter(log_position=None)]
    found += [
        f"delivery of {owed.event} to {owed.subscription} is {owed.status}: {owed.error}"
        for owed in Delivery.objects.exclude(status__in=_OVER).select_related("event")
    ]
    found += [
        f"step {step.name} of {step.run}, which is {step.run.status}, is {step.status}"
        for step in StepRun.objects.filter(run__status__in=["completed", "undone"])
        .filter(status__in=["pending", "running", "unknown", "undoing"])
        .select_related("run")
    ]
    return found


def _open_runs() -> Any:
    return Run.objects.exclude(status__in=["completed", "undone"])


def read(mail_folder: Path) -> Facts:
    """Read everything; the shop must be quiet."""
    by_id = {order.id: order for order in _orders()}
    strays: list[str] = []

    def gather(
        attribute: str, rows: Iterable[Any], value: Callable[[Any], Any], order_id: Callable[[Any], UUID | None]
    ) -> None:
        for row in rows:
            order = by_id.get(order_id(row) or _NOBODY)
            if order is None:
                strays.append(f"{attribute} of no order: {row}")
            else:
                getattr(order, attribute).append(value(row))

    def own(row: Any) -> UUID:
        return UUID(str(row.order_id))

    run_keys = {str(pk): UUID(key) for pk, key in Run.objects.values_list("pk", "key")}
    notified = {str(row.pk): row for row in Notification.objects.all()}
    for line in OrderLine.objects.all():
        by_id[line.order_id].lines[line.sku] = line.quantity
    gather("runs", Run.objects.all(), lambda row: (row.status, row.failure), lambda row: UUID(row.key))
    gather(
        "charges",
        FakeCharge.objects.all(),
        lambda row: (row.status, row.amount_minor),
        lambda row: run_keys.get(row.key.partition(":")[0], _order_of(row.key)),
    )
    gather(
        "reactions",
        Delivery.objects.filter(subscription__in=CHOREOGRAPHY),
        lambda row: (row.subscription, row.status, row.error),
        lambda row: UUID(row.key),
    )
    gather("payments", Payment.objects.all(), lambda row: (row.status, row.amount_minor, row.made_at), own)
    gather("holds", CreditHold.objects.all(), lambda row: (row.status, row.amount_minor, row.held_at), own)
    gather("reservations", Reservation.objects.all(), lambda row: (row.sku, row.quantity, row.status), own)
    gather("parcels", Parcel.objects.all(), lambda row: (row.tracking_number, row.booked_at), own)
    gather("notifications", notified.values(), lambda row: (row.kind, row.status), own)
    gather(
        "mails",
        _mails(mail_folder, notified),
        lambda mail: mail,
        lambda mail: notified[mail.id].order_id if mail.id in notified else None,
    )
    return Facts(
        orders=list(by_id.values()),
        stock={item.sku: (item.on_hand, item.reserved) for item in StockItem.objects.all()},
        credit=_credit(),
        strays=strays,
        left_over=left_over(),
    )


def _order_of(key: str) -> UUID | None:
    """Return the order in a key of the choreography, `order id:step`."""
    order_id, _, _ = key.partition(":")
    return UUID(order_id) if len(order_id) == 36 else None


def _orders() -> Iterator[OrderFacts]:
    for order in Order.objects.all():
        yield OrderFacts(
            id=order.id,
            key=order.idempotency_key or "",
            number=order.number,
            status=order.status,
            reason=order.reason,
            email=order.customer_email,
            method=order.payment_method,
            total_minor=order.total_minor,
            placed_at=order.placed_at,
            decided_at=order.decided_at,
        )


def _mails(folder: Path, notified: Mapping[str, Notification]) -> Iterator[Mail]:
    for path in sorted(folder.glob("*.eml")):
        message = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        mail_id = str(message["Message-ID"]).strip("<>").removesuffix("@shop")
        body = message.get_body(("plain",))
        yield Mail(
            id=mail_id,
            kind=notified[mail_id].kind if mail_id in notified else "",
            to=str(message["To"]),
            text="" if body is None else str(body.get_content()),
        )


def _credit() -> dict[str, tuple[int, int]]:
    held: dict[int, int] = defaultdict(int)
    for hold in CreditHold.objects.filter(status="held").values("account").annotate(total=Sum("amount_minor")):
        held[hold["account"]] = hold["total"]
    return {account.customer_email: (account.held_minor, held[account.pk]) for account in CreditAccount.objects.all()}
