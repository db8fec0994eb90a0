"""The steps of an order as plain functions, for those that run them without our engine.

They call the services that the saga calls, with the same values, so the same rows and events are written.
"""

from collections.abc import Callable
from uuid import UUID

from backoffice.money import formatted
from inventory import services as inventory
from notifications import services as notifications
from notifications.events import NotificationKind
from orders import services as orders
from orders.events import OrderPlaced
from payments import services as payments
from sagas.core.outcomes import only
from sagas.db import clock


def reserve(order: OrderPlaced, key: str) -> None:
    quantities = [(line.sku, line.quantity) for line in order.lines]
    request = inventory.StockRequest.of(order_id=order.order_id, quantities=quantities, key=f"{key}:reserve-stock")
    only(inventory.reserve_many([request], now=clock.now()))


def release(order: OrderPlaced, key: str) -> None:
    inventory.release(order_id=order.order_id, key=f"{key}:reserve-stock", now=clock.now())


def capture(order: OrderPlaced, key: str) -> None:
    only(payments.capture_many([_payment(order, key)], now=clock.now()))


def refund(order: OrderPlaced, key: str) -> None:
    payments.refund(_payment(order, key), now=clock.now())


def ship(order: OrderPlaced) -> str:
    """Return the tracking number."""
    return only(inventory.book_shipments([order.order_id], now=clock.now())).tracking_number


def confirm(order: OrderPlaced) -> None:
    only(orders.confirm_many([order.order_id], now=clock.now()))


def notify(order: OrderPlaced, tracking_number: str) -> str:
    """Return the id of the notification."""
    return str(_tell(order, NotificationKind.ORDER_CONFIRMED, tracking_number=tracking_number))


def send(notification_id: str) -> None:
    only(notifications.send_many([UUID(notification_id)], now=clock.now()))


def reject(order: OrderPlaced, reason: str) -> str:
    """Return the id of the notification."""
    orders.reject(order_id=order.order_id, reason=reason, now=clock.now())
    return str(_tell(order, NotificationKind.ORDER_REJECTED, reason=reason))


def fulfil(order: OrderPlaced, key: str) -> None:
    """Take all steps, one after the other; undo them in reverse when one fails before the parcel is booked."""
    undo: list[Callable[[OrderPlaced, str], None]] = [release]
    try:
        reserve(order, key)
        undo.append(refund)
        capture(order, key)
        tracking_number = ship(order)
    except Exception as error:
        for back in reversed(undo):
            back(order, key)
        send(reject(order, str(error)))
        raise
    confirm(order)
    send(notify(order, tracking_number))


def _payment(order: OrderPlaced, key: str) -> payments.PaymentRequest:
    return payments.PaymentRequest(
        order_id=order.order_id,
        amount_minor=order.total_minor,
        currency=order.currency,
        method=order.payment_method,
        key=f"{key}:capture-payment",
    )


def _tell(order: OrderPlaced, kind: NotificationKind, **more: str) -> UUID:
    context = {
        "number": order.number,
        "name": order.customer_name,
        "total": formatted(order.total_minor, order.currency),
        "lines": [
            {
                "quantity": line.quantity,
                "name": line.name,
                "total": formatted(line.quantity * line.unit_price_minor, order.currency),
            }
            for line in order.lines
        ],
        **more,
    }
    message = notifications.Message(order_id=order.order_id, kind=kind, recipient=order.customer_email, context=context)
    queued = notifications.queue(message, now=clock.now())
    return queued.id
