"""Orders are decided once; what is read of them; and what the database itself refuses."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction

from orders import selectors
from orders import services as orders
from orders.errors import OrderDecidedAlready
from orders.models import Order, Product
from sagas.models import Event
from tests import one
from tests.concurrency import at_once
from tests.constraints import named
from tests.factories.orders import OrderLineFactory
from tests.factories.products import ProductFactory

from .conftest import NOW, place, written

# confirm and reject ----------------------------------------------------------------------------------------------


def test_a_confirmed_order_says_when(catalogue: None) -> None:
    order = place()
    for minutes in (1, 2):
        one.confirm(order_id=order.id, now=NOW + timedelta(minutes=minutes))
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
    one.confirm(order_id=confirmed.id, now=NOW)
    orders.reject(order_id=rejected.id, reason="No.", now=NOW)
    before = written()
    with pytest.raises(OrderDecidedAlready) as refused:
        orders.reject(order_id=confirmed.id, reason="No.", now=NOW)
    assert str(refused.value) == f"Order {confirmed.number} is confirmed already."
    with pytest.raises(OrderDecidedAlready) as refused:
        one.confirm(order_id=rejected.id, now=NOW)
    assert str(refused.value) == f"Order {rejected.number} is rejected already."
    assert (refused.value.number, refused.value.status) == (rejected.number, "rejected")
    assert written() == before
    assert dict(Order.objects.values_list("id", "status")) == {confirmed.id: "confirmed", rejected.id: "rejected"}


@pytest.mark.parametrize("decide", [orders.reject, orders.cancel])
def test_an_order_that_does_not_exist_cannot_be_decided(catalogue: None, decide: Callable[..., Order]) -> None:
    with pytest.raises(Order.DoesNotExist):
        decide(order_id=uuid4(), reason="No.", now=NOW)
    assert orders.confirm_many([uuid4()], now=NOW) == {}
    assert written() == (0, 0, 0)


def test_of_two_decisions_at_once_one_stands(committed_catalogue: None) -> None:
    order = place()
    answers = at_once(
        lambda: one.confirm(order_id=order.id, now=NOW),
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
    one.confirm(order_id=second.id, now=NOW)
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
    "orders_email_is_in_small_letters": lambda order: Order.objects.update(customer_email="Ada@example.com"),
    "orders_product_currency_is_in_capitals": lambda order: Product.objects.update(currency="gbp"),
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
