"""One customer, however the address is spelt: in every context, address and search."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orders import selectors, services
from orders.models import Order
from orders.services import LineRequest, OrderRequest
from payments import credit
from payments.models import CreditAccount, CreditHold
from sagas.books import reconciliation
from sagas.core import registry
from sagas.log import followers
from sagas.log.read_models import follow
from sagas.models import Event, Finding
from sagas.testing import drive
from shop.keys import KEY_NAMES
from tests.conftest import broker
from tests.factories.orders import Place
from tests.order_form import ADD, typed

SPELLINGS = ("Ada.L@Example.com", "ada.l@example.com", "ADA.L@EXAMPLE.COM")


def api(path: str) -> Any:
    return Client().get(path, headers={"Authorization": "Bearer test-token"})


def catch_up() -> None:
    """Carry all orders to their end, and the read models to the end of the log."""
    drive()
    while follow():
        pass


@pytest.fixture(autouse=True)
def read_models(transactional_db: None) -> Iterator[None]:
    with broker() as redis:
        redis.flushdb()
        followers.create_missing(now=timezone.now())
        yield
        redis.flushdb()


def test_every_spelling_finds_all_orders_of_a_customer(boss: Client, place: Place) -> None:
    orders = [place(customer_email=spelling) for spelling in SPELLINGS]
    catch_up()
    numbers = [order.number for order in reversed(orders)]
    assert {order.customer_email for order in Order.objects.all()} == {"ada.l@example.com"}
    assert {event.data["customer_email"] for event in Event.objects.filter(type="orders.order_placed")} == {
        "ada.l@example.com"
    }
    for spelling in SPELLINGS:
        assert [order.number for order in selectors.of_customer(spelling, limit=9)] == numbers
        listed = api(f"/api/customers/{spelling}/orders").json()
        assert [order["number"] for order in listed] == numbers
        fed = api(f"/api/customers/{spelling}/feed").json()
        assert [entry["number"] for entry in fed if entry["what"] == "placed"] == numbers
        for page in ("orders/order", "shop/customerorder"):
            found = boss.get(f"/admin/{page}/", {"q": spelling}).context["cl"].result_list
            assert {order.number for order in found} == set(numbers), page
        assert KEY_NAMES.key_of(spelling) == "ada.l@example.com"


def test_the_order_form_takes_every_spelling(boss: Client) -> None:
    for spelling in SPELLINGS:
        assert boss.post(ADD, typed(("MUG", 1), customer_email=spelling)).status_code == 302
    assert list(Order.objects.values_list("customer_email", flat=True)) == ["ada.l@example.com"] * 3


def test_one_credit_account_serves_every_spelling(boss: Client, place: Place) -> None:
    credit.open_credit(customer_email="Ada.L@Example.com", limit_minor=10_000, currency="GBP")
    credit.open_credit(customer_email="ada.l@example.com", limit_minor=99_000, currency="GBP")
    account_form = {"customer_email": "ADA.L@example.com", "limit_minor": "5", "currency": "GBP"}
    response = boss.post("/admin/payments/creditaccount/add/", account_form)
    assert dict(response.context["adminform"].form.errors) == {
        "customer_email": ["Credit account with this Customer's e-mail already exists."]
    }
    account = CreditAccount.objects.get()
    assert (account.customer_email, account.limit_minor) == ("ada.l@example.com", 10_000)
    for spelling in SPELLINGS:
        place("invoice", customer_email=spelling)
        found = boss.get("/admin/payments/creditaccount/", {"q": spelling[:5]}).context["cl"].result_list
        assert list(found) == [account]
    drive()
    account.refresh_from_db()
    assert (account.held_minor, CreditHold.objects.count()) == (6000, 3)


def test_books_that_do_not_add_up_are_found_under_any_spelling(shelves: None) -> None:
    credit.open_credit(customer_email="Ada.L@Example.com", limit_minor=10_000, currency="GBP")
    CreditAccount.objects.update(held_minor=1)
    reconciliation.reconcile(now=timezone.now(), checks=registry.checks(), walks=registry.walks())
    assert Finding.objects.get().key == "ada.l@example.com"


def test_the_same_key_with_another_spelling_is_the_same_order(shelves: None) -> None:
    asked = [
        OrderRequest(
            customer_email=spelling,
            customer_name="Ada",
            payment_method="tok_visa",
            lines=[LineRequest(sku="MUG", quantity=1)],
            idempotency_key="k",
        )
        for spelling in SPELLINGS
    ]
    placed = [services.place_many([request], now=timezone.now())[0] for request in asked]
    assert [each.is_new for each in placed] == [True, False, False]
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    ("email", "path"),
    [
        ("a/b@example.com", "a%2Fb@example.com"),
        ("a/b@example.com", "a/b@example.com"),
        ("a/orders@example.com", "a/orders@example.com"),
        ("/@example.com", "%2F@example.com"),
        ("a?b@example.com", "a%3Fb@example.com"),
        ("a#b@example.com", "a%23b@example.com"),
        ("a%b@example.com", "a%25b@example.com"),
        ("a+b@example.com", "a+b@example.com"),
    ],
)
def test_every_address_that_is_taken_has_its_pages(place: Place, email: str, path: str) -> None:
    order = place(customer_email=email)
    catch_up()
    for page in ("orders", "feed"):
        answer = api(f"/api/customers/{path}/{page}")
        assert answer.status_code == 200, answer.content
        assert order.number in {each["number"] for each in answer.json()}
