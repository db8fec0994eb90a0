"""Services of customers' credit: open an account, hold credit for an order, release it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from backoffice.customers import identity
from backoffice.money import currency_code
from sagas.core.errors import Rejected
from sagas.db.rows import insert_all, update_all
from sagas.log import outbox

from .errors import CreditHeldAlready, CreditHoldEnded, CreditLimitExceeded, NoCredit
from .events import CreditHeld, CreditReleased
from .models import CreditAccount, CreditHold


def open_credit(*, customer_email: str, limit_minor: int, currency: str) -> CreditAccount:
    """Open a credit account.

    Idempotent: by `customer_email`; an existing account is not changed.

    Raises:
        UnknownCurrency: ISO 4217 does not list it.
    """
    account, _ = CreditAccount.objects.get_or_create(
        customer_email=identity(customer_email),
        defaults={"limit_minor": limit_minor, "currency": currency_code(currency)},
    )
    return account


@dataclass(frozen=True, kw_only=True)
class CreditRequest:
    """A request to hold credit for an order; `amount_minor` in minor units of `currency` (ISO 4217)."""

    order_id: UUID
    customer_email: str
    amount_minor: int
    currency: str
    key: str


def hold_credit_many(requests: Sequence[CreditRequest], *, now: datetime) -> dict[UUID, CreditHold | Rejected]:
    """Hold credit for orders that are paid by invoice. Return the hold, or the refusal, by order.

    Refusals: `CreditHeldAlready`, under another key; `CreditHoldEnded`, `release_credit` came first, under this key;
    `NoCredit`, there is no account in this currency; `CreditLimitExceeded`.

    Transaction: opens one.
    Idempotent: by `key`; a repeat returns the hold.
    """
    with transaction.atomic():
        # Lock first, then read: a concurrent second try waits here, and then finds the rows of the first.
        accounts = _locked_accounts({request.customer_email for request in requests})
        earlier: dict[UUID, list[CreditHold]] = defaultdict(list)
        for hold in CreditHold.objects.filter(order_id__in=[request.order_id for request in requests]).order_by("pk"):
            earlier[hold.order_id].append(hold)
        new: dict[UUID, CreditHold] = {}
        outcomes: dict[UUID, CreditHold | Rejected] = {}
        for request in requests:
            account = accounts.get((identity(request.customer_email), request.currency))
            outcome = _earlier(request, earlier[request.order_id]) or _refusal(request, account)
            if outcome is None and account is not None:
                account.held_minor += request.amount_minor
                outcome = new[request.order_id] = CreditHold(
                    order_id=request.order_id,
                    key=request.key,
                    account=account,
                    amount_minor=request.amount_minor,
                    held_at=now,
                )
            if outcome is not None:
                outcomes[request.order_id] = outcome
        update_all([hold.account for hold in new.values()], ["held_minor"])
        insert_all(list(new.values()))
        outbox.emit(*(CreditHeld(**_credit_facts(hold)) for hold in new.values()), now=now)
    return outcomes


def release_credit(*, order_id: UUID, key: str, now: datetime) -> None:
    """Release the credit held for an order under a key; without any it does nothing.

    Transaction: opens one.
    Idempotent: by `key`.
    """
    with transaction.atomic():
        held = CreditHold.objects.filter(order_id=order_id, key=key, status=CreditHold.Status.HELD)
        hold = held.select_for_update(of=("self",)).first()
        if hold is None:
            return
        hold.account = CreditAccount.objects.select_for_update().get(pk=hold.account_id)
        hold.account.held_minor -= hold.amount_minor
        hold.account.save(update_fields=["held_minor"])
        hold.status, hold.released_at = CreditHold.Status.RELEASED, now
        hold.save(update_fields=["status", "released_at"])
        outbox.emit(CreditReleased(**_credit_facts(hold)), now=now)


def _locked_accounts(emails: Iterable[str]) -> dict[tuple[str, str], CreditAccount]:
    """Lock credit accounts in the order of their primary key; return them by e-mail and currency."""
    rows = CreditAccount.objects.filter(customer_email__in={identity(email) for email in emails})
    return {(row.customer_email, row.currency): row for row in rows.order_by("pk").select_for_update()}


def _earlier(request: CreditRequest, holds: Sequence[CreditHold]) -> CreditHold | Rejected | None:
    """Return the outcome of an earlier try, if there was one."""
    known = [hold for hold in holds if hold.key == request.key or hold.status == CreditHold.Status.HELD]
    if not known:
        return None
    hold = known[-1]
    if hold.key != request.key:
        return CreditHeldAlready(request.order_id)
    return CreditHoldEnded(request.order_id) if hold.status == CreditHold.Status.RELEASED else hold


def _refusal(request: CreditRequest, account: CreditAccount | None) -> Rejected | None:
    """Return why the credit cannot be held; None if it can."""
    if account is None:
        return NoCredit(request.customer_email)
    if account.available_minor < request.amount_minor:
        return CreditLimitExceeded(
            wanted_minor=request.amount_minor, available_minor=account.available_minor, currency=request.currency
        )
    return None


def _credit_facts(hold: CreditHold) -> dict[str, Any]:
    return {
        "order_id": hold.order_id,
        "customer_email": hold.account.customer_email,
        "amount_minor": hold.amount_minor,
        "currency": hold.account.currency,
    }
