"""The rules of orders: the request of a customer, and every reason to refuse it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from backoffice.customers import identity

from .errors import OrderRefused, TotalChanged, UnknownProduct
from .events import Line
from .models import Product, validate_name

MAX_QUANTITY = 1_000_000
#: Maximum number of lines of an order of the API or of the admin's form; imported orders have no such limit.
MAX_LINES = 1000


@dataclass(frozen=True, kw_only=True)
class LineRequest:
    """A line of a request; `unit_price_minor` only if it differs from the catalogue's price."""

    sku: str
    quantity: int
    unit_price_minor: int | None = None


@dataclass(frozen=True, kw_only=True)
class OrderRequest:
    """The request of a customer; lines of one SKU at one price are merged."""

    customer_email: str
    customer_name: str
    payment_method: str
    lines: Sequence[LineRequest]
    #: The caller's own key: a repeat with the same contents is the same order.
    idempotency_key: str | None = None
    #: The total that the customer saw; the order is refused if the total is another one now.
    expected_total_minor: int | None = None
    #: Currency of the lines' own prices, if they have any.
    currency: str | None = None


def check_customer(email: str, name: str) -> None:
    try:
        validate_email(email)
    except ValidationError:
        raise OrderRefused("customer.email", "This is not an e-mail address.") from None
    if len(identity(email)) > 254:
        raise OrderRefused("customer.email", "At most 254 characters.")
    checked_name("customer.name", name)


def checked_name(field: str, name: str) -> str:
    try:
        validate_name(name)
    except ValidationError as wrong:
        raise OrderRefused(field, str(wrong.message)) from None
    if len(name) > 200:
        raise OrderRefused(field, "At most 200 characters.")
    return name.strip()


def check_total(request: OrderRequest, total_minor: int, currency: str) -> None:
    expected_minor = request.expected_total_minor
    if expected_minor is not None and expected_minor != total_minor:
        raise TotalChanged(expected_minor=expected_minor, total_minor=total_minor, currency=currency)


def check_lines(request: OrderRequest, catalogue: Mapping[str, Product]) -> None:
    lines = request.lines
    if not lines:
        raise OrderRefused("lines", "An order needs at least one line.")
    for place, line in enumerate(lines):
        if line.sku not in catalogue:
            raise UnknownProduct(f"lines.{place}.sku", line.sku)
        if not 0 < line.quantity <= MAX_QUANTITY:
            raise OrderRefused(f"lines.{place}.quantity", f"From 1 to {MAX_QUANTITY:,}.")
        if line.unit_price_minor is not None:
            _check_price(f"lines.{place}.unit_price", line.unit_price_minor, request, catalogue[line.sku])
    currencies = {catalogue[line.sku].currency for line in lines}
    if len(currencies) > 1:
        raise OrderRefused("lines", f"All lines need one currency, not {', '.join(sorted(currencies))}.")


def _check_price(field: str, price_minor: int, request: OrderRequest, product: Product) -> None:
    if price_minor <= 0:
        raise OrderRefused(field, "A price is more than nothing.")
    if request.currency not in (None, product.currency):
        raise OrderRefused(field, f"{product.sku} is sold in {product.currency}, not in {request.currency}.")


def merged(lines: Sequence[LineRequest], catalogue: Mapping[str, Product]) -> list[Line]:
    quantities: dict[tuple[str, int], int] = {}
    for line in lines:
        price = catalogue[line.sku].price_minor if line.unit_price_minor is None else line.unit_price_minor
        quantities[line.sku, price] = quantities.get((line.sku, price), 0) + line.quantity
        if quantities[line.sku, price] > MAX_QUANTITY:
            raise OrderRefused("lines", f"At most {MAX_QUANTITY:,} of {line.sku} in one order.")
    return [
        Line(sku=sku, name=catalogue[sku].name, quantity=quantity, unit_price_minor=price)
        for (sku, price), quantity in quantities.items()
    ]


def request_hash(request: OrderRequest) -> str:
    asked = [
        identity(request.customer_email),
        request.customer_name.strip(),
        request.payment_method,
        [[line.sku, line.quantity, line.unit_price_minor] for line in request.lines],
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
