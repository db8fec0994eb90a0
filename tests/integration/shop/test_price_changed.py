"""A price that changes between the showing of a total and the placing of the order."""

from typing import Any

import pytest
from django.test import Client

from orders.models import Order, Product
from sagas.models import Event
from tests.order_form import ADD, errors, typed

CHANGED = (
    "The total is £35.90 now, not £25.90. "
    "A price was changed while this page was open. Place the order again to accept the new total."
)


@pytest.fixture
def mug(shelves: None) -> Product:
    """A mug that cost £12.95 when it was shown, and costs £17.95 now."""
    mug = Product.objects.get(sku="MUG")
    mug.price_minor = 1795
    mug.save()
    return mug


def post(key: str = "", **more: Any) -> Any:
    body = {
        "customer": {"email": "ada@example.com", "name": "Ada Lovelace"},
        "lines": [{"sku": "MUG", "quantity": 2}],
        "payment_method": "tok_visa",
    }
    headers = {"Authorization": "Bearer test-token"} | ({"Idempotency-Key": key} if key else {})
    return Client().post("/api/orders", body | more, content_type="application/json", headers=headers)


def written() -> tuple[int, int]:
    return Order.objects.count(), Event.objects.count()


def test_the_form_comes_back_with_both_totals_and_places_the_order_when_it_is_sent_again(
    boss: Client, mug: Product
) -> None:
    form = typed(("MUG", 2), shown_total=2590)
    assert errors(boss.post(ADD, form)) == {"__all__": [CHANGED]}
    assert written() == (0, 0)
    assert boss.post(ADD, form | {"shown_total": 3590}).status_code == 302
    assert Order.objects.get().total_minor == 3590


@pytest.mark.parametrize("shown", [3590, "", None])
def test_a_page_that_showed_the_total_or_none_places_the_order(boss: Client, mug: Product, shown: object) -> None:
    form = typed(("MUG", 2)) | ({} if shown is None else {"shown_total": shown})
    assert boss.post(ADD, form).status_code == 302
    assert Order.objects.get().total_minor == 3590


def test_an_order_placed_by_a_first_click_is_found_by_the_second_after_the_price_changed(
    boss: Client, shelves: None
) -> None:
    form = typed(("MUG", 2), shown_total=2000)
    boss.post(ADD, form)
    Product.objects.update(price_minor=1795)
    assert boss.post(ADD, form).status_code == 302
    assert Order.objects.get().total_minor == 2000


def test_the_api_answers_409_with_both_totals_and_writes_nothing(mug: Product) -> None:
    answer = post(expected_total_minor=2590)
    assert (answer.status_code, answer["Content-Type"]) == (409, "application/problem+json")
    said = "The total is £35.90 now, not £25.90."
    assert answer.json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": said,
        "errors": [{"field": "expected_total_minor", "message": said}],
        "expected_total_minor": 2590,
        "total_minor": 3590,
        "currency": "GBP",
    }
    assert written() == (0, 0)


@pytest.mark.parametrize("expected", [3590, None])
def test_the_api_takes_the_order_at_the_expected_total_or_without_one(mug: Product, expected: int | None) -> None:
    assert post(expected_total_minor=expected).status_code == 201
    assert Order.objects.get().total_minor == 3590


@pytest.mark.parametrize("wrong", [0, -1, 10**12 + 1, 1.0, "3590", True])
def test_an_expectation_that_is_no_amount_is_named(mug: Product, wrong: object) -> None:
    answer = post(expected_total_minor=wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["expected_total_minor"]
    assert written() == (0, 0)


def test_a_refused_total_leaves_the_key_free_and_a_stored_order_is_never_another_total(mug: Product) -> None:
    assert post("k", expected_total_minor=2590).status_code == 409
    assert post("k", expected_total_minor=3590).status_code == 201
    again = post("k", expected_total_minor=3590)
    assert (again.status_code, again["Idempotent-Replayed"]) == (201, "true")
    assert post("k", expected_total_minor=2590).status_code == 409
    Product.objects.update(price_minor=1)
    assert post("k", expected_total_minor=3590).status_code == 201
    assert written() == (1, 1)
