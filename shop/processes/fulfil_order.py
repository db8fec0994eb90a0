"""An order is reserved, paid, shipped, confirmed and told about; or undone, and told about.

The saga stands at the bottom and reads like its table; above it, thin adapters from its steps to the contexts.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from inventory import services as inventory
from notifications import services as notifications
from notifications.events import NotificationKind
from orders import services as orders
from orders.events import OrderPlaced
from payments import services as payments
from payments.selectors import INVOICE
from sagas.core.errors import FailureKind as Failed
from sagas.core.retry import PATIENT, Retry
from sagas.core.saga import Call, Failure, Pivot, Result, Saga, Step
from shop.money import formatted

OrderCall = Call[OrderPlaced]
OrderCalls = Sequence[OrderCall]
#: Of a set-based step: the results of what it did, by run.
Results = Mapping[UUID, Result]
T = TypeVar("T")


def pays_by_invoice(order: OrderPlaced) -> bool:
    return order.payment_method == INVOICE


def pays_by_card(order: OrderPlaced) -> bool:
    return order.payment_method != INVOICE


def reserve_stock(call: OrderCall) -> Result:
    quantities = [(line.sku, line.quantity) for line in call.input.lines]
    return _pieces(
        inventory.reserve(order_id=call.input.order_id, quantities=quantities, key=call.idempotency_key, now=call.now)
    )


def reserve_stock_many(calls: OrderCalls) -> Results:
    asked = [
        inventory.StockRequest.of(
            order_id=call.input.order_id,
            quantities=[(line.sku, line.quantity) for line in call.input.lines],
            key=call.idempotency_key,
        )
        for call in calls
    ]
    return _results(calls, inventory.reserve_many(asked, now=calls[0].now), _pieces)


def release_stock(call: OrderCall) -> Result:
    return _pieces(inventory.release(order_id=call.input.order_id, key=call.idempotency_key, now=call.now))


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
    return _held(hold)


def hold_credit_many(calls: OrderCalls) -> Results:
    asked = [
        payments.CreditRequest(
            order_id=call.input.order_id,
            customer_email=call.input.customer_email,
            amount_minor=call.input.total_minor,
            currency=call.input.currency,
            key=call.idempotency_key,
        )
        for call in calls
    ]
    return _results(calls, payments.hold_credit_many(asked, now=calls[0].now), _held)


def release_credit(call: OrderCall) -> Result:
    payments.release_credit(order_id=call.input.order_id, key=call.idempotency_key, now=call.now)
    return None


def capture(call: OrderCall) -> Result:
    return _charged(payments.capture(_payment(call), now=call.now))


def capture_many(calls: OrderCalls) -> Results:
    captured = payments.capture_many([_payment(call) for call in calls], now=calls[0].now)
    return _results(calls, captured, _charged)


def find_capture(call: OrderCall) -> Result:
    payment = payments.find_capture(_payment(call), now=call.now)
    return None if payment is None else {**_charged(payment), "answer": "found by asking the provider"}


def refund(call: OrderCall) -> Result:
    payment = payments.refund(_payment(call), now=call.now)
    if payment is None:
        return {"refunded": "nothing, for nothing was charged"}
    return {"refunded": formatted(payment.amount_minor, payment.currency)}


def book_shipment(call: OrderCall) -> Result:
    return _tracked(inventory.book_shipment(order_id=call.input.order_id, now=call.now))


def book_shipments(calls: OrderCalls) -> Results:
    parcels = inventory.book_shipments([call.input.order_id for call in calls], now=calls[0].now)
    return _results(calls, parcels, _tracked)


def confirm_order(call: OrderCall) -> Result:
    orders.confirm(order_id=call.input.order_id, now=call.now)
    return None


def confirm_orders(calls: OrderCalls) -> Results:
    confirmed = orders.confirm_many([call.input.order_id for call in calls], now=calls[0].now)
    return {call.id: None for call in calls if call.input.order_id in confirmed}


def notify_customer(call: OrderCall) -> Result:
    return _tell(call, _confirmation(call))


def notify_customers(calls: OrderCalls) -> Results:
    queued = notifications.queue_many([_confirmation(call) for call in calls], now=calls[0].now)
    return _results(calls, queued, _queued)


def close_order(call: OrderCall) -> Result:
    reason = reason_of(call.failure)
    decide = orders.cancel if _was_called_off(call) else orders.reject
    decide(order_id=call.input.order_id, reason=reason, now=call.now)
    return {"reason": reason}


def tell_customer(call: OrderCall) -> Result:
    kind = NotificationKind.ORDER_CANCELLED if _was_called_off(call) else NotificationKind.ORDER_REJECTED
    return _tell(call, _message(call, kind, reason=reason_of(call.failure)))


def _payment(call: OrderCall) -> payments.PaymentRequest:
    order = call.input
    return payments.PaymentRequest(
        order_id=order.order_id,
        amount_minor=order.total_minor,
        currency=order.currency,
        method=order.payment_method,
        key=call.idempotency_key,
    )


def _results(calls: OrderCalls, done: Mapping[UUID, T], result: Callable[[T], Result]) -> Results:
    """Return the results of what was done, by run; `done` is by order."""
    return {call.id: result(done[call.input.order_id]) for call in calls if call.input.order_id in done}


# Rows of other apps' tables, which have no name here.


def _pieces(reservations: Sequence[Any]) -> Result:
    return {"skus": len(reservations), "pieces": sum(reservation.quantity for reservation in reservations)}


def _held(hold: Any) -> Result:
    return {"held": formatted(hold.amount_minor, hold.account.currency)}


def _charged(payment: Any) -> dict[str, str]:
    return {"payment_id": str(payment.id), "charged": formatted(payment.amount_minor, payment.currency)}


def _tracked(parcel: Any) -> Result:
    return {"tracking_number": parcel.tracking_number}


def _queued(notification: Any) -> Result:
    return {"queued": f"{notification.channel} to {notification.recipient}"}


def _was_called_off(call: OrderCall) -> bool:
    return call.failure is not None and call.failure.kind == Failed.CANCELLED


def reason_of(failure: Failure | None) -> str:
    """Say why, as the customer reads it: the words of the business, or of the person who called it off.

    Never those of a broken machine, nor the reason for which a person had it undone, which is for colleagues.
    """
    if failure is not None and failure.kind in (Failed.REJECTED, Failed.CANCELLED):
        return failure.message
    if failure is not None and failure.kind == Failed.UNDONE:
        return "We could not carry out your order."
    return "Something on our side did not work; please try again later."


def _tell(call: OrderCall, message: notifications.Message) -> Result:
    return _queued(
        notifications.queue(
            order_id=message.order_id,
            kind=message.kind,
            recipient=message.recipient,
            context=message.context,
            now=call.now,
        )
    )


def _confirmation(call: OrderCall) -> notifications.Message:
    # Somebody who shipped it by hand may have had no number to give.
    return _message(call, NotificationKind.ORDER_CONFIRMED, **call.results.get("book-shipment", {}))


def _message(call: OrderCall, kind: NotificationKind, **more: str) -> notifications.Message:
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
    return notifications.Message(order_id=order.order_id, kind=kind, recipient=order.customer_email, context=context)


fulfil_order = Saga(
    "fulfil-order",
    input=OrderPlaced,
    deadline=timedelta(hours=24),
    steps=(
        Step("reserve-stock", queue="inventory", run=reserve_stock, many=reserve_stock_many, undo=release_stock),
        Step(
            "hold-credit",
            queue="payments",
            run=hold_credit,
            many=hold_credit_many,
            undo=release_credit,
            when=pays_by_invoice,
        ),
        Step(
            "capture-payment",
            queue="payments",
            run=capture,
            many=capture_many,
            undo=refund,
            probe=find_capture,
            when=pays_by_card,
            outside=True,
            retry=Retry(attempts=5, base_seconds=0.5, cap_seconds=10),
        ),
        Pivot("book-shipment", queue="inventory", run=book_shipment, many=book_shipments),
        Step("confirm-order", queue="orders", run=confirm_order, many=confirm_orders, retry=PATIENT),
        Step("notify-customer", queue="notifications", run=notify_customer, many=notify_customers, retry=PATIENT),
    ),
    after_undo=(
        Step("close-order", queue="orders", run=close_order, retry=PATIENT),
        Step("tell-customer", queue="notifications", run=tell_customer, retry=PATIENT),
    ),
)
