"""Placing orders and deciding them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, connection, transaction

from sagas import outbox
from sagas.ids import new_id

from . import selectors
from .errors import KeyUsedForAnotherOrder, OrderDecidedAlready, OrderRefused, UnknownProduct
from .events import Line, OrderConfirmed, OrderPlaced, OrderRejected
from .models import Order, OrderLine, Product

#: The most that fits any payment provider's amount field; a larger order is a typing error.
_MOST_MINOR = 10**12
_MOST_QUANTITY = 1_000_000


@dataclass(frozen=True, kw_only=True)
class LineRequest:
    """What a customer wants of one product; `unit_price_minor` only where it differs from the catalogue's."""

    sku: str
    quantity: int
    unit_price_minor: int | None = None


def place(
    *,
    customer_email: str,
    customer_name: str,
    payment_method: str,
    lines: Sequence[LineRequest],
    now: datetime,
    idempotency_key: str | None = None,
) -> Order:
    """Save an order with its lines and the event `OrderPlaced`.

    Lines of one SKU at one price are merged.

    Transaction: opens one; order, lines and event stand or fall together.
    Idempotent: by `idempotency_key`; a repeat with the same contents returns the stored order.

    Raises:
        UnknownProduct: a SKU is not in the catalogue, or not for sale.
        KeyUsedForAnotherOrder: the key stands for other contents.
        OrderRefused: anything else that is wrong, naming the field.
    """
    asked = _hash(customer_email, customer_name, payment_method, lines)
    if idempotency_key is not None and (stored := _stored(idempotency_key, asked)):
        return stored
    _check_customer(customer_email, customer_name)
    catalogue = selectors.products(line.sku for line in lines)
    _check_lines(lines, catalogue)
    merged = _merged(lines, catalogue)
    total_minor = sum(line.quantity * line.unit_price_minor for line in merged)
    if total_minor > _MOST_MINOR:
        raise OrderRefused("lines", "The total is too large.")
    try:
        with transaction.atomic():
            order = Order.objects.create(
                id=new_id(),
                number=_next_number(),
                customer_email=customer_email,
                customer_name=customer_name,
                payment_method=payment_method,
                currency=catalogue[lines[0].sku].currency,
                total_minor=total_minor,
                idempotency_key=idempotency_key,
                request_hash=asked if idempotency_key else "",
                placed_at=now,
            )
            OrderLine.objects.bulk_create(
                OrderLine(order=order, product=catalogue[line.sku], **line.model_dump()) for line in merged
            )
            outbox.emit(_placed(order, merged), now=now)
            return order
    except IntegrityError:
        # Two requests with one key at the same moment: the second returns what the first one stored.
        if idempotency_key is not None and (stored := _stored(idempotency_key, asked)):
            return stored
        raise


def confirm(*, order_id: UUID, now: datetime) -> Order:
    """Tell that the customer gets the order.

    Transaction: opens one.
    Idempotent: by `order_id`.

    Raises:
        OrderDecidedAlready: it was rejected or cancelled.
    """
    return _decide(order_id, Order.Status.CONFIRMED, reason="", now=now)


def reject(*, order_id: UUID, reason: str, now: datetime) -> Order:
    """Tell that the customer does not get the order, and why.

    Transaction: opens one.
    Idempotent: by `order_id`.

    Raises:
        OrderDecidedAlready: it was confirmed or cancelled.
    """
    return _decide(order_id, Order.Status.REJECTED, reason=reason[:500], now=now)


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
        if status == Order.Status.CONFIRMED:
            outbox.emit(OrderConfirmed(order_id=order.id, number=order.number), now=now)
        else:
            outbox.emit(OrderRejected(order_id=order.id, number=order.number, reason=reason), now=now)
    return order


def _stored(idempotency_key: str, asked: str) -> Order | None:
    order = Order.objects.filter(idempotency_key=idempotency_key).first()
    if order is not None and order.request_hash != asked:
        raise KeyUsedForAnotherOrder(idempotency_key)
    return order


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
        if not 0 < line.quantity <= _MOST_QUANTITY:
            raise OrderRefused(f"lines.{place}.quantity", f"From 1 to {_MOST_QUANTITY}.")
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


def _next_number() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('orders_number')")
        (number,) = cursor.fetchone() or (0,)
    return f"S{number}"


def _hash(customer_email: str, customer_name: str, payment_method: str, lines: Sequence[LineRequest]) -> str:
    asked = [
        customer_email,
        customer_name,
        payment_method,
        [[line.sku, line.quantity, line.unit_price_minor] for line in lines],
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
