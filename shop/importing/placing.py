"""Invoices become orders, several in one transaction; one that is refused does not hold the others back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from inventory import services as inventory
from orders import services as orders
from orders.errors import KeyUsedForAnotherOrder, OrderRefused

from .reading import Invoice, Reject

#: In front of an invoice's number: the key under which it is placed once, however often it is imported.
KEY_PREFIX = "import:"
#: A batch is committed when it has so many invoices, or so many lines: short locks, and little is done again after a
#: kill. Measured: a tenth of the rate is lost at half the size, a tenth won at twice.
_MAX_INVOICES, _MAX_LINES = 40, 1000


@dataclass(frozen=True, kw_only=True)
class Imported:
    """An invoice that is an order; `is_new` unless an earlier import placed it."""

    order_id: UUID
    is_new: bool


def batches(found: Iterable[Invoice | Reject]) -> Iterator[tuple[list[Invoice], list[Reject]]]:
    """Yield what was found in pieces that are worth a transaction."""
    invoices: list[Invoice] = []
    rejects: list[Reject] = []
    for item in found:
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            invoices.append(item)
        if len(invoices) == _MAX_INVOICES or sum(len(invoice.lines) for invoice in invoices) >= _MAX_LINES:
            yield invoices, rejects
            invoices, rejects = [], []
    yield invoices, rejects


def place(invoices: Sequence[Invoice], *, payment_method: str, now: datetime) -> list[Imported | Reject]:
    """Place invoices as orders, with the products and the stock they need.

    An invoice brings the goods it asks for: they are received in the transaction that places it, so neither a kill
    nor a second import can double them, and the stock that was there before stays as it was.

    Transaction: opens one; when an invoice is refused, one for each.
    Idempotent: by the invoice's number.
    """
    if not invoices:
        return []
    try:
        return _place(invoices, payment_method, now)
    except OrderRefused as refused:
        if len(invoices) == 1:
            return _rejects(invoices[0], refused)
    return [done for invoice in invoices for done in place([invoice], payment_method=payment_method, now=now)]


def _place(invoices: Sequence[Invoice], payment_method: str, now: datetime) -> list[Imported | Reject]:
    requests = [_request(invoice, payment_method) for invoice in invoices]
    with transaction.atomic():
        orders.add_products(_products(invoices), currency=settings.CURRENCY)
        placed = orders.place_many(requests, now=now)
        inventory.receive(_needed(invoice for invoice, done in zip(invoices, placed, strict=True) if done.is_new))
    return [Imported(order_id=done.order.id, is_new=done.is_new) for done in placed]


def _products(invoices: Iterable[Invoice]) -> list[tuple[str, str, int]]:
    """Return SKU, name and price as first seen, in an order in which two imports cannot block each other."""
    seen: dict[str, tuple[str, str, int]] = {}
    for invoice in invoices:
        for line in invoice.lines:
            seen.setdefault(line.sku, (line.sku, line.description or line.sku, line.unit_price_minor))
    return sorted(seen.values())


def _needed(invoices: Iterable[Invoice]) -> dict[str, int]:
    needed: dict[str, int] = {}
    for invoice in invoices:
        for line in invoice.lines:
            needed[line.sku] = needed.get(line.sku, 0) + line.quantity
    return needed


def _request(invoice: Invoice, payment_method: str) -> orders.OrderRequest:
    customer = invoice.lines[0].customer_id
    return orders.OrderRequest(
        customer_email=f"customer-{customer}@example.com" if customer else f"guest-{invoice.number}@example.com",
        customer_name=f"Customer {customer}" if customer else f"Guest of invoice {invoice.number}",
        payment_method=payment_method,
        lines=[
            orders.LineRequest(sku=line.sku, quantity=line.quantity, unit_price_minor=line.unit_price_minor)
            for line in invoice.lines
        ],
        idempotency_key=f"{KEY_PREFIX}{invoice.number}",
    )


def _rejects(invoice: Invoice, refused: OrderRefused) -> list[Imported | Reject]:
    if isinstance(refused, KeyUsedForAnotherOrder):
        kind, reason = "imported before", f"invoice {invoice.number} was imported before, with other contents"
    else:
        kind, reason = "order refused", f"invoice {invoice.number}: {refused.message}"
    return [line.rejected(kind, reason) for line in invoice.lines]
