"""Placing orders and deciding them."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from sagas.core.ids import new_id
from sagas.log import outbox

from . import selectors
from .errors import KeyUsedForAnotherOrder, OrderDecidedAlready, OrderRefused, UnknownProduct
from .events import Line, OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected
from .models import Order, OrderLine, Product

#: The most that fits any payment provider's amount field; a larger order is a typing error.
MAX_MINOR = 10**12
MAX_QUANTITY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class LineRequest:
    """What a customer wants of one product; `unit_price_minor` only where it differs from the catalogue's."""

    sku: str
    quantity: int
    unit_price_minor: int | None = None


@dataclass(frozen=True, kw_only=True)
class OrderRequest:
    """What one customer asks for; lines of one SKU at one price are merged."""

    customer_email: str
    customer_name: str
    payment_method: str
    lines: Sequence[LineRequest]
    #: The caller's own key: asked again with the same contents, it is the same order.
    idempotency_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An order, and whether this call saved it; otherwise it stood already, under the same key."""

    order: Order
    is_new: bool


def place(
    *,
    customer_email: str,
    customer_name: str,
    payment_method: str,
    lines: Sequence[LineRequest],
    now: datetime,
    idempotency_key: str | None = None,
) -> Order:
    """Save an order with its lines and the event `OrderPlaced`: `place_many` for one."""
    request = OrderRequest(
        customer_email=customer_email,
        customer_name=customer_name,
        payment_method=payment_method,
        lines=lines,
        idempotency_key=idempotency_key,
    )
    (placed,) = place_many([request], now=now)
    return placed.order


def place_many(requests: Sequence[OrderRequest], *, now: datetime) -> list[Placed]:
    """Save orders with their lines and an event `OrderPlaced` each, in as many statements as for one.

    Transaction: opens one; all orders, lines and events stand or fall together.
    Idempotent: by each `idempotency_key`; a repeat with the same contents returns the stored order.

    Raises:
        UnknownProduct: a SKU is not in the catalogue, or not for sale.
        KeyUsedForAnotherOrder: a key stands for other contents.
        OrderRefused: anything else that is wrong, naming the field.
    """
    try:
        return [Placed(order=order, is_new=True) for order in _save(requests, now)]
    except (IntegrityError, OrderRefused):
        # Some of them may stand already, perhaps from a day when everything they ask for was for sale.
        with suppress(IntegrityError):  # somebody else has placed under one of these keys meanwhile: now it is found
            return _place_missing(requests, now)
        return _place_missing(requests, now)


def confirm(*, order_id: UUID, now: datetime) -> Order:
    """Tell that the customer gets the order.

    Transaction: opens one.
    Idempotent: by `order_id`.

    Raises:
        OrderDecidedAlready: it was rejected or cancelled.
    """
    return _decide(order_id, Order.Status.CONFIRMED, reason="", now=now)


def confirm_many(order_ids: Collection[UUID], *, now: datetime) -> set[UUID]:
    """Tell that customers get their orders; return the orders that were pending and are confirmed now.

    Transaction: opens one.
    Idempotent: by order; what was decided before is left out.
    """
    with transaction.atomic():
        pending = list(
            Order.objects.filter(id__in=order_ids, status=Order.Status.PENDING).order_by("id").select_for_update()
        )
        for order in pending:
            order.status, order.decided_at = Order.Status.CONFIRMED, now
        confirmed = {order.id for order in pending}
        Order.objects.filter(id__in=confirmed).update(status=Order.Status.CONFIRMED, decided_at=now)
        outbox.emit(*map(_decided, pending), now=now)
    return confirmed


def reject(*, order_id: UUID, reason: str, now: datetime) -> Order:
    """Tell that the customer does not get the order, and why.

    Transaction: opens one.
    Idempotent: by `order_id`.

    Raises:
        OrderDecidedAlready: it was confirmed or cancelled.
    """
    return _decide(order_id, Order.Status.REJECTED, reason=reason[:500], now=now)


def cancel(*, order_id: UUID, reason: str, now: datetime) -> Order:
    """Tell that the order was called off, and why.

    Transaction: opens one.
    Idempotent: by `order_id`.

    Raises:
        OrderDecidedAlready: it was confirmed or rejected.
    """
    return _decide(order_id, Order.Status.CANCELLED, reason=reason[:500], now=now)


def add_products(products: Iterable[tuple[str, str, int]], *, currency: str) -> int:
    """Add products (SKU, name, price in minor units) that are missing; return how many there were.

    Transaction: a single statement.
    Idempotent: by SKU; what stands is left as it is.
    """
    rows = [
        Product(sku=sku, name=name, price_minor=price_minor, currency=currency) for sku, name, price_minor in products
    ]
    missing = {row.sku for row in rows} - set(
        Product.objects.filter(sku__in=[row.sku for row in rows]).values_list("sku", flat=True)
    )
    Product.objects.bulk_create([row for row in rows if row.sku in missing], ignore_conflicts=True)
    return len(missing)


def _decide(order_id: UUID, status: Order.Status, *, reason: str, now: datetime) -> Order:
    with transaction.atomic():
        order = Order.objects.select_for_update().get(id=order_id)
        if order.status == status:
            return order
        if order.status != Order.Status.PENDING:
            raise OrderDecidedAlready(order.number, order.status)
        order.status, order.reason, order.decided_at = status, reason, now
        order.save(update_fields=["status", "reason", "decided_at"])
        outbox.emit(_decided(order), now=now)
    return order


def _decided(order: Order) -> OrderConfirmed | OrderRejected | OrderCancelled:
    if order.status == Order.Status.CONFIRMED:
        return OrderConfirmed(order_id=order.id, number=order.number)
    event = OrderCancelled if order.status == Order.Status.CANCELLED else OrderRejected
    return event(order_id=order.id, number=order.number, reason=order.reason)


def _place_missing(requests: Sequence[OrderRequest], now: datetime) -> list[Placed]:
    stored = _stored(requests)
    missing: dict[str | int, OrderRequest] = {}
    for place, request in enumerate(requests):
        if request.idempotency_key not in stored:
            missing.setdefault(place if request.idempotency_key is None else request.idempotency_key, request)
    new = iter(_save(list(missing.values()), now) if missing else [])
    placed = []
    for request in requests:
        order = stored.get(request.idempotency_key)
        placed.append(Placed(order=order or next(new), is_new=order is None))
        if request.idempotency_key is not None:
            stored[request.idempotency_key] = placed[-1].order
    return placed


def _stored(requests: Sequence[OrderRequest]) -> dict[str | None, Order]:
    """Return what stands under the keys of these requests."""
    asked: dict[str, str] = {}
    for request in requests:
        if request.idempotency_key is not None:
            asked_hash = _hash(request)
            if asked.setdefault(request.idempotency_key, asked_hash) != asked_hash:
                raise KeyUsedForAnotherOrder(request.idempotency_key)
    if not asked:
        return {}
    stored: dict[str | None, Order] = {}
    for order in Order.objects.filter(idempotency_key__in=asked):
        key = order.idempotency_key or ""
        if order.request_hash != asked[key]:
            raise KeyUsedForAnotherOrder(key)
        stored[key] = order
    return stored


def _save(requests: Sequence[OrderRequest], now: datetime) -> list[Order]:
    for request in requests:
        _check_customer(request.customer_email, request.customer_name)
    catalogue = selectors.products(line.sku for request in requests for line in request.lines)
    merged = []
    for request in requests:
        _check_lines(request.lines, catalogue)
        merged.append(_merged(request.lines, catalogue))
    with transaction.atomic():
        orders = [_order(request, lines, catalogue, now) for request, lines in zip(requests, merged, strict=True)]
        Order.objects.bulk_create(orders)
        OrderLine.objects.bulk_create(
            OrderLine(order=order, product=catalogue[line.sku], **line.model_dump())
            for order, lines in zip(orders, merged, strict=True)
            for line in lines
        )
        outbox.emit(*(_placed(order, lines) for order, lines in zip(orders, merged, strict=True)), now=now)
    return orders


def _order(request: OrderRequest, lines: list[Line], catalogue: dict[str, Product], now: datetime) -> Order:
    total_minor = sum(line.quantity * line.unit_price_minor for line in lines)
    if total_minor > MAX_MINOR:
        raise OrderRefused("lines", "The total is too large.")
    return Order(
        id=new_id(),
        customer_email=request.customer_email,
        customer_name=request.customer_name,
        payment_method=request.payment_method,
        currency=catalogue[lines[0].sku].currency,
        total_minor=total_minor,
        idempotency_key=request.idempotency_key,
        request_hash=_hash(request) if request.idempotency_key else "",
        placed_at=now,
    )


def _check_customer(email: str, name: str) -> None:
    try:
        validate_email(email)
    except ValidationError:
        raise OrderRefused("customer.email", "This is not an e-mail address.") from None
    if len(email) > 254:
        raise OrderRefused("customer.email", "At most 254 characters.")
    if not name.strip():
        raise OrderRefused("customer.name", "A name is needed.")
    if len(name) > 200:
        raise OrderRefused("customer.name", "At most 200 characters.")
    if "\x00" in name:
        raise OrderRefused("customer.name", "Null characters are not allowed.")


def _check_lines(lines: Sequence[LineRequest], catalogue: dict[str, Product]) -> None:
    if not lines:
        raise OrderRefused("lines", "An order needs at least one line.")
    for place, line in enumerate(lines):
        if line.sku not in catalogue:
            raise UnknownProduct(f"lines.{place}.sku", line.sku)
        if not 0 < line.quantity <= MAX_QUANTITY:
            raise OrderRefused(f"lines.{place}.quantity", f"From 1 to {MAX_QUANTITY}.")
        if line.unit_price_minor is not None and line.unit_price_minor <= 0:
            raise OrderRefused(f"lines.{place}.unit_price", "A price is more than nothing.")
    currencies = {catalogue[line.sku].currency for line in lines}
    if len(currencies) > 1:
        raise OrderRefused("lines", f"All lines need one currency, not {', '.join(sorted(currencies))}.")


def _merged(lines: Sequence[LineRequest], catalogue: dict[str, Product]) -> list[Line]:
    quantities: dict[tuple[str, int], int] = {}
    for line in lines:
        price = catalogue[line.sku].price_minor if line.unit_price_minor is None else line.unit_price_minor
        quantities[line.sku, price] = quantities.get((line.sku, price), 0) + line.quantity
    return [
        Line(sku=sku, name=catalogue[sku].name, quantity=quantity, unit_price_minor=price)
        for (sku, price), quantity in quantities.items()
    ]


def _placed(order: Order, lines: list[Line]) -> OrderPlaced:
    return OrderPlaced(
        order_id=order.id,
        number=order.number,
        customer_email=order.customer_email,
        customer_name=order.customer_name,
        payment_method=order.payment_method,
        currency=order.currency,
        total_minor=order.total_minor,
        lines=tuple(lines),
    )


def _hash(request: OrderRequest) -> str:
    asked = [
        request.customer_email,
        request.customer_name,
        request.payment_method,
        [[line.sku, line.quantity, line.unit_price_minor] for line in request.lines],
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
