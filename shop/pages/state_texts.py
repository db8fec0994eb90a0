"""The state of an order in texts, by part of its page, and the texts that differ between two states."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from backoffice.money import formatted
from inventory.history import GoodsState
from notifications.history import NotificationsState
from orders.history import OrderState
from payments import selectors as payments
from payments.history import MoneyState
from shop.story.history import OrderAsOf
from shop.story.words import words

#: The texts of a state, by part of the page and label.
StateTexts = dict[tuple[str, str], str]
_ORDER, _GOODS, _MONEY, _TOLD = "Order", "Goods", "Money", "Messages"
_Rows = Iterator[tuple[str, str, str]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A text that changed; empty on the side where it does not exist."""

    part: str
    label: str
    before: str
    after: str


def facts(state: OrderAsOf) -> StateTexts:
    """Return the texts of a state; none for an order that is not placed."""
    rows = (*_order(state.order), *_goods(state.goods), *_money(state.money), *_messages(state.notifications))
    return {(part, label): value for part, label, value in rows}


def changes(before: OrderAsOf, after: OrderAsOf) -> list[Change]:
    """Return the texts that differ between two states, in the order of the page."""
    was, became = facts(before), facts(after)
    return [
        Change(part=key[0], label=key[1], before=was.get(key, ""), after=became.get(key, ""))
        for key in sorted({**was, **became}, key=lambda key: (_ORDER, _GOODS, _MONEY, _TOLD).index(key[0]))
        if was.get(key) != became.get(key)
    ]


def by_part(said: StateTexts) -> dict[str, list[tuple[str, str]]]:
    parts: dict[str, list[tuple[str, str]]] = {}
    for (part, label), value in said.items():
        parts.setdefault(part, []).append((label, value))
    return parts


def moment_text(moment: datetime) -> str:
    local = timezone.localtime(moment)
    return f"{local.day} {local:%b %Y, %H:%M:%S}.{local.microsecond // 1000:03d} {local:%Z}"


def _order(order: OrderState) -> _Rows:
    if order.placed_at is None:
        return
    yield _ORDER, "Status", words(order.status)
    if order.reason:
        yield _ORDER, "Reason", order.reason
    yield _ORDER, "Placed", moment_text(order.placed_at)
    if order.decided_at is not None:
        yield _ORDER, "Decided", moment_text(order.decided_at)
    yield _ORDER, "Customer", f"{order.customer_name}, {order.customer_email}"
    yield _ORDER, "Payment", payments.method_name(order.payment_method)
    for line in order.lines:
        each = formatted(line.unit_price_minor, order.currency)
        yield _ORDER, f"{line.name} ({line.sku}) at {each}", f"{line.quantity:,}"
    yield _ORDER, "Total", formatted(order.total_minor, order.currency)


def _goods(goods: GoodsState) -> _Rows:
    for sku in dict.fromkeys(pieces.sku for pieces in goods.pieces):
        yield _GOODS, sku, ", ".join(f"{each.quantity:,} {each.status}" for each in goods.pieces if each.sku == sku)
    if goods.tracking_number:
        yield _GOODS, "Parcel", goods.tracking_number
    if goods.refused:
        yield _GOODS, "Refused", goods.refused


def _money(money: MoneyState) -> _Rows:
    for number, payment in enumerate(money.payments, 1):
        said = f"{formatted(payment.amount_minor, payment.currency)} {payment.status}"
        yield _MONEY, _numbered("Payment", number), f"{said}: {payment.reason}" if payment.reason else said
    for currency, minor in money.kept_minor.items():
        yield _MONEY, f"Kept ({currency})", formatted(minor, currency)
    for number, hold in enumerate(money.credit, 1):
        yield _MONEY, _numbered("Credit", number), f"{formatted(hold.amount_minor, hold.currency)} {hold.status}"
    if money.failed:
        yield _MONEY, "Failed", money.failed
    if money.is_released:
        yield _MONEY, "Given back", "all of it"


def _messages(messages: NotificationsState) -> _Rows:
    for message in messages.messages:
        yield _TOLD, f"{words(message.kind)}, by {message.channel}", message.status


def _numbered(what: str, number: int) -> str:
    return what if number == 1 else f"{what} {number}"
