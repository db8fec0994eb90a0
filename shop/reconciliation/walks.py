"""Walks through all stored rows, so that old changes by hand are found too.

A turn takes a slice of each: every 20 s, 90,000 orders an hour.
"""

from collections.abc import Collection
from uuid import UUID

from inventory import selectors as inventory
from orders import selectors as orders
from payments import selectors as payments
from sagas.core.books import Walk

Step = tuple[Collection[str], str]


def _orders(after: str, limit: int) -> Step:
    return _of_ids(orders.ids_after(_id(after), limit=limit), limit)


def _pending(after: str, limit: int) -> Step:
    return _of_ids(orders.pending_after(_id(after), limit=limit), limit)


def _payments(after: str, limit: int) -> Step:
    rows = payments.orders_after(_id(after), limit=limit)
    return [str(order_id) for _, order_id in rows], str(rows[-1][0]) if len(rows) == limit else ""


def _reservations(after: str, limit: int) -> Step:
    rows = inventory.orders_after(int(after or 0), limit=limit)
    return [str(order_id) for _, order_id in rows], str(rows[-1][0]) if len(rows) == limit else ""


def _accounts(after: str, limit: int) -> Step:
    emails = payments.accounts_after(after, limit=limit)
    return emails, emails[-1] if len(emails) == limit else ""


def _of_ids(ids: list[UUID], limit: int) -> Step:
    return [str(order_id) for order_id in ids], str(ids[-1]) if len(ids) == limit else ""


def _id(after: str) -> UUID | None:
    return UUID(after) if after else None


WALKS = (
    # All of them in every turn, up to the size of a slice.
    Walk(name="pending orders", step=_pending),
    Walk(name="all orders", step=_orders),
    # Money and goods of deleted orders.
    Walk(name="payments", step=_payments, limit=200),
    Walk(name="reservations", step=_reservations, limit=200),
    Walk(name="credit accounts", step=_accounts, limit=50),
)
