"""What contexts do for many, for one: each returns the outcome, or raises it."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from inventory import services as inventory
from inventory.models import Parcel, Reservation
from notifications import services as notifications
from notifications.models import Notification
from orders import services as orders
from orders.models import Order
from payments import credit
from payments import services as payments
from payments.models import CreditHold, Payment
from sagas.core.outcomes import only


def reserve(*, order_id: UUID, quantities: Iterable[tuple[str, int]], key: str, now: datetime) -> list[Reservation]:
    request = inventory.StockRequest.of(order_id=order_id, quantities=quantities, key=key)
    return only(inventory.reserve_many([request], now=now))


def book_shipment(*, order_id: UUID, now: datetime) -> Parcel:
    return only(inventory.book_shipments([order_id], now=now))


def hold_credit(request: credit.CreditRequest, *, now: datetime) -> CreditHold:
    return only(credit.hold_credit_many([request], now=now))


def capture(request: payments.PaymentRequest, *, now: datetime) -> Payment:
    return only(payments.capture_many([request], now=now))


def confirm(*, order_id: UUID, now: datetime) -> Order:
    return only(orders.confirm_many([order_id], now=now))


def send(*, notification_id: UUID, now: datetime) -> Notification:
    return only(notifications.send_many([notification_id], now=now))
