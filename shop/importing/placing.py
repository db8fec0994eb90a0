"""Places invoices as orders, several in one transaction; a refused invoice does not hold up the others."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.db import transaction

from backoffice.customers import identity
from inventory import services as inventory
from orders import selectors as stored_orders
from orders import services as orders
from orders.errors import KeyUsedForAnotherOrder, OrderRefused
from orders.selectors import Order

from .reading import Invoice, Reject

#: Prefix of an invoice's number in its idempotency key: an invoice is placed once, however often it is imported.
KEY_PREFIX = "import:"
#: A batch is committed when it has this many invoices, or this many lines: locks are short, and little is repeated
#: after a kill. Measured: half the size is a tenth slower, twice the size a tenth faster.
_MAX_INVOICES, _MAX_LINES = 40, 1000

#: Quantities by SKU and price in minor units.
_Goods = dict[str, dict[int, int]]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """An order with lines of the file; `is_new` unless an earlier import placed it."""

    order_id: UUID
    is_new: bool
    lines: int


def batches(found: Iterable[Invoice | Reject]) -> Iterator[tuple[list[Invoice], list[Reject]]]:
    """Yield invoices and rejects in batches of the size of a transaction."""
    invoices: list[Invoice] = []
    rejects: list[Reject] = []
    for item in found:
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            invoices.append(item)
        lines = sum(len(invoice.lines) for invoice in invoices)
        if len(invoices) == _MAX_INVOICES or max(lines, len(rejects)) >= _MAX_LINES:
            yield invoices, rejects
            invoices, rejects = [], []
    yield invoices, rejects


def place(invoices: Sequence[Invoice], *, payment_method: str, now: datetime) -> list[Imported | Reject]:
    """Place invoices as orders, with the products and the stock they need.

    The goods of an invoice are received in the transaction that places it, so neither a kill nor a second import can
    double them, and the earlier stock does not change.

    An invoice that was imported before is compared with its orders by SKU: lines they have are skipped, lines they lack
    become one more order. An invoice that contradicts its orders is refused.

    Transaction: opens one; when an invoice is refused, one for each.
    Idempotent: by the invoice's number and SKU.
    """
    done: list[Imported | Reject] = []
    missing: list[Invoice] = []
    requests: list[orders.OrderRequest] = []
    # Read outside of a transaction: if another import places lines of these invoices meanwhile, their keys are used.
    earlier = _earlier_orders([invoice.number for invoice in invoices])
    for invoice in sorted(
        invoices, key=lambda invoice: invoice.number
    ):  # always in one order: two imports cannot deadlock
        standing = earlier[invoice.number]
        if contradiction := _contradiction(invoice, standing, payment_method):
            done += _rejects(invoice, "imported before", f"imported before {contradiction}")
            continue
        done += _repeated(invoice, standing)
        held = _goods_of(standing)
        if lines := tuple(line for line in invoice.lines if line.sku not in held):
            missing.append(replace(invoice, lines=lines))
            requests.append(_request(missing[-1], payment_method, number=len(standing) + 1))
    try:
        return done + _place_missing(missing, requests, now)
    except KeyUsedForAnotherOrder:
        return place(invoices, payment_method=payment_method, now=now)
    except OrderRefused as refused:
        if len(missing) == 1:
            return done + _rejects(missing[0], "order refused", refused.message)
    return [done for invoice in invoices for done in place([invoice], payment_method=payment_method, now=now)]


def _place_missing(
    invoices: Sequence[Invoice], requests: Sequence[orders.OrderRequest], now: datetime
) -> list[Imported | Reject]:
    if not invoices:
        return []
    with transaction.atomic():
        orders.add_products(_products(invoices), currency=settings.CURRENCY)
        placed = orders.place_many(requests, now=now)
        inventory.receive(_needed(invoice for invoice, done in zip(invoices, placed, strict=True) if done.is_new))
    return [
        Imported(order_id=done.order.id, is_new=done.is_new, lines=len(invoice.lines))
        for invoice, done in zip(invoices, placed, strict=True)
    ]


# What earlier imports placed --------------------------------------------------------------------------------------


def _key(invoice: str, number: int) -> str:
    """Return the key of an invoice's first, second, … order; no invoice number has a space."""
    return f"{KEY_PREFIX}{invoice}" if number == 1 else f"{KEY_PREFIX}{invoice} {number}"


