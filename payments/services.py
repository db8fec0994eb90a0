"""Taking money, giving it back, keeping credit back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from sagas.core.errors import TransactionRefusedError
from sagas.db.rows import insert_all, update_all
from sagas.log import outbox

from .errors import CardDeclined, CreditHeldAlready, CreditHoldEnded, CreditLimitExceeded, NoCredit, PaidAlready
from .events import (
    CreditHeld,
    CreditReleased,
    PaymentCaptured,
    PaymentDeclined,
    PaymentFailed,
    PaymentRefunded,
    PaymentReleased,
)
from .gateway import Charge, ChargeOrder, Gateway
from .gateways.fake import FakeGateway
from .models import CreditAccount, CreditHold, Payment


def gateway() -> Gateway:
    return FakeGateway()


@dataclass(frozen=True, kw_only=True)
class PaymentRequest:
    """What a customer owes for an order, and the key under which they are charged once.

    Attributes:
        amount_minor: minor units of `currency` (ISO 4217), > 0.
        key: fixed before the first call; the provider knows the payment by it.
    """

    order_id: UUID
    amount_minor: int
    currency: str
    method: str
    key: str


def capture(request: PaymentRequest, *, now: datetime) -> Payment:
    """Charge the customer once for an order.

    Transaction: refuses one; the provider's answer must not wait under row locks.
    Idempotent: by `request.key`, here and at the provider; a repeat returns the stored payment.

    Raises:
        CardDeclined: Rejected; the bank says no.
        PaidAlready: Rejected; the order was charged under another key.
        PaymentCancelled: Rejected; `refund` came first, under this key.
        UnknownPaymentMethod: Rejected; the provider does not take it.
        ProviderBusy: Retryable; nothing was charged.
        NoAnswer: OutcomeUnknown; `find_capture` tells what happened.
        TransactionRefusedError: called inside a transaction.
    """
    _refuse_transaction()
    captured = Payment.objects.filter(order_id=request.order_id, status=Payment.Status.CAPTURED)
    if captured.exclude(key=request.key).exists():
        raise PaidAlready(request.order_id)
    try:
        charge = gateway().charge(
            key=request.key, amount_minor=request.amount_minor, currency=request.currency, method=request.method
        )
    except CardDeclined as declined:
        _record_declined(request, declined.reason, now)
        raise
    return _record_captured(request, charge, now)


def capture_many(requests: Sequence[PaymentRequest], *, now: datetime) -> dict[UUID, Payment]:
    """Charge many customers once each; return the payments that surely were made, by order.

    Those left out may have been charged: `find_capture` tells.

    Transaction: refuses one; opens one to write down what the provider answered.
    Idempotent: by each `key`, here and at the provider.

    Raises:
        TransactionRefusedError: called inside a transaction.
    """
    _refuse_transaction()
    paid = set(
        Payment.objects.filter(
            order_id__in=[request.order_id for request in requests], status=Payment.Status.CAPTURED
        ).values_list("order_id", flat=True)
    )
    asked = {request.key: request for request in requests if request.order_id not in paid}
    charges = gateway().charge_many(
        [
            ChargeOrder(
                key=request.key, amount_minor=request.amount_minor, currency=request.currency, method=request.method
            )
            for request in asked.values()
        ]
    )
    payments = {key: _captured(asked[key], charge, now) for key, charge in charges.items()}
    with transaction.atomic():
        insert_all(list(payments.values()))
        outbox.emit(*map(_captured_event, payments.values()), now=now)
    return {payment.order_id: payment for payment in payments.values()}


def find_capture(request: PaymentRequest, *, now: datetime) -> Payment | None:
    """Ask the provider what became of an unanswered `capture`; None if nothing was charged.

    Transaction: refuses one.
    Idempotent: by `request.key`.

    Raises:
        CardDeclined: the bank said no.
        NoAnswer: still nobody knows.
    """
    _refuse_transaction()
    try:
        charge = gateway().find(key=request.key)
    except CardDeclined as declined:
        _record_declined(request, declined.reason, now)
        raise
    return None if charge is None else _record_captured(request, charge, now)


def refund(request: PaymentRequest, *, now: datetime) -> Payment | None:
    """Give back what was charged under the key; None if nothing was, and then nothing will be.

    Transaction: refuses one.
    Idempotent: by `request.key`, here and at the provider.

    Raises:
        NoAnswer: call it again.
    """
    _refuse_transaction()
    charge = gateway().refund(key=request.key)
    if charge is None:
        return None
    payment = _record_captured(request, charge, now)
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment.pk)
        if payment.status == Payment.Status.CAPTURED:
            payment.status, payment.refunded_at = Payment.Status.REFUNDED, now
            payment.save(update_fields=["status", "refunded_at"])
            outbox.emit(PaymentRefunded(**_facts(payment)), now=now)
    return payment


def hold_credit(
    *, order_id: UUID, customer_email: str, amount_minor: int, currency: str, key: str, now: datetime
) -> CreditHold:
    """Keep credit back for an order that is paid by invoice.

    Transaction: opens one.
    Idempotent: by `key`.

    Raises:
        CreditHeldAlready: Rejected; credit is held for the order under another key.
        CreditHoldEnded: Rejected; `release_credit` came first, under this key.
        NoCredit: Rejected; there is no account in this currency.
        CreditLimitExceeded: Rejected; the account has less left.
    """
    with transaction.atomic():
        # First the lock, then the look: a second try at the same moment waits here and finds what the first one did.
        account = (
            CreditAccount.objects.select_for_update()
            .filter(customer_email=customer_email.lower(), currency=currency)
            .first()
        )
        holds = CreditHold.objects.filter(order_id=order_id).filter(Q(key__in=(key, "")) | Q(status="held"))
        hold = holds.order_by("-pk").first()
        if hold is not None:
            return _repeat(hold, key)
        if account is None:
            raise NoCredit(customer_email)
        if account.available_minor < amount_minor:
            raise CreditLimitExceeded(
                wanted_minor=amount_minor, available_minor=account.available_minor, currency=currency
            )
        account.held_minor += amount_minor
        account.save(update_fields=["held_minor"])
        hold = CreditHold.objects.create(
            order_id=order_id, key=key, account=account, amount_minor=amount_minor, held_at=now
        )
        outbox.emit(_held_event(hold), now=now)
    return hold


@dataclass(frozen=True, kw_only=True)
class CreditRequest:
    """What `hold_credit` is asked for; `amount_minor` in minor units of `currency` (ISO 4217)."""

    order_id: UUID
    customer_email: str
    amount_minor: int
    currency: str
    key: str


def hold_credit_many(requests: Sequence[CreditRequest], *, now: datetime) -> dict[UUID, CreditHold]:
    """Keep credit back for many orders; return what is kept, by order. Whom the limit does not allow is left out.

    Transaction: opens one.
    Idempotent: by order; one that has or had credit already is left out.
    """
    with transaction.atomic():
        emails = {request.customer_email.lower() for request in requests}
        accounts = {
            (account.customer_email, account.currency): account
            for account in CreditAccount.objects.filter(customer_email__in=emails).order_by("pk").select_for_update()
        }
        known = set(
            CreditHold.objects.filter(order_id__in=[request.order_id for request in requests]).values_list(
                "order_id", flat=True
            )
        )
        holds: dict[UUID, CreditHold] = {}
        for request in requests:
            account = accounts.get((request.customer_email.lower(), request.currency))
            if account is None or request.order_id in known or account.available_minor < request.amount_minor:
                continue
            account.held_minor += request.amount_minor
            holds[request.order_id] = CreditHold(
                order_id=request.order_id,
                key=request.key,
                account=account,
                amount_minor=request.amount_minor,
                held_at=now,
            )
        update_all(list(accounts.values()), ["held_minor"])
        insert_all(list(holds.values()))
        outbox.emit(*map(_held_event, holds.values()), now=now)
    return holds


def _held_event(hold: CreditHold) -> CreditHeld:
    return CreditHeld(
        order_id=hold.order_id,
        customer_email=hold.account.customer_email,
        amount_minor=hold.amount_minor,
        currency=hold.account.currency,
    )


def release_credit(*, order_id: UUID, key: str, now: datetime) -> None:
    """Free the credit kept back for an order under a key; harmless where there is none.

    Transaction: opens one.
    Idempotent: by `key`.
    """
    with transaction.atomic():
        hold = (
            CreditHold.objects.select_for_update(of=("self",))
            .filter(order_id=order_id, key__in=(key, ""), status=CreditHold.Status.HELD)
            .first()
        )
        if hold is None:
            return
        account = CreditAccount.objects.select_for_update().get(pk=hold.account_id)
        account.held_minor -= hold.amount_minor
        account.save(update_fields=["held_minor"])
        hold.status, hold.released_at = CreditHold.Status.RELEASED, now
        hold.save(update_fields=["status", "released_at"])
        outbox.emit(
            CreditReleased(
                order_id=order_id,
                customer_email=account.customer_email,
                amount_minor=hold.amount_minor,
                currency=account.currency,
            ),
            now=now,
        )


def _repeat(hold: CreditHold, key: str) -> CreditHold:
    if hold.key not in (key, ""):
        raise CreditHeldAlready(hold.order_id)
    if hold.status == CreditHold.Status.RELEASED:
        raise CreditHoldEnded(hold.order_id)
    return hold


def give_up(*, order_id: UUID, reason: str, now: datetime) -> None:
    """Tell that an order will not be paid for, and why, as the customer reads it.

    Transaction: opens one.
    Idempotent: no; the caller tells it once.
    """
    with transaction.atomic():
        outbox.emit(PaymentFailed(order_id=order_id, reason=reason), now=now)


def tell_released(*, order_id: UUID, now: datetime) -> None:
    """Tell that nothing is charged or kept back for an order any more.

    Transaction: opens one.
    Idempotent: no; who hears it twice finds nothing left to do.
    """
    with transaction.atomic():
        outbox.emit(PaymentReleased(order_id=order_id), now=now)


def open_credit(*, customer_email: str, limit_minor: int, currency: str) -> CreditAccount:
    """Open a credit account.

    Idempotent: by `customer_email`; an account that stands is left as it is.
    """
    account, _ = CreditAccount.objects.get_or_create(
        customer_email=customer_email.lower(), defaults={"limit_minor": limit_minor, "currency": currency}
    )
    return account


def _refuse_transaction() -> None:
    if connection.in_atomic_block:
        raise TransactionRefusedError("a payment provider is never called inside a transaction")


def _captured(request: PaymentRequest, charge: Charge, now: datetime) -> Payment:
    # The books of the provider count, not what was asked for.
    return Payment(
        order_id=request.order_id,
        key=request.key,
        status=Payment.Status.CAPTURED,
        amount_minor=charge.amount_minor,
        currency=charge.currency,
        method=request.method,
        provider_reference=charge.reference,
        made_at=now,
    )


def _captured_event(payment: Payment) -> PaymentCaptured:
    return PaymentCaptured(method=payment.method, provider_reference=payment.provider_reference, **_facts(payment))


def _record_captured(request: PaymentRequest, charge: Charge, now: datetime) -> Payment:
    with transaction.atomic():
        # The books of the provider count, not what was asked for.
        payment, new = _payment(
            request,
            now,
            status=Payment.Status.CAPTURED,
            amount_minor=charge.amount_minor,
            currency=charge.currency,
            provider_reference=charge.reference,
        )
        if new:
            outbox.emit(_captured_event(payment), now=now)
    return payment


def _record_declined(request: PaymentRequest, reason: str, now: datetime) -> None:
    with transaction.atomic():
        payment, new = _payment(request, now, status=Payment.Status.DECLINED, reason=reason)
        if new:
            outbox.emit(PaymentDeclined(reason=payment.reason, **_facts(payment)), now=now)


def _payment(request: PaymentRequest, now: datetime, **answer: Any) -> tuple[Payment, bool]:
    """Write down what the provider answered, unless that was done before; say whether it is new."""
    asked = {name: value for name, value in asdict(request).items() if name != "key"}
    return Payment.objects.get_or_create(key=request.key, defaults=asked | {"made_at": now} | answer)


def _facts(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": payment.id,
        "order_id": payment.order_id,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    }
