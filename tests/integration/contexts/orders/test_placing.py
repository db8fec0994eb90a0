"""Orders on PostgreSQL: what is saved together, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders import services as orders
from orders.errors import OrderRefused, TotalChanged, UnknownProduct
from orders.models import Order, OrderLine, Product
from orders.services import LineRequest
from sagas.models import Event
from tests.factories.products import ProductFactory

from .conftest import NOW, PRICES, place, place_all, request, written


def test_an_order_is_saved_with_its_lines_and_its_event(catalogue: None) -> None:
    order = place(LineRequest(sku="MUG", quantity=2), LineRequest(sku="TRAY", quantity=1, unit_price_minor=2400))
    stored = Order.objects.get()
    assert stored == order
    assert stored.number.startswith("S")
    assert (stored.status, stored.total_minor, stored.currency) == ("pending", 4400, "GBP")
    assert (stored.placed_at, stored.decided_at, stored.reason) == (NOW, None, "")
    assert list(stored.lines.order_by("sku").values_list("sku", "name", "quantity", "unit_price_minor")) == [
        ("MUG", "Mug", 2, 1000),
        ("TRAY", "Tray", 1, 2400),
    ]
    event = Event.objects.get()
    assert (event.type, event.aggregate, event.key) == ("orders.order_placed", "order", str(order.id))
    assert (event.occurred_at, event.relayed_at) == (NOW, None)
    assert event.data == {
        "order_id": str(order.id),
        "number": order.number,
        "customer_email": "ada@example.com",
        "customer_name": "Ada Lovelace",
        "payment_method": "tok_visa",
        "currency": "GBP",
        "total_minor": 4400,
        "lines": [
            {"sku": "MUG", "name": "Mug", "quantity": 2, "unit_price_minor": 1000},
            {"sku": "TRAY", "name": "Tray", "quantity": 1, "unit_price_minor": 2400},
        ],
    }


def test_an_order_keeps_the_price_it_was_sold_at(catalogue: None) -> None:
    order = place()
    Product.objects.filter(sku="MUG").update(price_minor=9999, name="Cup")
    assert list(order.lines.values_list("name", "unit_price_minor")) == [("Mug", 1000)]


def test_order_numbers_are_never_given_twice(catalogue: None) -> None:
    numbers = [order.number for order in (place(), place(), *place_all(request(), request()))]
    assert len(set(numbers)) == 4
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("more", "error", "field", "message"),
    [
        ({"customer_email": "ada"}, OrderRefused, "customer.email", "This is not an e-mail address."),
        ({"customer_email": ""}, OrderRefused, "customer.email", "This is not an e-mail address."),
        ({"customer_email": "a@b.example\nBcc: x@b.example"}, OrderRefused, "customer.email",
         "This is not an e-mail address."),
        ({"customer_name": "  "}, OrderRefused, "customer.name", "A name is needed."),
        ({"customer_name": "x" * 201}, OrderRefused, "customer.name", "At most 200 characters."),
        ({"customer_name": "a\x00b"}, OrderRefused, "customer.name",
         "Control characters and line breaks are not allowed."),
        ({"lines": ()}, OrderRefused, "lines", "An order needs at least one line."),
        ({"lines": (("MUG", 1, None), ("GONE", 1, None))}, UnknownProduct, "lines.1.sku",
         "There is no product 'GONE'."),
        ({"lines": (("OLD", 1, None),)}, UnknownProduct, "lines.0.sku", "There is no product 'OLD'."),
        ({"lines": (("MUG", 0, None),)}, OrderRefused, "lines.0.quantity", "From 1 to 1,000,000."),
        ({"lines": (("MUG", -1, None),)}, OrderRefused, "lines.0.quantity", "From 1 to 1,000,000."),
        ({"lines": (("MUG", 1_000_001, None),)}, OrderRefused, "lines.0.quantity", "From 1 to 1,000,000."),
        ({"lines": (("MUG", 1, 0),)}, OrderRefused, "lines.0.unit_price", "A price is more than nothing."),
        ({"lines": (("MUG", 1, None), ("BALL", 1, None))}, OrderRefused, "lines",
         "All lines need one currency, not EUR, GBP."),
        ({"lines": (("MUG", 1_000_000, 1_000_001),)}, OrderRefused, "lines", "The total is too large."),
        ({"lines": (("MUG", 1_000_000, 1), ("MUG", 1, 1))}, OrderRefused, "lines",
         "At most 1,000,000 of MUG in one order."),
        ({"lines": (("MUG", 1, None), ("MUG", 1, 1200)), "currency": "JPY"}, OrderRefused, "lines.1.unit_price",
         "MUG is sold in GBP, not in JPY."),
        ({"expected_total_minor": 1999}, TotalChanged, "expected_total_minor",
         "The total is £20.00 now, not £19.99."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_written(
    catalogue: None, more: dict[str, Any], error: type[OrderRefused], field: str, message: str
) -> None:
    ProductFactory.create(sku="OLD", active=False)
    ProductFactory.create(sku="BALL", currency="EUR")
    if "lines" in more:
        more = more | {
            "lines": [
                LineRequest(sku=sku, quantity=count, unit_price_minor=price) for sku, count, price in more["lines"]
            ]
        }
    with pytest.raises(OrderRefused) as refused:
        orders.place_many([request(), request(**more)], now=NOW)
    assert type(refused.value) is error
    assert (refused.value.field, refused.value.message, str(refused.value)) == (field, message, message)
    assert written() == (0, 0, 0)


def test_an_address_that_is_too_long_is_refused_before_the_database_is_asked(catalogue: None) -> None:
    with pytest.raises(OrderRefused) as refused:
        place(customer_email=f"{'a' * 60}@{'.'.join(['b' * 60] * 4)}.example")
    assert refused.value.field == "customer.email"
    assert written() == (0, 0, 0)


def test_the_largest_order_fits(catalogue: None) -> None:
    order = place(LineRequest(sku="MUG", quantity=1_000_000, unit_price_minor=1_000_000))
    order.refresh_from_db()
    assert order.total_minor == orders.MAX_MINOR


def test_orders_vanish_with_the_transaction_they_were_placed_in(committed_catalogue: None) -> None:
    with transaction.atomic():
        place()
        transaction.set_rollback(True)
    assert written() == (0, 0, 0)


def _statements(of: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as captured:
        of()
    return len(captured)


@pytest.mark.parametrize("key", [None, "k"])
def test_placing_takes_as_many_statements_for_many_lines_and_orders_as_for_one(
    committed_catalogue: None, key: str | None
) -> None:
    many = [LineRequest(sku=sku, quantity=1, unit_price_minor=price) for sku in PRICES for price in range(1, 31)]
    one = _statements(lambda: place(idempotency_key=key and f"{key}1"))
    lines = _statements(lambda: place(*many, idempotency_key=key and f"{key}2"))
    batch = _statements(lambda: place_all(*(request(idempotency_key=key and f"{key}3-{n}") for n in range(30))))
    assert (lines, batch) == (one, one)
    assert OrderLine.objects.count() == 1 + 90 + 30


# Merging ---------------------------------------------------------------------------------------------------------

LINES = st.lists(
    st.builds(
        LineRequest,
        sku=st.sampled_from(sorted(PRICES)),
        quantity=st.integers(1, 1000),
        unit_price_minor=st.none() | st.sampled_from([1, 999, 1000, 2500]),
    ),
    min_size=1,
    max_size=12,
)


@given(lines=LINES)
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merging_lines_keeps_the_total_and_the_quantities(catalogue: None, lines: list[LineRequest]) -> None:
    asked: dict[tuple[str, int], int] = {}
    for line in lines:
        price = PRICES[line.sku] if line.unit_price_minor is None else line.unit_price_minor
        asked[line.sku, price] = asked.get((line.sku, price), 0) + line.quantity
    with transaction.atomic():
        order = place(*lines)
        rows = list(order.lines.values_list("sku", "unit_price_minor", "quantity"))
        told = Event.objects.latest("position").data
        transaction.set_rollback(True)
    assert {(sku, price): quantity for sku, price, quantity in rows} == asked
    assert len(rows) == len(asked)
    assert order.total_minor == sum(price * quantity for (_, price), quantity in asked.items()) == told["total_minor"]
    assert sum(line["quantity"] for line in told["lines"]) == sum(line.quantity for line in lines)
