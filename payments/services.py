"""Services of money: charge and refund. Credit has its own services: `credit`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from sagas.core.errors import TransactionRefusedError
from sagas.db.rows import insert_missing
from sagas.log import outbox

from .errors import CardDeclined, PaidAlready, PaymentCancelled
from .events import PaymentCaptured, PaymentDeclined, PaymentFailed, PaymentRefunded, PaymentReleased
from .gateway import Charge, ChargeOrder, gateway
from .models import Payment


@dataclass(frozen=True, kw_only=True)
class PaymentRequest(ChargeOrder):
    """A request to charge a customer for an order once, by its key."""

    order_id: UUID


def capture_many(requests: Sequence[PaymentRequest], *, now: datetime) -> dict[UUID, Payment | Exception]:
    """Charge customers once each for their orders. Return the payment, or why there is none, by order.

    Reasons: `CardDeclined`, the bank declined it; `PaidAlready`, the order was charged under another key;
    `PaymentCancelled`, `refund` came first, under this key; `UnknownPaymentMethod`; `ProviderBusy`, nothing was
    charged; `NoAnswer`. One order alone waits for the provider's answer. Of many, one without an outcome has no answer
    yet: it may have been charged, and `find_capture` returns the outcome.

    Transaction: refuses one, for the provider's answer must not wait under row locks; opens one to write the answers
        down.
    Idempotent: by each `key`, here and at the provider; a repeat returns the stored payment.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    _refuse_transaction()
    captured = Payment.objects.filter(
        order_id__in=[request.order_id for request in requests], status=Payment.Status.CAPTURED
    )
    key_of = dict(captured.values_list("order_id", "key"))
    paid = {request.order_id for request in requests if key_of.get(request.order_id, request.key) != request.key}
    asked = {request.key: request for request in requests if request.order_id not in paid}
    answers = gateway().charge_many(list(asked.values()))
    outcomes: dict[UUID, Payment | Exception] = {order_id: PaidAlready(order_id) for order_id in paid}
    outcomes |= {asked[key].order_id: answer for key, answer in answers.items() if isinstance(answer, Exception)}
    return outcomes | _record({asked[key]: answer for key, answer in answers.items()}, now)


def find_capture(request: PaymentRequest, *, now: datetime) -> Payment | None:
    """Ask the provider for the outcome of an unanswered `capture_many`; None if nothing was charged.

    Transaction: refuses one.
    Idempotent: by `request.key`.

    Raises:
        CardDeclined: the bank declined it.
        NoAnswer: the outcome is still unknown.
        PaidAlready: the order was charged under another key since; this charge is refunded.
        PaymentCancelled: this charge was refunded.
    """
    _refuse_transaction()
    try:
        charge = gateway().find(key=request.key)
    except CardDeclined as declined:
        _record({request: declined}, now)
        raise
    if charge is None:
        return None
    payment = None if charge.refunded else _record({request: charge}, now).get(request.order_id)
    if payment is None:
        refund(request, now=now)
        if Payment.objects.filter(order_id=request.order_id, status=Payment.Status.CAPTURED).exists():
            raise PaidAlready(request.order_id)
        raise PaymentCancelled(request.key)
    return payment


def refund(request: PaymentRequest, *, now: datetime) -> Payment | None:
    """Refund the charge under the key; None if there is none, and then a later charge is refused.

    Transaction: refuses one.
    Idempotent: by `request.key`, here and at the provider.

    Raises:
        NoAnswer: call it again.
    """
    _refuse_transaction()
    if (charge := gateway().refund(key=request.key)) is None or (payment := _row(request, charge, now)) is None:
        return None
    payment.status, payment.refunded_at = Payment.Status.REFUNDED, now
    with transaction.atomic():
        if new := insert_missing([payment], unique=["key"]):
            outbox.emit(_event(payment), now=now)
        captured = Payment.objects.filter(key=request.key, status=Payment.Status.CAPTURED)
        refunded = new or captured.update(status=Payment.Status.REFUNDED, refunded_at=now)
        payment = Payment.objects.get(key=request.key)
        if refunded:
            outbox.emit(PaymentRefunded(**_facts(payment)), now=now)
    return payment


def give_up(*, order_id: UUID, reason: str, now: datetime) -> None:
    """Publish that an order will not be paid, with the reason for the customer.

    Transaction: opens one.
    Idempotent: no; the caller publishes it once.
    """
    with transaction.atomic():
        outbox.emit(PaymentFailed(order_id=order_id, reason=reason), now=now)


def tell_released(*, order_id: UUID, now: datetime) -> None:
    """Publish that for an order nothing is charged or held any more.

    Transaction: opens one.
    Idempotent: no; its readers are idempotent.
    """
    with transaction.atomic():
        outbox.emit(PaymentReleased(order_id=order_id), now=now)


def _refuse_transaction() -> None:
    if connection.in_atomic_block:
        raise TransactionRefusedError("a payment provider is never called inside a transaction")


def _record(answers: Mapping[PaymentRequest, Charge | Exception], now: datetime) -> dict[UUID, Payment]:
    """Write the provider's charges and declines, and publish them; return the new payments, by order.

    Payments that were written before are not changed. A charge of an order that is paid under another key is left out.
    """
    rows = [_row(request, answer, now) for request, answer in answers.items()]
    answered = {row.key: row for row in rows if row is not None}
    with transaction.atomic():
        new = insert_missing(list(answered.values()))
        outbox.emit(*(_event(row) for row in answered.values() if row.pk in new), now=now)
        if len(new) < len(answered):
            answered = {row.key: row for row in Payment.objects.filter(key__in=answered)}
    return {row.order_id: row for row in answered.values() if row.status != Payment.Status.DECLINED}


def _row(request: PaymentRequest, answer: Charge | Exception, now: datetime) -> Payment | None:
    """Return the payment of an answer; None if the answer is neither a charge nor a decline."""
    payment = Payment(order_id=request.order_id, key=request.key, method=request.method, made_at=now)
    if isinstance(answer, Charge):  # The books of the provider count, not the request.
        payment.status, payment.provider_reference = Payment.Status.CAPTURED, answer.reference
        payment.amount_minor, payment.currency = answer.amount_minor, answer.currency
    elif isinstance(answer, CardDeclined):
        payment.status, payment.reason = Payment.Status.DECLINED, answer.reason
        payment.amount_minor, payment.currency = request.amount_minor, request.currency
    return payment if payment.status else None


def _event(payment: Payment) -> PaymentCaptured | PaymentDeclined:
    if payment.status == Payment.Status.DECLINED:
        return PaymentDeclined(reason=payment.reason, **_facts(payment))
    return PaymentCaptured(method=payment.method, provider_reference=payment.provider_reference, **_facts(payment))


def _facts(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": payment.id,
        "order_id": payment.order_id,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    }
