"""Fulfils an order: reserve, pay, ship, confirm, notify the customer; or undo, and notify the customer.

The saga is at the bottom and reads like a table; above it are thin adapters from its steps to the contexts.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from backoffice.money import formatted
from inventory import services as inventory
from inventory.errors import OutOfStock
from notifications import services as notifications
from notifications.events import NotificationKind
from orders import services as orders
from orders.events import OrderPlaced
from payments import credit
from payments import selectors as payments_books
from payments import services as payments
from payments.selectors import INVOICE
from sagas.core.errors import FailureKind, Rejected
from sagas.core.retry import PATIENT, Retry
from sagas.core.saga import Call, Failure, Pivot, Result, Saga, Step

OrderCall = Call[OrderPlaced]
OrderCalls = Sequence[OrderCall]
#: Outcomes of calls: the result of each, or its exception, by `Call.id`.
Outcomes = Mapping[UUID, Result | Exception]
T = TypeVar("T")


def pays_by_invoice(order: OrderPlaced) -> bool:
    return order.payment_method == INVOICE


def pays_by_card(order: OrderPlaced) -> bool:
    return order.payment_method != INVOICE


def reserve_stock(calls: OrderCalls) -> Outcomes:
    requests = [
        inventory.StockRequest.of(
            order_id=call.input.order_id,
            quantities=[(line.sku, line.quantity) for line in call.input.lines],
            key=call.idempotency_key,
        )
        for call in calls
    ]
    outcomes = {
        order_id: outcome if isinstance(outcome, list) else _by_name(outcome, calls)
        for order_id, outcome in inventory.reserve_many(requests, now=calls[0].now).items()
    }
    return _outcomes(calls, outcomes, _pieces)


def _by_name(refusal: Rejected, calls: OrderCalls) -> Rejected:
    """Return the refusal with the name of the product: the warehouse knows only its SKU."""
    names = {line.sku: line.name for call in calls for line in call.input.lines}
    return refusal.called(names[refusal.sku]) if isinstance(refusal, OutOfStock) else refusal


def release_stock(call: OrderCall) -> Result:
    return _pieces(inventory.release(order_id=call.input.order_id, key=call.idempotency_key, now=call.now))


def hold_credit(calls: OrderCalls) -> Outcomes:
    requests = [
        credit.CreditRequest(
            order_id=call.input.order_id,
            customer_email=call.input.customer_email,
            amount_minor=call.input.total_minor,
            currency=call.input.currency,
            key=call.idempotency_key,
        )
        for call in calls
    ]
    return _outcomes(calls, credit.hold_credit_many(requests, now=calls[0].now), _held)


def release_credit(call: OrderCall) -> Result:
    credit.release_credit(order_id=call.input.order_id, key=call.idempotency_key, now=call.now)
    return None


def capture_payment(calls: OrderCalls) -> Outcomes:
    return _outcomes(calls, payments.capture_many([_payment(call) for call in calls], now=calls[0].now), _charged)


def find_capture(call: OrderCall) -> Result:
    payment = payments.find_capture(_payment(call), now=call.now)
    return None if payment is None else {**_charged(payment), "answer": "found by asking the provider"}


def refund(call: OrderCall) -> Result:
    payment = payments.refund(_payment(call), now=call.now)
    if payment is None:
        return {"refunded": "nothing, for nothing was charged"}
    return {"refunded": formatted(payment.amount_minor, payment.currency)}


def book_shipment(calls: OrderCalls) -> Outcomes:
    return _outcomes(
        calls, inventory.book_shipments([call.input.order_id for call in calls], now=calls[0].now), _tracked
    )


def confirm_order(calls: OrderCalls) -> Outcomes:
    return _outcomes(
        calls, orders.confirm_many([call.input.order_id for call in calls], now=calls[0].now), lambda _: None
    )


def notify_customer(calls: OrderCalls) -> Outcomes:
    queued = notifications.queue_many([_confirmation(call) for call in calls], now=calls[0].now)
    return _outcomes(calls, queued, _queued)


def close_order(call: OrderCall) -> Result:
    reason = reason_of(call.failure)
    decide = orders.cancel if _was_cancelled(call) else orders.reject
    decide(order_id=call.input.order_id, reason=reason, now=call.now)
    return {"reason": reason}


def tell_customer(call: OrderCall) -> Result:
    kind = NotificationKind.ORDER_CANCELLED if _was_cancelled(call) else NotificationKind.ORDER_REJECTED
    message = _message(call, kind, reason=reason_of(call.failure), **_given_back(call))
    return _queued(notifications.queue(message, now=call.now))


def _given_back(call: OrderCall) -> dict[str, str]:
    """Return the state of the customer's money, for a message; empty if none was taken.

    Money that was `kept` means that a person skipped the refund.
    """
    balances = payments_books.balances([call.input.order_id]).get(call.input.order_id, {})
    amounts = {
        "refunded": {currency: balance.refunded_minor for currency, balance in balances.items()},
        "kept": {currency: balance.kept_minor for currency, balance in balances.items()},
    }
    return {
        what: " and ".join(formatted(minor, currency) for currency, minor in by_currency.items())
        for what, by_currency in amounts.items()
        if any(by_currency.values())
    }


def _payment(call: OrderCall) -> payments.PaymentRequest:
    order = call.input
    return payments.PaymentRequest(
        order_id=order.order_id,
        amount_minor=order.total_minor,
        currency=order.currency,
        method=order.payment_method,
        key=call.idempotency_key,
    )


def _outcomes(calls: OrderCalls, by_order: Mapping[UUID, T | Exception], result: Callable[[T], Result]) -> Outcomes:
    """Return the outcomes of calls, from what a context returned by order."""
    outcomes: dict[UUID, Result | Exception] = {}
    for call in calls:
        if call.input.order_id in by_order:
            outcome = by_order[call.input.order_id]
            outcomes[call.id] = outcome if isinstance(outcome, Exception) else result(outcome)
    return outcomes


# Rows of other apps' tables, whose classes are not imported here.


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


def _was_cancelled(call: OrderCall) -> bool:
    return call.failure is not None and call.failure.kind == FailureKind.CANCELLED


def reason_of(failure: Failure | None) -> str:
    """Return the reason for the customer: the text of a refusal, or of the person who cancelled the order.

    Never the text of a technical error, nor the reason of a person's undo, which is for colleagues.
    """
    if failure is not None and failure.kind in (FailureKind.REJECTED, FailureKind.CANCELLED):
        return failure.message
    if failure is not None and failure.kind == FailureKind.UNDONE:
        return "We could not carry out your order."
    return "Something on our side did not work; please try again later."


def _confirmation(call: OrderCall) -> notifications.Message:
    # A person who shipped it by hand may not have given a tracking number.
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
        Step("reserve-stock", queue="inventory", run_many=reserve_stock, undo=release_stock),
        Step("hold-credit", queue="payments", run_many=hold_credit, undo=release_credit, when=pays_by_invoice),
        Step(
            "capture-payment",
            queue="payments",
            run_many=capture_payment,
            undo=refund,
            probe=find_capture,
            when=pays_by_card,
            outside=True,
            retry=Retry(attempts=5, base_seconds=0.5, cap_seconds=10),
        ),
        Pivot("book-shipment", queue="inventory", run_many=book_shipment),
        Step("confirm-order", queue="orders", run_many=confirm_order, retry=PATIENT),
        Step("notify-customer", queue="notifications", run_many=notify_customer, retry=PATIENT),
    ),
    after_undo=(
        Step("close-order", queue="orders", run=close_order, retry=PATIENT),
        Step("tell-customer", queue="notifications", run=tell_customer, retry=PATIENT),
    ),
)
