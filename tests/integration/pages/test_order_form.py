"""The admin's order form: as many lines as the API takes, words fit for real orders, who may choose products."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from inventory import services as inventory
from orders import services as orders
from orders.models import Order, OrderLine, Product
from sagas.models import Event
from tests.factories.people import allowed, browser_of_the_boss
from tests.order_form import ADD, errors, page, typed

AUTOCOMPLETE = "/admin/autocomplete/"
ASKED = {"app_label": "orders", "model_name": "orderline", "field_name": "product", "term": "MUG"}


@pytest.fixture
def staff(shelves: None) -> Client:
    return browser_of_the_boss()


def lines(count: int) -> list[tuple[str, object]]:
    """Return so many lines of as many products, which are for sale."""
    skus = [f"P{number}" for number in range(count)]
    orders.add_products([(sku, sku, 100) for sku in skus], currency="GBP")
    inventory.receive(dict.fromkeys(skus, 1))
    return [(sku, 1) for sku in skus]


def whole(form: dict[str, object]) -> dict[str, object]:
    """Return the form as a browser sends it, with the hidden fields of every line."""
    count = int(str(form["lines-TOTAL_FORMS"]))
    return form | {f"lines-{place}-{name}": "" for place in range(count) for name in ("id", "order")}


@pytest.mark.parametrize("count", [500, 999])
def test_an_order_of_many_lines_is_taken(staff: Client, count: int) -> None:
    assert staff.post(ADD, whole(typed(*lines(count)))).status_code == 302
    assert (Order.objects.count(), OrderLine.objects.count()) == (1, count)


def test_more_lines_than_an_order_may_have_are_refused_in_words(staff: Client) -> None:
    response = staff.post(ADD, whole(typed(*lines(1001))))
    assert errors(response) == {"lines": ["An order has 1000 lines at most; place the rest as another order."]}
    assert (Order.objects.count(), Event.objects.count()) == (0, 0)


def test_a_form_costs_as_many_statements_with_many_lines_as_with_few(staff: Client) -> None:
    def count(*asked: tuple[str, object]) -> int:
        form = typed(*asked)
        with CaptureQueriesContext(connection) as captured:
            assert staff.post(ADD, form).status_code == 302
        return len(captured)

    many = lines(60)
    count(*many[:2])
    inventory.receive({sku: 1 for sku, _ in many})
    assert count(*many[:3]) == count(*many[3:])


def test_prices_are_told_of_a_hundred_products_at_once(staff: Client) -> None:
    lines(100)
    ids = [str(pk) for pk in Product.objects.filter(sku__startswith="P").values_list("pk", flat=True)]
    assert len(staff.get("/admin/orders/order/prices/", {"product": ids}).json()) == 100


def test_who_may_place_orders_may_choose_products_and_no_more(shelves: None) -> None:
    clerk = allowed("orders.add_order")
    found = clerk.get(AUTOCOMPLETE, ASKED)
    assert (found.status_code, [each["text"] for each in found.json()["results"]]) == (200, ["MUG Mug"])
    assert clerk.get("/admin/orders/product/").status_code == 403
    assert allowed("orders.view_order").get(AUTOCOMPLETE, ASKED).status_code == 403
    assert allowed().get(AUTOCOMPLETE, ASKED).status_code == 403


def test_ways_to_pay_are_explained_in_the_form_and_named_on_the_order(staff: Client) -> None:
    html = staff.get(ADD).content.decode()
    assert "Invoice: uses the customer&#x27;s credit" in html
    assert "Visa card: works" in html
    assert "credit@example.com" not in html
    staff.post(ADD, typed(("MUG", 1)))
    order: Any = Order.objects.get()
    shown = staff.get(page(order)).content.decode()
    assert "<dd>Visa card</dd>" in shown
    assert "works" not in shown


def test_a_way_to_pay_that_is_no_longer_offered_is_shown_by_its_code(staff: Client) -> None:
    staff.post(ADD, typed(("MUG", 1)))
    Order.objects.update(payment_method="card_of_old")
    assert "<dd>card_of_old</dd>" in staff.get(page(Order.objects.get())).content.decode()