def _earlier_orders(invoices: Collection[str]) -> dict[str, list[Order]]:
    """Return the orders of each invoice; one query for all first orders, one for all second orders, and so on."""
    found: dict[str, list[Order]] = {invoice: [] for invoice in invoices}
    while invoices:
        keys = {_key(invoice, len(found[invoice]) + 1): invoice for invoice in invoices}
        stored = stored_orders.by_key(keys)
        invoices = [keys[key] for key in stored]
        for key, order in stored.items():
            found[keys[key]].append(order)
    return found


def _contradiction(invoice: Invoice, standing: Sequence[Order], payment_method: str) -> str:
    """Return why the invoice contradicts the invoice that was imported before; None if it does not."""
    if not standing:
        return ""
    first, asked, held = standing[0], _goods(invoice), _goods_of(standing)
    if first.customer_email != identity(_email(invoice)):
        return "for another customer"
    if first.payment_method != payment_method:
        return f"to be paid by {first.payment_method}"
    if changed := [sku for sku in asked.keys() & held.keys() if asked[sku] != held[sku]]:
        return f"with another quantity or price of {min(changed)}"
    left_out, new = held.keys() - asked.keys() - invoice.refused, asked.keys() - held.keys()
    # A placed line whose SKU was changed. A file with only the refused lines is fine, and so is a repeat.
    if left_out and new and held.keys() & asked.keys():
        return f"with {min(left_out)}; import it whole, or only the lines that were refused"
    return ""


def _repeated(invoice: Invoice, standing: Iterable[Order]) -> Iterator[Imported]:
    for order in standing:
        held = _goods_of([order])
        if lines := sum(line.sku in held for line in invoice.lines):
            yield Imported(order_id=order.id, is_new=False, lines=lines)


def _goods(invoice: Invoice) -> _Goods:
    return _added_up((line.sku, line.unit_price_minor, line.quantity) for line in invoice.lines)


def _goods_of(standing: Iterable[Order]) -> _Goods:
    return _added_up(
        (line.sku, line.unit_price_minor, line.quantity) for order in standing for line in order.lines.all()
    )


def _added_up(lines: Iterable[tuple[str, int, int]]) -> _Goods:
    goods: _Goods = {}
    for sku, unit_price_minor, quantity in lines:
        prices = goods.setdefault(sku, {})
        prices[unit_price_minor] = prices.get(unit_price_minor, 0) + quantity
    return goods


# What is asked of the contexts ------------------------------------------------------------------------------------


def _products(invoices: Iterable[Invoice]) -> list[tuple[str, str, int]]:
    """Return SKU, name and price as first seen, in a fixed order, so that two imports cannot deadlock."""
    seen: dict[str, tuple[str, str, int]] = {}
    for invoice in invoices:
        for line in invoice.lines:
            seen.setdefault(line.sku, (line.sku, line.description or line.sku, line.unit_price_minor))
    return sorted(seen.values())


def _needed(invoices: Iterable[Invoice]) -> dict[str, int]:
    needed: dict[str, int] = defaultdict(int)
    for invoice in invoices:
        for line in invoice.lines:
            needed[line.sku] += line.quantity
    return needed


def _request(invoice: Invoice, payment_method: str, *, number: int) -> orders.OrderRequest:
    customer = invoice.lines[0].customer_id
    return orders.OrderRequest(
        customer_email=_email(invoice),
        customer_name=f"Customer {customer}" if customer else f"Guest of invoice {invoice.number}",
        payment_method=payment_method,
        lines=[
            orders.LineRequest(sku=line.sku, quantity=line.quantity, unit_price_minor=line.unit_price_minor)
            for line in invoice.lines
        ],
        idempotency_key=_key(invoice.number, number),
        currency=settings.CURRENCY,
    )


def _email(invoice: Invoice) -> str:
    """Return the CustomerID if it is an address; otherwise one made from it, or from a guest's invoice."""
    customer = invoice.lines[0].customer_id
    if "@" in customer:
        return customer
    name = f"customer-{_spelled(customer)}" if customer else f"guest-{_spelled(invoice.number)}"
    return f"{name}@example.com"


def _spelled(text: str) -> str:
    """Encode any text in letters, digits, `-`, `_`, `~` and `=`, for an address; different texts stay different."""
    return quote(text, safe="").replace(".", "%2E").replace("%", "=")


def _rejects(invoice: Invoice, kind: str, reason: str) -> list[Imported | Reject]:
    return [line.rejected(kind, f"invoice {invoice.number}: {reason}") for line in invoice.lines]
