"""Placing an order through the HTTP API: with a key, it is placed once."""

import threading
from typing import Any

import pytest
from django.db import connections

from orders import services as orders
from orders.models import Order
from sagas.models import Event
from sagas.testing import drive

from .conftest import body, get, post

pytestmark = pytest.mark.usefixtures("longest_pauses")


def test_an_order_is_accepted_with_its_lines_and_its_event(shelves: None) -> None:
    response = post(body(lines=[{"sku": "MUG", "quantity": 2}, {"sku": "TRAY", "quantity": 1}]))
    assert response.status_code == 201
    order = Order.objects.get()
    assert response["Location"] == f"/api/orders/{order.id}"
    assert response.json() | {"placed_at": None} == {
        "id": str(order.id),
        "number": order.number,
        "status": "pending",
        "reason": "",
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"},
        "payment_method": "tok_visa",
        "currency": "GBP",
        "total_minor": 4500,
        "total": "£45.00",
        "placed_at": None,
        "decided_at": None,
        "links": {"self": f"/api/orders/{order.id}"},
    }
    assert list(order.lines.values_list("sku", "quantity").order_by("sku")) == [("MUG", 2), ("TRAY", 1)]
    assert Event.objects.get().type == "orders.order_placed"


def test_an_order_costs_as_many_statements_with_one_line_as_with_forty(
    shelves: None, django_assert_num_queries: Any
) -> None:
    orders.add_products([(f"P{n}", f"P{n}", 100) for n in range(40)], currency="GBP")
    lines = [{"sku": f"P{n}", "quantity": 1} for n in range(40)]
    # BEGIN and COMMIT, and: products, order, lines, event.
    with django_assert_num_queries(6):
        post(body())
    with django_assert_num_queries(6):
        post(body(lines=lines))
    with django_assert_num_queries(6):
        post(body(), key="k")
    with django_assert_num_queries(5):  # ROLLBACK, for the key is taken; then what stands under it
        post(body(), key="k")


def test_the_same_key_with_the_same_body_is_the_same_order(shelves: None) -> None:
    first, again = post(body(), key="order-17"), post(body(), key="order-17")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert Order.objects.count() == Event.objects.count() == 1


def test_a_repeat_tells_how_the_order_stands_by_now(shelves: None) -> None:
    post(body(), key="order-17")
    drive()
    assert post(body(), key="order-17").json()["status"] == "confirmed"


def test_the_same_key_with_another_body_is_refused(shelves: None) -> None:
    first = post(body(), key="order-17").json()
    response = post(body(lines=[{"sku": "MUG", "quantity": 3}]), key="order-17")
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["Idempotency-Key"]
    assert [str(order.id) for order in Order.objects.all()] == [first["id"]]


def test_without_a_key_each_request_is_an_order(shelves: None) -> None:
    assert post(body()).json()["id"] != post(body()).json()["id"]
    assert Order.objects.count() == 2


def test_requests_with_one_key_at_the_same_moment_are_one_order(shelves: None) -> None:
    barrier, answers = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait()
        answers.append(post(body(), key="order-17"))
        connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 8
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.get("Idempotent-Replayed") for answer in answers].count(None) == 1
    assert Order.objects.count() == Event.objects.count() == 1


def test_a_sold_out_product_is_accepted_and_then_rejected(shelves: None) -> None:
    response = post(body(lines=[{"sku": "MUG", "quantity": 101}]))
    assert response.status_code == 201
    drive()
    order = get(response["Location"]).json()
    assert (order["status"], order["reason"]) == ("rejected", "Only 100 of Mug (MUG) are left, and you asked for 101.")
