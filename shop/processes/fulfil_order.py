"""An order is reserved, paid, shipped, confirmed and told about; or undone, and told about.

The saga stands at the bottom and reads like its table; above it, thin adapters from its steps to the contexts.
"""

from datetime import timedelta
from uuid import UUID

from inventory import services as inventory
from notifications import services as notifications
from notifications.events import Kind
from orders import services as orders
from orders.events import OrderPlaced
from payments import services as payments
from payments.selectors import INVOICE
from sagas.definition import Call, Pivot, Result, Saga, Step
from sagas.errors import Kind as Failed
from sagas.retry import PATIENT, Retry
from shop.money import formatted

OrderCall = Call[OrderPlaced]


def pays_by_invoice(order: OrderPlaced) -> bool:
    return order.payment_method == INVOICE


def pays_by_card(order: OrderPlaced) -> bool:
    return order.payment_method != INVOICE


def reserve_stock(call: OrderCall) -> Result:
    quantities = [(line.sku, line.quantity) for line in call.input.lines]
    reservations = inventory.reserve(
        order_id=call.input.order_id, quantities=quantities, key=call.idempotency_key, now=call.now
    )
    return {"skus": len(reservations), "pieces": sum(reservation.quantity for reservation in reservations)}


def release_stock(call: OrderCall) -> Result:
    released = inventory.release(order_id=call.input.order_id, key=call.idempotency_key, now=call.now)
    return {"skus": len(released), "pieces": sum(reservation.quantity for reservation in released)}


def hold_credit(call: OrderCall) -> Result:
    order = call.input
    hold = payments.hold_credit(
        order_id=order.order_id,
        customer_email=order.customer_email,
        amount_minor=order.total_minor,
        currency=order.currency,
        key=call.idempotency_key,
        now=call.now,
    )
    return {"held": formatted(hold.amount_minor, order.currency)}


def release_credit(call: OrderCall) -> Result:
    payments.release_credit(order_id=call.input.order_id, key=call.idempotency_key, now=call.now)
    return None


def capture(call: OrderCall) -> Result:
    payment = payments.capture(_payment(call), now=call.now)
    return _charged(payment.id, payment.amount_minor, payment.currency)


def find_capture(call: OrderCall) -> Result:
    payment = payments.find_capture(_payment(call), now=call.now)
    if payment is None:
        return None
    found = _charged(payment.id, payment.amount_minor, payment.currency)
    return found | {"answer": "found by asking the provider"}


def refund(call: OrderCall) -> Result:
    payment = payments.refund(_payment(call), now=call.now)
    if payment is None:
        return {"refunded": "nothing, for nothing was charged"}
    return {"refunded": formatted(payment.amount_minor, payment.currency)}


def book_shipment(call: OrderCall) -> Result:
    parcel = inventory.book_shipment(order_id=call.input.order_id, now=call.now)
    return {"tracking_number": parcel.tracking_number}


def confirm_order(call: OrderCall) -> Result:
    orders.confirm(order_id=call.input.order_id, now=call.now)
    return None


def notify_customer(call: OrderCall) -> Result:
    # Somebody who shipped it by hand may have had no number to give.
    return _tell(call, Kind.ORDER_CONFIRMED, **call.results.get("book-shipment", {}))


def reject_order(call: OrderCall) -> Result:
    reason = _reason(call)
    decide = orders.cancel if _was_called_off(call) else orders.reject
    decide(order_id=call.input.order_id, reason=reason, now=call.now)
    return {"reason": reason}


def tell_customer(call: OrderCall) -> Result:
    kind = Kind.ORDER_CANCELLED if _was_called_off(call) else Kind.ORDER_REJECTED
    return _tell(call, kind, reason=_reason(call))


def _payment(call: OrderCall) -> payments.PaymentRequest:
    order = call.input
    return payments.PaymentRequest(
        order_id=order.order_id,
        amount_minor=order.total_minor,
        currency=order.currency,
        method=order.payment_method,
        key=call.idempotency_key,
    )


def _charged(payment_id: UUID, amount_minor: int, currency: str) -> dict[str, str]:
    return {"payment_id": str(payment_id), "charged": formatted(amount_minor, currency)}


def _was_called_off(call: OrderCall) -> bool:
    return call.failure is not None and call.failure.kind == Failed.CANCELLED


def _reason(call: OrderCall) -> str:
    """Say why, as the customer reads it: the words of the business or a person, never those of a broken machine."""
    failure = call.failure
    if failure is not None and failure.kind in (Failed.REJECTED, Failed.CANCELLED):
        return failure.message
    return "Something on our side did not work; please try again later."


def _tell(call: OrderCall, kind: Kind, **more: str) -> Result:
    order = call.input
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
    notification = notifications.queue(
        order_id=order.order_id, kind=kind, recipient=order.customer_email, context=context, now=call.now
    )
    return {"queued": f"{notification.channel} to {notification.recipient}"}


fulfil_order = Saga(
    "fulfil-order",
    input=OrderPlaced,
    deadline=timedelta(hours=24),
    steps=(
        Step("reserve-stock", queue="inventory", run=reserve_stock, undo=release_stock),
        Step("hold-credit", queue="payments", run=hold_credit, undo=release_credit, when=pays_by_invoice),
        Step(
            "capture-payment",
            queue="payments",
            run=capture,
            undo=refund,
            probe=find_capture,
            when=pays_by_card,
            outside=True,
            retry=Retry(attempts=5, base_seconds=0.5, cap_seconds=10),
        ),
        Pivot("book-shipment", queue="inventory", run=book_shipment),
        Step("confirm-order", queue="orders", run=confirm_order, retry=PATIENT),
        Step("notify-customer", queue="notifications", run=notify_customer, retry=PATIENT),
    ),
    undone=(
        Step("reject-order", queue="orders", run=reject_order, retry=PATIENT),
        Step("tell-customer", queue="notifications", run=tell_customer, retry=PATIENT),
    ),
)
