"""Money that was charged, refunded and held, for an order and from a credit account: folds of their events. Pure.

The events do not have the provider's `key` of a payment, which is no state of the money, nor the method, which belongs
to the order.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sagas.core.folds import Fold, State, when

from .events import (
    CreditHeld,
    CreditReleased,
    PaymentCaptured,
    PaymentDeclined,
    PaymentFailed,
    PaymentRefunded,
    PaymentReleased,
)


class PaymentState(State):
    """One attempt to charge, and its status. Minor units."""

    payment_id: UUID
    status: str
    amount_minor: int
    currency: str
    provider_reference: str = ""
    reason: str = ""
    made_at: datetime
    refunded_at: datetime | None = None


class CreditState(State):
    """Credit that was held. Minor units."""

    customer_email: str
    amount_minor: int
    currency: str
    status: str = "held"
    held_at: datetime
    released_at: datetime | None = None


class MoneyState(State):
    """The money of an order at one moment, in the order of its movements."""

    payments: tuple[PaymentState, ...] = ()
    credit: tuple[CreditState, ...] = ()
    #: Why it is not paid, and whether everything was released; only in the events of a choreographed order.
    failed: str = ""
    is_released: bool = False

    @property
    def kept_minor(self) -> Mapping[str, int]:
        """Charged and not refunded, by currency; without currencies in which nothing was charged."""
        taken = [payment for payment in self.payments if payment.status != "declined"]
        return {
            currency: sum(each.amount_minor for each in taken if (each.currency, each.status) == (currency, "captured"))
            for currency in dict.fromkeys(payment.currency for payment in taken)
        }


def _captured(money: MoneyState, event: PaymentCaptured, at: datetime) -> MoneyState:
    return _with_payment(money, event, at, status="captured", provider_reference=event.provider_reference)


def _declined(money: MoneyState, event: PaymentDeclined, at: datetime) -> MoneyState:
    return _with_payment(money, event, at, status="declined", reason=event.reason)


def _refunded(money: MoneyState, event: PaymentRefunded, at: datetime) -> MoneyState:
    changed = tuple(
        payment.model_copy(update={"status": "refunded", "refunded_at": at})
        if payment.payment_id == event.payment_id
        else payment
        for payment in money.payments
    )
    return money.model_copy(update={"payments": changed})


def _held(money: MoneyState, event: CreditHeld, at: datetime) -> MoneyState:
    hold = CreditState(
        customer_email=event.customer_email, amount_minor=event.amount_minor, currency=event.currency, held_at=at
    )
    return money.model_copy(update={"credit": (*money.credit, hold)})


def _released(money: MoneyState, _: CreditReleased, at: datetime) -> MoneyState:
    return money.model_copy(update={"credit": tuple(_all_released(money.credit, at))})


def _all_released(credit: tuple[CreditState, ...], at: datetime) -> Iterator[CreditState]:
    """End the open hold: an order has one at a time."""
    for hold in credit:
        yield hold.model_copy(update={"status": "released", "released_at": at}) if hold.status == "held" else hold


def _failed(money: MoneyState, event: PaymentFailed, _: datetime) -> MoneyState:
    return money.model_copy(update={"failed": event.reason})


def _all_given_back(money: MoneyState, _event: PaymentReleased, _at: datetime) -> MoneyState:
    return money.model_copy(update={"is_released": True})


def _with_payment(
    money: MoneyState, event: PaymentCaptured | PaymentDeclined, at: datetime, **answer: Any
) -> MoneyState:
    payment = PaymentState(
        payment_id=event.payment_id,
        amount_minor=event.amount_minor,
        currency=event.currency,
        made_at=at,
        **answer,
    )
    return money.model_copy(update={"payments": (*money.payments, payment)})


MONEY = Fold(
    name="money",
    start=MoneyState(),
    rules=(
        when(PaymentCaptured, _captured),
        when(PaymentDeclined, _declined),
        when(PaymentRefunded, _refunded),
        when(CreditHeld, _held),
        when(CreditReleased, _released),
        when(PaymentFailed, _failed),
        when(PaymentReleased, _all_given_back),
    ),
)


class AccountState(State):
    """Credit held from a credit account. Minor units of its currency."""

    held_minor: int = 0
    orders: int = 0


def _kept_back(account: AccountState, event: CreditHeld, _: datetime) -> AccountState:
    return AccountState(held_minor=account.held_minor + event.amount_minor, orders=account.orders + 1)


def _freed(account: AccountState, event: CreditReleased, _: datetime) -> AccountState:
    return AccountState(held_minor=account.held_minor - event.amount_minor, orders=account.orders - 1)


#: An account has two events for each cancelled order, one for each other order: thousands after years. So it is read
#: from a snapshot.
ACCOUNT = Fold(
    name="credit-account",
    start=AccountState(),
    rules=(when(CreditHeld, _kept_back), when(CreditReleased, _freed)),
)
