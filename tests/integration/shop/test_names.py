"""What people are called: one rule for the API, the admin and the services."""

# ruff: noqa: RUF001 - the letters of other scripts look like Latin ones

from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from notifications.models import Notification
from orders import services as orders
from orders.errors import OrderRefused
from orders.models import Order, Product, validate_name
from orders.services import LineRequest
from sagas.models import Event
from sagas.testing import drive
from tests.factories.people import StaffFactory, browser_of

NAMES = {
    "the wide space of Japanese": "山田\u3000太郎",
    "a joiner of Persian": "علی\u200cرضا",
    "a joiner of Sinhala": "ශ්\u200dරී",
    "a no-break space": "Jean\u00a0Paul",
    "a narrow no-break space": "A.\u202fB.",
    "directional marks": "\u200fדוד\u200e (David)",
    "isolates of a copied contact": "\u2068Ada\u2069",
    "a soft hyphen": "Müller\u00adLüdenscheidt",
    "letters outside the first plane": "𠮷野家",
    "accents that stand alone": "Zoe\u0308",
}
REFUSED = {
    "a line feed": "Ada\nLovelace",
    "a carriage return": "Ada\rLovelace",
    "a tab": "Ada\tLovelace",
    "NUL": "Ada\x00",
    "an escape": "\x1b[2JAda",
    "delete": "Ada\x7f",
    "next line": "Ada\x85Lovelace",
    "a line separator": "Ada\u2028Lovelace",
    "a paragraph separator": "Ada\u2029Lovelace",
    "a lone surrogate": "Ada\ud800",
    "spaces alone": " \u3000\u00a0",
    "joiners alone": "\u200d\u200c\u200e",
}


def by_service(name: str) -> str | None:
    try:
        order = orders.place(
            customer_email="ada@example.com",
            customer_name=name,
            payment_method="tok_visa",
            lines=[LineRequest(sku="MUG", quantity=1)],
            now=timezone.now(),
        )
    except OrderRefused as refused:
        if refused.field != "customer.name":
            raise
        return None
    return Order.objects.get(pk=order.pk).customer_name


def by_api(name: str) -> str | None:
    body = {
        "customer": {"email": "ada@example.com", "name": name},
        "lines": [{"sku": "MUG", "quantity": 1}],
        "payment_method": "tok_visa",
    }
    answer = Client().post(
        "/api/orders", body, content_type="application/json", headers={"Authorization": "Bearer test-token"}
    )
    if answer.status_code == 422:
        assert [error["field"] for error in answer.json()["errors"]] == ["customer.name"]
        return None
    return str(answer.json()["customer"]["name"])


def by_admin(name: str) -> str | None:
    client = browser_of(StaffFactory.create(boss=True))
    form: dict[str, Any] = {
        "customer_name": name,
        "customer_email": "ada@example.com",
        "payment_method": "tok_visa",
        "form_key": str(uuid4()),
        "lines-TOTAL_FORMS": 1,
        "lines-INITIAL_FORMS": 0,
        "lines-0-product": Product.objects.get(sku="MUG").pk,
        "lines-0-quantity": 1,
    }
    answer = client.post("/admin/orders/order/add/", form)
    if answer.status_code == 200:
        assert list(answer.context["adminform"].form.errors) == ["customer_name"]
        return None
    return Order.objects.get().customer_name


@pytest.mark.parametrize("place", [by_service, by_api, by_admin])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_what_people_are_called_is_taken_as_it_is(shelves: None, place: Any, name: str) -> None:
    assert place(name) == name
    assert Event.objects.get().data["customer_name"] == name


@pytest.mark.parametrize("place", [by_service, by_api, by_admin])
@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_what_is_no_name_is_refused_at_its_field_and_nothing_is_written(shelves: None, place: Any, name: str) -> None:
    if place is by_admin and "\ud800" in name:
        pytest.skip("a browser sends no lone surrogate")
    assert place(name) is None
    assert (Order.objects.count(), Event.objects.count()) == (0, 0)


@pytest.mark.parametrize("place", [by_service, by_api, by_admin])
def test_spaces_around_a_name_are_left_out(shelves: None, place: Any) -> None:
    assert place("  Ada Lovelace\u3000") == "Ada Lovelace"


def test_a_name_reaches_the_message_to_its_customer_unchanged(shelves: None) -> None:
    by_service(NAMES["a joiner of Persian"])
    drive()
    assert Notification.objects.get().context["name"] == NAMES["a joiner of Persian"]


def test_products_go_by_the_same_rule(db: None) -> None:
    orders.add_products([("TEA", NAMES["the wide space of Japanese"], 1)], currency="GBP")
    assert Product.objects.get().name == NAMES["the wide space of Japanese"]
    for name in REFUSED.values():
        with pytest.raises(ValidationError):
            validate_name(name)
        with pytest.raises(OrderRefused):
            orders.add_products([("CUP", name, 1)], currency="GBP")
    assert Product.objects.count() == 1
