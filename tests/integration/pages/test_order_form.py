"""The admin's order form: placing orders, with as many lines as the API takes, and who may choose products."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from inventory import services as inventory
from inventory.models import StockItem
from orders import services as orders
from orders.models import Order, OrderLine, Product
from sagas.models import Event
from sagas.testing import drive
from tests.factories.people import allowed
from tests.order_form import ADD, errors, page, typed

AUTOCOMPLETE = "/admin/autocomplete/"
ASKED = {"app_label": "orders", "model_name": "orderline", "field_name": "product", "term": "MUG"}


# Placing an order -------------------------------------------------------------------------------------------------


def test_an_order_placed_in_the_admin_is_saved_with_its_lines_and_its_event(boss: Client) -> None:
    response = boss.post(ADD, typed(("MUG", 2), ("LAMP", 1)))
    order = Order.objects.get()
    assert response.status_code == 302
    assert response.headers["Location"] == page(order)
    assert (order.customer_name, order.total_minor, order.status) == ("Ada Lovelace", 7000, "pending")
    assert set(order.lines.values_list("sku", "quantity")) == {("MUG", 2), ("LAMP", 1)}
    assert Event.objects.get().type == "orders.order_placed"
    drive()
    order.refresh_from_db()
    assert order.status == "confirmed"


def test_a_product_on_two_rows_is_one_line(boss: Client) -> None:
    boss.post(ADD, typed(("MUG", 2), ("MUG", 3)))
    assert OrderLine.objects.get().quantity == 5


def test_sending_the_form_twice_places_one_order(boss: Client) -> None:
    form = typed(("MUG", 2))
    first, second = boss.post(ADD, form), boss.post(ADD, form)
    order = Order.objects.get()
    assert first.headers["Location"] == second.headers["Location"] == page(order)
    assert Event.objects.count() == 1


def test_a_page_that_placed_an_order_places_no_other_one(boss: Client) -> None:
    form = typed(("MUG", 2))
    boss.post(ADD, form)
    response = boss.post(ADD, form | {"lines-0-quantity": 3})
    assert errors(response) == {
        "__all__": ["This page has placed an order already. Open it anew to place another one."]
    }
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("lines", "fields", "expected"),
    [
        ([], {}, {"lines": ["An order needs at least one product."]}),
        ([("MUG", 1)], {"customer_name": " "}, {"customer_name": ["This field is required."]}),
        ([("MUG", 1)], {"customer_email": "ada"}, {"customer_email": ["Enter a valid email address."]}),
        (
            [("MUG", 1)],
            {"payment_method": "tok_gold"},
            {"payment_method": ["Select a valid choice. tok_gold is not one of the available choices."]},
        ),
        (
            [("MUG", 1), ("GONE", 1)],
            {},
            {"lines.1.product": ["There is no such product, or it is no longer for sale."]},
        ),
        ([("MUG", 101)], {}, {"lines.0.quantity": ["Only 100 left."]}),
        (
            [("MUG", 60), ("LAMP", 1), ("MUG", 60)],
            {},
            {"lines.0.quantity": ["Only 100 left."], "lines.2.quantity": ["Only 100 left."]},
        ),
        ([("MUG", 0)], {}, {"lines.0.quantity": ["Ensure this value is greater than or equal to 1."]}),
        ([("MUG", -1)], {}, {"lines.0.quantity": ["Ensure this value is greater than or equal to 1."]}),
        (
            [("MUG", 999_999_999_999)],
            {},
            {"lines.0.quantity": ["Ensure this value is less than or equal to 1000000."]},
        ),
        ([("MUG", "many")], {}, {"lines.0.quantity": ["Enter a whole number."]}),
        ([("MUG", "")], {}, {"lines.0.quantity": ["This field is required."]}),
        ([("MUG", 1)], {"form_key": "x"}, {"form_key": ["Enter a valid UUID."]}),
    ],
)
def test_what_cannot_be_ordered_is_an_error_at_its_field_and_nothing_is_written(
    boss: Client, lines: list[tuple[str, object]], fields: dict[str, object], expected: dict[str, list[str]]
) -> None:
    response = boss.post(ADD, typed(*lines, **fields))
    assert response.status_code == 200
    assert errors(response) == expected
    assert (Order.objects.count(), Event.objects.count()) == (0, 0)


def test_a_sold_out_product_is_an_error_at_the_product(boss: Client) -> None:
    StockItem.objects.filter(sku="MUG").update(on_hand=0)
    assert errors(boss.post(ADD, typed(("MUG", 1)))) == {"lines.0.product": ["Sold out."]}
    assert Order.objects.count() == 0


def test_an_inactive_product_cannot_be_ordered(boss: Client) -> None:
    Product.objects.filter(sku="MUG").update(active=False)
    assert list(errors(boss.post(ADD, typed(("MUG", 1))))) == ["lines.0.product"]
    assert Order.objects.count() == 0


def test_what_only_the_service_refuses_is_a_form_error_too(boss: Client) -> None:
    Product.objects.filter(sku="MUG").update(price_minor=10**12)
    response = boss.post(ADD, typed(("MUG", 2)))
    assert errors(response) == {"__all__": ["The total is too large."]}
    assert (Order.objects.count(), Event.objects.count()) == (0, 0)


def test_the_page_learns_prices_and_what_is_left(boss: Client) -> None:
    mug = Product.objects.get(sku="MUG")
    answer = boss.get("/admin/orders/order/prices/", {"product": [str(mug.pk), "x", "9" * 30]}).json()
    assert answer == {
        str(mug.pk): {"price_minor": 1000, "price": "£10.00", "currency": "GBP", "decimals": 2, "available": 100}
    }


def test_autocomplete_offers_only_what_can_be_ordered(boss: Client) -> None:
    Product.objects.filter(sku="TRAY").update(active=False)
    asked = {"app_label": "orders", "model_name": "orderline", "field_name": "product", "term": ""}
    found = boss.get("/admin/autocomplete/", asked).json()["results"]
    assert [product["text"] for product in found] == ["LAMP Lamp", "MUG Mug"]


# Many lines, words and rights ---------------------------------------------------------------------------------------


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
def test_an_order_of_many_lines_is_taken(boss: Client, count: int) -> None:
    assert boss.post(ADD, whole(typed(*lines(count)))).status_code == 302
    assert (Order.objects.count(), OrderLine.objects.count()) == (1, count)


def test_more_lines_than_an_order_may_have_are_refused_in_words(boss: Client) -> None:
    response = boss.post(ADD, whole(typed(*lines(1001))))
    assert errors(response) == {"lines": ["An order has 1000 lines at most; place the rest as another order."]}
    assert (Order.objects.count(), Event.objects.count()) == (0, 0)


def test_a_form_costs_as_many_statements_with_many_lines_as_with_few(boss: Client) -> None:
    def count(*asked: tuple[str, object]) -> int:
        form = typed(*asked)
        with CaptureQueriesContext(connection) as captured:
            assert boss.post(ADD, form).status_code == 302
        return len(captured)

    many = lines(60)
    count(*many[:2])
    inventory.receive({sku: 1 for sku, _ in many})
    assert count(*many[:3]) == count(*many[3:])


def test_prices_are_told_of_a_hundred_products_at_once(boss: Client) -> None:
    lines(100)
    ids = [str(pk) for pk in Product.objects.filter(sku__startswith="P").values_list("pk", flat=True)]
    assert len(boss.get("/admin/orders/order/prices/", {"product": ids}).json()) == 100


def test_who_may_place_orders_may_choose_products_and_no_more(shelves: None) -> None:
    clerk = allowed("orders.add_order")
    found = clerk.get(AUTOCOMPLETE, ASKED)
    assert (found.status_code, [each["text"] for each in found.json()["results"]]) == (200, ["MUG Mug"])
    assert clerk.get("/admin/orders/product/").status_code == 403
    assert allowed("orders.view_order").get(AUTOCOMPLETE, ASKED).status_code == 403
    assert allowed().get(AUTOCOMPLETE, ASKED).status_code == 403


def test_ways_to_pay_are_explained_in_the_form_and_named_on_the_order(boss: Client) -> None:
    html = boss.get(ADD).content.decode()
    assert "Invoice: uses the customer&#x27;s credit" in html
    assert "Visa card: works" in html
    assert "credit@example.com" not in html
    boss.post(ADD, typed(("MUG", 1)))
    order: Any = Order.objects.get()
    shown = boss.get(page(order)).content.decode()
    assert "<dd>Visa card</dd>" in shown
    assert "works" not in shown


def test_a_way_to_pay_that_is_no_longer_offered_is_shown_by_its_code(boss: Client) -> None:
    boss.post(ADD, typed(("MUG", 1)))
    Order.objects.update(payment_method="card_of_old")
    assert "<dd>card_of_old</dd>" in boss.get(page(Order.objects.get())).content.decode()
