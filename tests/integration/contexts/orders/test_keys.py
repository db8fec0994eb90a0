"""What one idempotency key stands for: one order, whoever asks, alone, in a batch and at once."""

from datetime import timedelta
from typing import Any

import pytest

from orders import services as orders
from orders.errors import KeyUsedForAnotherOrder
from orders.models import Order, Product
from orders.services import LineRequest
from tests.concurrency import at_once

from .conftest import NOW, place, request, written


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
