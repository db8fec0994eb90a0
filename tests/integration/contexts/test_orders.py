"""Orders on PostgreSQL: what is saved together, what is refused, what one key stands for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders import selectors
from orders import services as orders
from orders.errors import KeyUsedForAnotherOrder, OrderDecidedAlready, OrderRefused, UnknownProduct
from orders.models import Order, OrderLine, Product
from orders.services import LineRequest, OrderRequest
from sagas.models import Event
from tests.concurrency import at_once
from tests.constraints import named
from tests.factories.orders import OrderLineFactory, OrderRequestFactory
from tests.factories.products import ProductFactory, fill_catalogue

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PRICES = {"MUG": 1000, "TRAY": 2500, "LAMP": 5000}


@pytest.fixture
def catalogue(db: None) -> None:
    fill_catalogue()


@pytest.fixture
def committed_catalogue(transactional_db: None) -> None:
    fill_catalogue()


def request(*lines: LineRequest, **more: Any) -> OrderRequest:
    return OrderRequestFactory.build(**({"lines": lines} if lines else {}) | more)


def place(*lines: LineRequest, **more: Any) -> Order:
    return place_all(request(*lines, **more))[0]


def place_all(*requests: OrderRequest) -> list[Order]:
    return [placed.order for placed in orders.place_many(requests, now=NOW)]


def written() -> tuple[int, int, int]:
    return Order.objects.count(), OrderLine.objects.count(), Event.objects.count()


# place -----------------------------------------------------------------------------------------------------------


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
        ({"customer_name": "a\x00b"}, OrderRefused, "customer.name", "Null characters are not allowed."),
        ({"lines": ()}, OrderRefused, "lines", "An order needs at least one line."),
        ({"lines": (("MUG", 1, None), ("GONE", 1, None))}, UnknownProduct, "lines.1.sku",
         "There is no product 'GONE'."),
        ({"lines": (("OLD", 1, None),)}, UnknownProduct, "lines.0.sku", "There is no product 'OLD'."),
        ({"lines": (("MUG", 0, None),)}, OrderRefused, "lines.0.quantity", "From 1 to 1000000."),
        ({"lines": (("MUG", -1, None),)}, OrderRefused, "lines.0.quantity", "From 1 to 1000000."),
        ({"lines": (("MUG", 1_000_001, None),)}, OrderRefused, "lines.0.quantity", "From 1 to 1000000."),
        ({"lines": (("MUG", 1, 0),)}, OrderRefused, "lines.0.unit_price", "A price is more than nothing."),
        ({"lines": (("MUG", 1, None), ("BALL", 1, None))}, OrderRefused, "lines",
         "All lines need one currency, not EUR, GBP."),
        ({"lines": (("MUG", 1_000_000, 1_000_001),)}, OrderRefused, "lines", "The total is too large."),
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


# Idempotency keys ------------------------------------------------------------------------------------------------


def test_a_repeat_under_a_key_returns_the_stored_order(catalogue: None) -> None:
    first = place(idempotency_key="k")
    (again,) = orders.place_many([request(idempotency_key="k")], now=NOW + timedelta(days=1))
    assert (again.order, again.is_new) == (first, False)
    assert again.order.placed_at == NOW
    assert written() == (1, 1, 1)


def test_a_repeat_is_answered_even_when_the_product_is_no_longer_sold(catalogue: None) -> None:
    first = place(idempotency_key="k")
    Product.objects.update(active=False)
    assert place(idempotency_key="k") == first


@pytest.mark.parametrize(
    "other",
    [
        {"customer_email": "eve@example.com"},
        {"customer_name": "Eve"},
        {"payment_method": "invoice"},
        {"lines": (LineRequest(sku="MUG", quantity=3),)},
        {"lines": (LineRequest(sku="MUG", quantity=2, unit_price_minor=1000),)},
    ],
)
def test_a_key_that_stands_for_something_else_is_refused_and_nothing_is_written(
    catalogue: None, other: dict[str, Any]
) -> None:
    place(idempotency_key="k")
    with pytest.raises(KeyUsedForAnotherOrder) as refused:
        orders.place_many([request(idempotency_key="new"), request(**other, idempotency_key="k")], now=NOW)
    assert str(refused.value) == "This key was used before, for an order with other contents."
    assert (refused.value.field, refused.value.key) == ("Idempotency-Key", "k")
    assert written() == (1, 1, 1)


def test_without_a_key_every_call_is_an_order(catalogue: None) -> None:
    assert len({place().id, place().id}) == 2


def test_in_a_batch_the_missing_orders_are_placed_and_the_others_found(catalogue: None) -> None:
    stored = place(idempotency_key="b")
    placed = orders.place_many([request(idempotency_key=key) for key in "abc"], now=NOW)
    assert [each.is_new for each in placed] == [True, False, True]
    assert [each.order.idempotency_key for each in placed] == ["a", "b", "c"]
    assert placed[1].order == stored
    assert written() == (3, 3, 3)


def test_a_key_that_stands_twice_in_a_batch_is_one_order(catalogue: None) -> None:
    first, second = orders.place_many([request(idempotency_key="k"), request(idempotency_key="k")], now=NOW)
    assert first.order == second.order
    assert (first.is_new, second.is_new) == (True, False)
    assert written() == (1, 1, 1)


def test_a_key_that_stands_for_two_things_in_a_batch_is_refused(catalogue: None) -> None:
    with pytest.raises(KeyUsedForAnotherOrder):
        orders.place_many([request(idempotency_key="k"), request(customer_name="Eve", idempotency_key="k")], now=NOW)
    assert written() == (0, 0, 0)


def test_one_key_used_by_many_at_once_is_one_order(committed_catalogue: None) -> None:
    answers = at_once(*[lambda: place(idempotency_key="k")] * 6)
    assert {answer.id if isinstance(answer, Order) else answer for answer in answers} == {Order.objects.get().id}
    assert written() == (1, 1, 1)


def test_one_key_used_for_two_orders_at_once_refuses_the_second(committed_catalogue: None) -> None:
    answers = at_once(lambda: place(idempotency_key="k"), lambda: place(idempotency_key="k", customer_name="Eve"))
    assert sorted(type(answer).__name__ for answer in answers) == ["KeyUsedForAnotherOrder", "Order"]
    assert written() == (1, 1, 1)


# confirm and reject ----------------------------------------------------------------------------------------------


def test_a_confirmed_order_says_when(catalogue: None) -> None:
    order = place()
    for minutes in (1, 2):
        orders.confirm(order_id=order.id, now=NOW + timedelta(minutes=minutes))
    order.refresh_from_db()
    assert (order.status, order.reason, order.decided_at) == ("confirmed", "", NOW + timedelta(minutes=1))
    events = Event.objects.filter(key=str(order.id)).order_by("position")
    assert [event.type for event in events] == ["orders.order_placed", "orders.order_confirmed"]
    assert [event.sequence for event in events] == [1, 2]


def test_a_rejected_order_says_why(catalogue: None) -> None:
    order = place()
    for reason in ("No.", "Another reason."):
        orders.reject(order_id=order.id, reason=reason, now=NOW)
    order.refresh_from_db()
    assert (order.status, order.reason, order.decided_at) == ("rejected", "No.", NOW)
    told = Event.objects.get(type="orders.order_rejected")
    assert told.data == {"order_id": str(order.id), "number": order.number, "reason": "No."}


def test_a_long_reason_is_cut_to_what_the_column_holds(catalogue: None) -> None:
    order = place()
    orders.reject(order_id=order.id, reason="x" * 501, now=NOW)
    order.refresh_from_db()
    assert order.reason == "x" * 500


def test_a_decision_stands(catalogue: None) -> None:
    confirmed, rejected = place(), place()
    orders.confirm(order_id=confirmed.id, now=NOW)
    orders.reject(order_id=rejected.id, reason="No.", now=NOW)
    before = written()
    with pytest.raises(OrderDecidedAlready) as refused:
        orders.reject(order_id=confirmed.id, reason="No.", now=NOW)
    assert str(refused.value) == f"Order {confirmed.number} is confirmed already."
    with pytest.raises(OrderDecidedAlready) as refused:
        orders.confirm(order_id=rejected.id, now=NOW)
    assert str(refused.value) == f"Order {rejected.number} is rejected already."
    assert (refused.value.number, refused.value.status) == (rejected.number, "rejected")
    assert written() == before
    assert dict(Order.objects.values_list("id", "status")) == {confirmed.id: "confirmed", rejected.id: "rejected"}


@pytest.mark.parametrize("decide", [orders.confirm, lambda **more: orders.reject(reason="No.", **more)])
def test_an_order_that_does_not_exist_cannot_be_decided(catalogue: None, decide: Callable[..., Order]) -> None:
    with pytest.raises(Order.DoesNotExist):
        decide(order_id=uuid4(), now=NOW)
    assert written() == (0, 0, 0)


def test_of_two_decisions_at_once_one_stands(committed_catalogue: None) -> None:
    order = place()
    answers = at_once(
        lambda: orders.confirm(order_id=order.id, now=NOW),
        lambda: orders.reject(order_id=order.id, reason="No.", now=NOW),
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Order", "OrderDecidedAlready"]
    assert Event.objects.count() == 2


# add_products ----------------------------------------------------------------------------------------------------


def test_products_that_stand_are_left_as_they_are(catalogue: None) -> None:
    assert orders.add_products([("MUG", "Cup", 1), ("NEW", "New", 7)], currency="EUR") == 1
    assert Product.objects.get(sku="MUG").price_minor == 1000
    assert (Product.objects.get(sku="NEW").price_minor, Product.objects.get(sku="NEW").currency) == (7, "EUR")
    assert orders.add_products([("NEW", "New", 7)], currency="EUR") == 0


def test_products_added_at_once_are_added_once(transactional_db: None) -> None:
    answers = at_once(*[lambda: orders.add_products([("A", "A", 1), ("B", "B", 1)], currency="GBP")] * 4)
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert Product.objects.count() == 2


# Selectors -------------------------------------------------------------------------------------------------------


def test_an_order_is_found_by_its_id(catalogue: None) -> None:
    order = place()
    assert selectors.order(order.id) == order
    assert selectors.order(UUID(int=1)) is None


def test_only_active_products_can_be_ordered(catalogue: None) -> None:
    Product.objects.filter(sku="LAMP").update(active=False)
    assert set(selectors.products(["MUG", "LAMP", "GONE"])) == {"MUG"}


def test_orders_are_counted_by_status(catalogue: None) -> None:
    first, second, third = place(), place(), place()
    orders.confirm(order_id=second.id, now=NOW)
    ids = [first.id, second.id, third.id]
    assert selectors.count_by_status(ids) == {"pending": 2, "confirmed": 1}
    assert set(selectors.pending(ids)) == {first.id, third.id}
    assert selectors.pending([second.id]) == []
    assert selectors.placed_by_status(since=NOW) == {"pending": 2, "confirmed": 1}
    assert selectors.placed_by_status(since=NOW + timedelta(seconds=1)) == {}


# What the database itself refuses --------------------------------------------------------------------------------


def _line(order: Order, **more: Any) -> None:
    OrderLineFactory.create(order=order, product=Product.objects.get(sku="MUG"), **more)


VIOLATIONS: dict[str, Callable[[Order], object]] = {
    "orders_status_is_known": lambda order: Order.objects.update(status="lost", decided_at=NOW),
    "orders_decided_when_not_pending": lambda order: Order.objects.update(status="confirmed"),
    "orders_line_quantity_is_positive": lambda order: _line(order, quantity=0, unit_price_minor=1),
    "orders_one_line_per_sku_and_price": lambda order: _line(order, unit_price_minor=1000),
    "orders_product_price_minor_check": lambda order: Product.objects.update(price_minor=-1),
    "orders_product_sku": lambda order: ProductFactory.create(sku="MUG"),
    "orders_order_number": lambda order: _copy(order, idempotency_key=None),
    "orders_order_idempotency_key": lambda order: _copy(order, number="S1"),
}


def _copy(order: Order, **more: Any) -> None:
    order.pk = uuid4()
    for name, value in more.items():
        setattr(order, name, value)
    order.save(force_insert=True)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_database_refuses(catalogue: None, name: str) -> None:
    order = place(idempotency_key="k")
    with pytest.raises(IntegrityError, match=name), transaction.atomic():
        VIOLATIONS[name](order)
    assert written() == (1, 1, 1)


def test_an_order_may_be_undecided_only_while_it_is_pending(catalogue: None) -> None:
    place()
    with pytest.raises(IntegrityError, match="orders_decided_when_not_pending"), transaction.atomic():
        Order.objects.update(decided_at=NOW)


def test_every_rule_of_the_tables_is_tried() -> None:
    assert named("orders") - set(VIOLATIONS) == set()
