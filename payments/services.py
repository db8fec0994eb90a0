"""Taking money, giving it back, keeping credit back."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from sagas import outbox
from sagas.errors import TransactionRefusedError

from .errors import CardDeclined, CreditLimitExceeded, NoCredit, PaidAlready
from .events import CreditHeld, CreditReleased, PaymentCaptured, PaymentDeclined, PaymentRefunded
from .gateway import Charge, Gateway
from .gateways.fake import FakeGateway
from .models import CreditAccount, CreditHold, Payment


def gateway() -> Gateway:
    return FakeGateway()


def capture(*, order_id: UUID, amount_minor: int, currency: str, method: str, key: str, now: datetime) -> Payment:
    """Charge the customer once for an order.

    Transaction: refuses one; the provider's answer must not wait under row locks.
    Idempotent: by `key`, here and at the provider; a repeat returns the stored payment.

    Args:
        amount_minor: minor units of `currency` (ISO 4217), > 0.

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
    if Payment.objects.filter(order_id=order_id, status=Payment.Status.CAPTURED).exclude(key=key).exists():
        raise PaidAlready(order_id)
    try:
        charge = gateway().charge(key=key, amount_minor=amount_minor, currency=currency, method=method)
    except CardDeclined as declined:
        _record_declined(
            order_id=order_id,
            amount_minor=amount_minor,
            currency=currency,
            method=method,
            key=key,
            reason=declined.reason,
            made_at=now,
        )
        raise
    return _record_captured(order_id, charge, method, key, now)


def find_capture(
    *, order_id: UUID, amount_minor: int, currency: str, method: str, key: str, now: datetime
) -> Payment | None:
    """Ask the provider what became of an unanswered `capture`; None if nothing was charged.

    Transaction: refuses one.
    Idempotent: by `key`.

    Raises:
        CardDeclined: the bank said no.
        NoAnswer: still nobody knows.
    """
    _refuse_transaction()
    try:
        charge = gateway().find(key=key)
    except CardDeclined as declined:
        _record_declined(
            order_id=order_id,
            amount_minor=amount_minor,
            currency=currency,
            method=method,
            key=key,
            reason=declined.reason,
            made_at=now,
        )
        raise
    return None if charge is None else _record_captured(order_id, charge, method, key, now)


def refund(*, order_id: UUID, method: str, key: str, now: datetime) -> Payment | None:
    """Give back what was charged under `key`; None if nothing was, and then nothing will be.

    Transaction: refuses one.
    Idempotent: by `key`, here and at the provider.

    Raises:
        NoAnswer: call it again.
    """
    _refuse_transaction()
    charge = gateway().refund(key=key)
    if charge is None:
        return None
    payment = _record_captured(order_id, charge, method, key, now)
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(pk=payment.pk)
        if payment.status == Payment.Status.CAPTURED:
            payment.status, payment.refunded_at = Payment.Status.REFUNDED, now
            payment.save(update_fields=["status", "refunded_at"])
            outbox.emit(PaymentRefunded(**_facts(payment)), now=now)
    return payment


def hold_credit(*, order_id: UUID, customer_email: str, amount_minor: int, currency: str, now: datetime) -> CreditHold:
    """Keep credit back for an order that is paid by invoice.

    Transaction: opens one.
    Idempotent: by `order_id`.

    Raises:
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
        hold = CreditHold.objects.filter(order_id=order_id).first()
        if hold is not None:
            return hold
        if account is None:
            raise NoCredit(customer_email)
        if account.available_minor < amount_minor:
            raise CreditLimitExceeded(
                wanted_minor=amount_minor, available_minor=account.available_minor, currency=currency
            )
        account.held_minor += amount_minor
        account.save(update_fields=["held_minor"])
        hold = CreditHold.objects.create(order_id=order_id, account=account, amount_minor=amount_minor, held_at=now)
        outbox.emit(
            CreditHeld(
                order_id=order_id, customer_email=account.customer_email, amount_minor=amount_minor, currency=currency
            ),
            now=now,
        )
    return hold


def release_credit(*, order_id: UUID, now: datetime) -> None:
    """Free the credit kept back for an order; harmless where there is none.

    Transaction: opens one.
    Idempotent: by `order_id`.
    """
    with transaction.atomic():
        hold = (
            CreditHold.objects.select_for_update(of=("self",))
            .filter(order_id=order_id, status=CreditHold.Status.HELD)
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


def _record_captured(order_id: UUID, charge: Charge, method: str, key: str, now: datetime) -> Payment:
    with transaction.atomic():
        payment, new = Payment.objects.get_or_create(
            key=key,
            defaults={
                "order_id": order_id,
                "status": Payment.Status.CAPTURED,
                "amount_minor": charge.amount_minor,
                "currency": charge.currency,
                "method": method,
                "provider_reference": charge.reference,
                "made_at": now,
            },
        )
        if new:
            outbox.emit(PaymentCaptured(method=method, provider_reference=charge.reference, **_facts(payment)), now=now)
    return payment


def _record_declined(**payment_fields: Any) -> None:
    with transaction.atomic():
        key, now = payment_fields.pop("key"), payment_fields["made_at"]
        payment, new = Payment.objects.get_or_create(
            key=key, defaults={"status": Payment.Status.DECLINED, **payment_fields}
        )
        if new:
            outbox.emit(PaymentDeclined(reason=payment.reason, **_facts(payment)), now=now)


def _facts(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": payment.id,
        "order_id": payment.order_id,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    }
