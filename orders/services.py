"""Services of orders: place, and decide."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from backoffice.customers import identity
from backoffice.money import MAX_MINOR, currency_code
from sagas.core.errors import Rejected
from sagas.core.ids import new_id
from sagas.core.outcomes import only
from sagas.log import outbox

from . import selectors
from .errors import KeyUsedForAnotherOrder, OrderDecidedAlready, OrderRefused
from .events import Line, OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected
from .models import Order, OrderLine, Product
from .rules import (
    MAX_LINES,
    MAX_QUANTITY,
    LineRequest,
    OrderRequest,
    check_customer,
    check_lines,
    check_total,
    checked_name,
    merged,
    request_hash,
)

__all__ = [
    "MAX_LINES",
    "MAX_MINOR",
    "MAX_QUANTITY",
    "LineRequest",
    "OrderRequest",
    "Placed",
    "add_products",
    "cancel",
    "checked_name",
    "confirm_many",
    "place",
    "place_many",
    "reject",
]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An order, and whether this call saved it; otherwise it existed already, under the same key."""

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
    expected_total_minor: int | None = None,
) -> Order:
    """Save an order with its lines and the event `OrderPlaced`: `place_many` for one."""
    request = OrderRequest(
        customer_email=customer_email,
        customer_name=customer_name,
        payment_method=payment_method,
        lines=lines,
        idempotency_key=idempotency_key,
        expected_total_minor=expected_total_minor,
    )
    (placed,) = place_many([request], now=now)
    return placed.order


def place_many(requests: Sequence[OrderRequest], *, now: datetime) -> list[Placed]:
    """Save orders with their lines and an event `OrderPlaced` each, in as many statements as for one.

    Transaction: opens one; all orders, lines and events are saved, or none.
    Idempotent: by each `idempotency_key`; a repeat with the same contents returns the stored order.

    Raises:
        UnknownProduct: a SKU is not in the catalogue, or not for sale.
        KeyUsedForAnotherOrder: a key stands for other contents.
        TotalChanged: the total is not the expected one.
        OrderRefused: any other invalid field, which it names.
    """
    try:
        return [Placed(order=order, is_new=True) for order in _save(requests, now)]
    except (IntegrityError, OrderRefused):
        # Some of them may exist already, perhaps with products that are no longer for sale.
        with suppress(IntegrityError):  # a concurrent call has placed an order under one of these keys: now it is found
            return _place_missing(requests, now)
        return _place_missing(requests, now)


def confirm_many(order_ids: Collection[UUID], *, now: datetime) -> dict[UUID, Order | Rejected]:
    """Publish that customers get their orders. Return the order, or the refusal `OrderDecidedAlready`, by order.

    Transaction: opens one.
    Idempotent: by order; a repeat returns the order.
    """
    return _decide_many(order_ids, Order.Status.CONFIRMED, reason="", now=now)


def reject(*, order_id: UUID, reason: str, now: datetime) -> Order:
    """Publish that the customer does not get the order, and why.

    Transaction: opens one.
    Idempotent: by `order_id`.

    Raises:
        OrderDecidedAlready: it was confirmed or cancelled.
    """
    return _decide(order_id, Order.Status.REJECTED, reason=reason[:500], now=now)


def cancel(*, order_id: UUID, reason: str, now: datetime) -> Order:
    """Publish that the order was cancelled, and why.

    Transaction: opens one.
    Idempotent: by `order_id`.

    Raises:
        OrderDecidedAlready: it was confirmed or rejected.
    """
    return _decide(order_id, Order.Status.CANCELLED, reason=reason[:500], now=now)


def add_products(products: Iterable[tuple[str, str, int]], *, currency: str) -> int:
    """Add products (SKU, name, price in minor units) that are missing; return how many there were.

    Transaction: a single statement.
    Idempotent: by SKU; existing products are not changed.

    Raises:
        UnknownCurrency: ISO 4217 does not list it.
        OrderRefused: a name is invalid.
    """
    code = currency_code(currency)
    rows = [
        Product(sku=sku, name=checked_name(f"{sku}.name", name), price_minor=price_minor, currency=code)
        for sku, name, price_minor in products
    ]
    missing = {row.sku for row in rows} - set(
        Product.objects.filter(sku__in=[row.sku for row in rows]).values_list("sku", flat=True)
    )
    Product.objects.bulk_create([row for row in rows if row.sku in missing], ignore_conflicts=True)
    return len(missing)


def _decide(order_id: UUID, status: Order.Status, *, reason: str, now: datetime) -> Order:
    outcomes = _decide_many([order_id], status, reason=reason, now=now)
    if not outcomes:
        raise Order.DoesNotExist(f"there is no order {order_id}")
    return only(outcomes)


def _decide_many(
    order_ids: Collection[UUID], status: Order.Status, *, reason: str, now: datetime
) -> dict[UUID, Order | Rejected]:
    outcomes: dict[UUID, Order | Rejected] = {}
    decided = []
    with transaction.atomic():
        for order in Order.objects.filter(id__in=order_ids).order_by("id").select_for_update():
            if order.status == Order.Status.PENDING:
                order.status, order.reason, order.decided_at = status, reason, now
                decided.append(order)
            outcomes[order.id] = order if order.status == status else OrderDecidedAlready(order.number, order.status)
        Order.objects.filter(id__in=[order.id for order in decided]).update(
            status=status, reason=reason, decided_at=now
        )
        outbox.emit(*map(_decided, decided), now=now)
    return outcomes


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
    """Return the stored orders with the keys of these requests."""
    asked: dict[str, str] = {}
    for request in requests:
        if request.idempotency_key is not None:
            asked_hash = request_hash(request)
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
    for request in requests:
        if (placed := stored.get(request.idempotency_key)) is not None:
            check_total(request, placed.total_minor, placed.currency)
    return stored


def _save(requests: Sequence[OrderRequest], now: datetime) -> list[Order]:
    for request in requests:
        check_customer(request.customer_email, request.customer_name)
    catalogue = selectors.products(line.sku for request in requests for line in request.lines)
    bought = []
    for request in requests:
        check_lines(request, catalogue)
        bought.append(merged(request.lines, catalogue))
    with transaction.atomic():
        orders = [_order(request, lines, catalogue, now) for request, lines in zip(requests, bought, strict=True)]
        Order.objects.bulk_create(orders)
        OrderLine.objects.bulk_create(
            OrderLine(order=order, product=catalogue[line.sku], **line.model_dump())
            for order, lines in zip(orders, bought, strict=True)
            for line in lines
        )
        outbox.emit(*(_placed(order, lines) for order, lines in zip(orders, bought, strict=True)), now=now)
    return orders


def _order(request: OrderRequest, lines: list[Line], catalogue: dict[str, Product], now: datetime) -> Order:
    total_minor = sum(line.quantity * line.unit_price_minor for line in lines)
    if total_minor > MAX_MINOR:
        raise OrderRefused("lines", "The total is too large.")
    currency = catalogue[lines[0].sku].currency
    check_total(request, total_minor, currency)
    return Order(
        id=new_id(),
        customer_email=identity(request.customer_email),
        customer_name=request.customer_name.strip(),
        payment_method=request.payment_method,
        currency=currency,
        total_minor=total_minor,
        idempotency_key=request.idempotency_key,
        request_hash=request_hash(request) if request.idempotency_key else "",
        placed_at=now,
    )


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
