"""What should be true, a function each; `CHECKS` at the bottom is the list.

An open order may be in any intermediate state; then only conditions are checked that no step, try, failure or undo may
break, not even for a moment. Every commit of the process keeps these true.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from backoffice.money import formatted
from inventory import selectors as inventory
from notifications.events import NotificationKind
from payments import selectors as payments
from sagas.core.books import Breach, Check, Scope
from sagas.core.statuses import RunStatus
from shop.processes.fulfil_order import fulfil_order

from .books import Books, as_uuid, books

#: The relay makes a turn each second: an older order without a run will never have one.
_STARTED_AFTER = timedelta(seconds=60)
#: A delivery is written within seconds; shorter than the five minutes until the engine's second check.
_OWED_AFTER = timedelta(minutes=4)

_REFUSED = ("rejected", "cancelled")
_TOLD = {
    "confirmed": NotificationKind.ORDER_CONFIRMED,
    "rejected": NotificationKind.ORDER_REJECTED,
    "cancelled": NotificationKind.ORDER_CANCELLED,
}
_DECIDED = {RunStatus.COMPLETED: ("confirmed",), RunStatus.UNDONE: _REFUSED}


# An order ---------------------------------------------------------------------------------------------------------


def money(order: Books, _: datetime) -> Breach | None:
    """Captured money less refunds equals the amount due; by invoice, credit is held instead."""
    kept, credit = order.balance.kept_minor, order.credit_minor
    owed = order.total_minor if order.status == "confirmed" else 0
    owed_by_card, owed_by_invoice = (0, owed) if order.by_invoice else (owed, 0)
    elsewhere = {
        currency: balance.kept_minor
        for currency, balance in order.balances.items()
        if currency != order.currency and balance.kept_minor
    }
    if order.credit is not None and order.credit.account.currency != order.currency:
        elsewhere[order.credit.account.currency] = credit
    if order.status == "pending" and order.under_way:
        max_by_card, max_by_invoice = (0, order.total_minor) if order.by_invoice else (order.total_minor, 0)
        right = 0 <= kept <= max_by_card and credit <= max_by_invoice
    else:
        right = (kept, credit) == (owed_by_card, owed_by_invoice)
    if right and not elsewhere:
        return None
    amounts = {
        "owed": owed,
        "captured": order.balance.captured_minor,
        "refunded": order.balance.refunded_minor,
        "credit held": credit,
    }
    said = ", ".join(f"{order.amount(minor)} {what}" for what, minor in amounts.items())
    said += "".join(f", {formatted(minor, currency)} in another currency" for currency, minor in elsewhere.items())
    facts = {f"{what.replace(' ', '_')}_minor": minor for what, minor in amounts.items()}
    return Breach(
        key=str(order.order_id),
        message=f"{order.sentence}: {said}.",
        facts=order.facts(
            total_minor=order.total_minor, **facts, currency=order.currency, other_currencies_minor=elsewhere
        ),
    )


def goods(order: Books, _: datetime) -> Breach | None:
    """A confirmed order has a parcel with the ordered goods; no other order has one, or holds stock once it is over."""
    goods = order.goods
    if order.status == "confirmed":
        wrong = _wrong_for_a_customer(order)
    elif goods.shipped and not goods.tracking_number:
        wrong = "its stock was shipped without a parcel"
    elif order.status == "pending" and order.under_way:
        wrong = "it holds stock and has a parcel" if goods.held and goods.tracking_number else ""
    elif goods.tracking_number:
        wrong = "it has a parcel"
    else:
        wrong = "it holds stock" if goods.held else ""
    return _breach_of_goods(order, wrong) if wrong else None


def _wrong_for_a_customer(order: Books) -> str:
    if not order.goods.tracking_number:
        return "it has no parcel"
    if order.goods.held:
        return "it still holds stock"
    return "" if order.goods.shipped == order.ordered else "what was shipped is not what was ordered"


def paid_for(order: Books, _: datetime) -> Breach | None:
    """A parcel leaves only for an order that is paid."""
    if not order.goods.tracking_number or order.is_paid:
        return None
    return _breach_of_goods(order, "its parcel is not paid for")


def _breach_of_goods(order: Books, wrong: str) -> Breach:
    return Breach(
        key=str(order.order_id),
        message=f"{order.sentence}, but {wrong}.",
        facts=order.facts(
            ordered=order.ordered,
            held=order.goods.held,
            released=order.goods.released,
            shipped=order.goods.shipped,
            parcel=order.goods.tracking_number,
            currency=order.currency,
            total_minor=order.total_minor,
            captured_minor=order.balance.captured_minor,
            refunded_minor=order.balance.refunded_minor,
            credit_held_minor=order.credit_minor,
        ),
    )


def process(order: Books, now: datetime) -> Breach | None:
    """An order that is paid or pending has a process; once the process is over, the order has the matching status."""
    over = [run for run in order.runs if run.saga == fulfil_order.name and run.status in _DECIDED]
    paid = order.credit_minor or any(balance.captured_minor for balance in order.balances.values())
    wrong = ""
    if not order.under_way and over and order.status not in _DECIDED[RunStatus(over[-1].status)]:
        wrong = f"its process is {over[-1].status}"
    elif order.choreographed and order.status == "pending" and not order.under_way:
        wrong = "the contexts are done with it"
    elif not order.has_a_process and paid:
        wrong = "it was paid for and has no process"
    elif not order.has_a_process and _waits_too_long(order, now):
        wrong = "it has no process and nothing that would start one"
    if not wrong:
        return None
    return Breach(
        key=str(order.order_id),
        message=f"{order.sentence}, but {wrong}.",
        facts=order.facts(
            placed_at=None if order.order is None else order.order.placed_at,
            currency=order.currency,
            captured_minor=order.balance.captured_minor,
            refunded_minor=order.balance.refunded_minor,
            credit_held_minor=order.credit_minor,
        ),
    )


def _waits_too_long(order: Books, now: datetime) -> bool:
    if order.order is None or order.status != "pending" or order.waits_for_the_relay:
        return False
    return bool(now - order.order.placed_at > _STARTED_AFTER)


def customer_was_told(order: Books, now: datetime) -> Breach | None:
    """The customer gets the message about the outcome, and no other, and the message is queued or sent."""
    right = _TOLD.get(order.status)
    kinds = {message.kind for message in order.messages} & set(NotificationKind)
    wrong = ""
    if kinds - {right}:
        wrong = f"the customer was told {', '.join(sorted(kinds - {right}))}"
    elif right is not None and not kinds and not order.under_way:
        wrong = "the customer was not told"
    elif not (order.message_is_owed or order.waits_for_the_relay):
        forgotten = [
            message for message in order.messages if message.sent_at is None and now - message.queued_at > _OWED_AFTER
        ]
        wrong = f"the message {forgotten[0].kind} was queued and nothing sends it" if forgotten else ""
    if not wrong:
        return None
    return Breach(
        key=str(order.order_id),
        message=f"{order.sentence}, but {wrong}.",
        facts=order.facts(
            messages=[
                {"id": str(message.id), "kind": message.kind, "status": message.status, "queued_at": message.queued_at}
                for message in order.messages
            ]
        ),
    )


# Stock and credit -------------------------------------------------------------------------------------------------


def stock(_: Scope) -> Iterator[Breach]:
    """The reserved quantity of a shelf equals the sum of open reservations."""
    for sku, reserved, held in inventory.miscounted():
        yield Breach(
            key=sku,
            message=f"The shelf of {sku} says {reserved} reserved; open reservations hold {held}.",
            facts={"sku": sku, "reserved": reserved, "held": held},
        )


def credit(scope: Scope) -> Iterator[Breach]:
    """The held credit of an account equals the sum of its open holds."""
    ids = [order_id for key in scope.keys if (order_id := as_uuid(key)) is not None]
    emails = [key for key in scope.keys if "@" in key]
    for account, holds_minor in payments.miscounted_accounts(emails=emails, order_ids=ids):
        said, held = (formatted(minor, account.currency) for minor in (account.held_minor, holds_minor))
        yield Breach(
            key=account.customer_email,
            message=f"The credit account of {account.customer_email} says {said} held; its open holds are {held}.",
            facts={
                "customer_email": account.customer_email,
                "held_minor": account.held_minor,
                "holds_minor": holds_minor,
                "currency": account.currency,
            },
        )


def _check_of_orders(name: str, judge: Callable[[Books, datetime], Breach | None], *, remedy: str) -> Check:
    """Make a check from a function of one order."""

    def look_at_all(scope: Scope) -> Iterator[Breach]:
        for order in scope.once(books):
            if (breach := judge(order, scope.now)) is not None:
                yield breach

    return Check(name=name, look=look_at_all, page="admin:orders_order_change", remedy=remedy)


CHECKS = (
    _check_of_orders(
        "money",
        money,
        remedy="Take or give back the difference at the provider; dismiss the finding with the receipt as the reason.",
    ),
    _check_of_orders(
        "goods",
        goods,
        remedy="Send or fetch back the parcel, or correct the stock; dismiss the finding with what you did.",
    ),
    _check_of_orders(
        "paid-for",
        paid_for,
        remedy="Ask the customer to pay, or fetch back the parcel; dismiss the finding with what you did.",
    ),
    _check_of_orders(
        "process",
        process,
        remedy="Retry or cancel the order's run if it has one; otherwise give back what was paid.",
    ),
    _check_of_orders(
        "told",
        customer_was_told,
        remedy="Retry the parked message if there is one; otherwise write to the customer and dismiss the finding.",
    ),
    Check(
        name="stock",
        look=stock,
        whole=True,
        remedy="Count the shelf and correct its stock.",
        remedy_page="admin:inventory_stockitem_changelist",
    ),
    Check(
        name="credit",
        look=credit,
        remedy="Compare the account's open holds with the customer's orders.",
        remedy_page="admin:payments_creditaccount_changelist",
    ),
)
