"""Money of currencies with other decimals than two, from where it is typed to where it is read."""

from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backoffice.money import UnknownCurrency
from inventory import services as inventory
from notifications.models import Notification
from orders import services as orders
from orders.models import Order, Product
from orders.services import LineRequest
from payments import credit
from payments.gateway import Charge
from payments.models import CreditAccount, CreditHold, FakeCharge, Payment
from sagas.admin.findings import _rows
from sagas.log import followers
from sagas.log.read_models import follow
from sagas.testing import drive
from shop.importing.placing import place as place_invoices
from shop.importing.reading import Invoice, InvoiceFile, Reject
from shop.models import SalesOfDay
from tests.factories.orders import Place
from tests.factories.people import allowed
from tests.factories.products import ProductFactory

ADD_PRODUCT, ADD_ACCOUNT = "/admin/orders/product/add/", "/admin/payments/creditaccount/add/"

pytestmark = pytest.mark.usefixtures("nothing_is_cached")


def product(**typed: str) -> dict[str, str]:
    return {"sku": "FAN", "name": "Fan", "price_minor": "12.95", "currency": "GBP", "active": "on"} | typed


def errors(response: Any) -> dict[str, list[str]]:
    return dict(response.context["adminform"].form.errors)


@pytest.mark.parametrize(
    ("price", "currency", "stored", "shown"),
    [
        ("1500", "JPY", (1500, "JPY"), "1,500 JPY"),
        ("1,500", " jpy ", (1500, "JPY"), "1,500 JPY"),
        ("12.345", "kwd", (12345, "KWD"), "12.345 KWD"),
        ("12.95", "gbp", (1295, "GBP"), "£12.95"),
    ],
)
def test_a_price_is_typed_stored_and_shown_with_the_decimals_of_its_currency(
    boss: Client, price: str, currency: str, stored: tuple[int, str], shown: str
) -> None:
    assert boss.post(ADD_PRODUCT, product(price_minor=price, currency=currency)).status_code == 302
    added = Product.objects.get(sku="FAN")
    assert (added.price_minor, added.currency) == stored
    assert shown in boss.get("/admin/orders/product/?q=FAN").content.decode()
    listed = Client().get("/api/products", headers={"Authorization": "Bearer test-token"}).json()
    told = {each["sku"]: (each["price_minor"], each["currency"], each["price"]) for each in listed}
    assert told["FAN"] == (*stored, shown)


@pytest.mark.parametrize("wrong", ["GB", "£££", "zz!", "ZZZ", "XXX", "", "GBPP"])
@pytest.mark.parametrize(("page", "name"), [(ADD_PRODUCT, "price_minor"), (ADD_ACCOUNT, "limit_minor")])
def test_a_currency_that_is_none_is_an_error_at_its_field_and_nothing_is_written(
    boss: Client, wrong: str, page: str, name: str
) -> None:
    typed = product(currency=wrong, customer_email="ada@example.com") | {name: "10"}
    response = boss.post(page, typed)
    assert response.status_code == 200
    assert list(errors(response)) == ["currency"]
    assert (Product.objects.filter(sku="FAN").count(), CreditAccount.objects.count()) == (0, 0)


def test_a_price_with_more_decimals_than_its_currency_is_refused_with_an_example(boss: Client) -> None:
    response = boss.post(ADD_PRODUCT, product(price_minor="1500.5", currency="JPY"))
    assert errors(response) == {"price_minor": ["An amount such as 1295 is needed; JPY has no decimals."]}
    assert not Product.objects.filter(sku="FAN").exists()


def test_a_price_is_changed_in_the_currency_it_has(boss: Client) -> None:
    fan = ProductFactory.create(sku="FAN", price_minor=1500, currency="JPY")
    path = f"/admin/orders/product/{fan.pk}/change/"
    assert 'value="1500"' in boss.get(path).content.decode()
    assert boss.post(path, {"name": "Fan", "price_minor": "1800", "active": "on"}).status_code == 302
    fan.refresh_from_db()
    assert fan.price_minor == 1800


def test_a_limit_that_is_no_amount_is_an_error_at_its_field(boss: Client) -> None:
    typed = {"customer_email": "ada@example.com", "limit_minor": "much", "currency": "GBP"}
    assert list(errors(boss.post(ADD_ACCOUNT, typed))) == ["limit_minor"]
    assert CreditAccount.objects.count() == 0


def test_services_refuse_a_currency_that_is_none_and_store_capitals(db: None) -> None:
    for wrong in ("GB", "zz!", "XXX"):
        with pytest.raises(UnknownCurrency):
            orders.add_products([("FAN", "Fan", 1)], currency=wrong)
        with pytest.raises(UnknownCurrency):
            credit.open_credit(customer_email="ada@example.com", limit_minor=1, currency=wrong)
    assert (Product.objects.count(), CreditAccount.objects.count()) == (0, 0)
    orders.add_products([("FAN", "Fan", 1)], currency="jpy")
    credit.open_credit(customer_email="ada@example.com", limit_minor=1, currency="jpy")
    assert Product.objects.get().currency == CreditAccount.objects.get().currency == "JPY"


def test_what_a_provider_answers_is_stored_in_capitals() -> None:
    assert Charge(reference="r", amount_minor=1, currency="gbp").currency == "GBP"
    with pytest.raises(UnknownCurrency):
        Charge(reference="r", amount_minor=1, currency="zz!")


@pytest.fixture
def yen_order(shelves: None) -> Order:
    orders.add_products([("FAN", "Fan", 1500)], currency="JPY")
    inventory.receive({"FAN": 10})
    order = orders.place(
        customer_email="ada@example.com",
        customer_name="Ada Lovelace",
        payment_method="tok_visa",
        lines=[LineRequest(sku="FAN", quantity=2)],
        now=timezone.now(),
    )
    drive()
    return order


def test_an_order_in_yen_reads_the_same_on_the_page_in_the_mail_and_in_the_api(boss: Client, yen_order: Order) -> None:
    page = boss.get(reverse("admin:orders_order_change", args=[yen_order.pk])).content.decode()
    assert "3,000 JPY" in page
    assert "1,500 JPY" in page
    assert "30.00" not in page
    context = Notification.objects.get().context
    assert (context["total"], context["lines"][0]["total"]) == ("3,000 JPY", "3,000 JPY")
    headers = {"Authorization": "Bearer test-token"}
    told = Client().get(f"/api/orders/{yen_order.id}", headers=headers).json()
    assert (told["total_minor"], told["currency"], told["total"]) == (3000, "JPY", "3,000 JPY")
    assert Payment.objects.get().amount_minor == FakeCharge.objects.get().amount_minor == 3000


def test_pages_show_amounts_as_money_and_never_as_minor_units(boss: Client, place: Place) -> None:
    credit.open_credit(customer_email="ada@example.com", limit_minor=10_000, currency="GBP")
    place()
    place("invoice")
    followers.create_missing(now=timezone.now())
    drive()
    while follow():
        pass
    rows: list[Any] = [Payment.objects.get(), CreditHold.objects.get(), FakeCharge.objects.get()]
    for row in (*rows, SalesOfDay.objects.get()):
        html = boss.get(reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])).content
        assert "minor" not in html.decode().replace("_minor", ""), row
        assert "£20.00" in html.decode() or "£40.00" in html.decode(), row
    assert [str(row) for row in rows[:2]] == ["captured £20.00", "held £20.00"]


def test_who_may_only_look_at_products_reads_prices_as_money(shelves: None) -> None:
    mug = Product.objects.get(sku="MUG")
    html = allowed("orders.view_product").get(f"/admin/orders/product/{mug.pk}/change/").content.decode()
    assert "£10.00" in html
    assert "minor units" not in html


def test_a_finding_shows_each_amount_in_its_currency() -> None:
    facts = {"owed_minor": 1500, "currency": "JPY", "other_currencies_minor": {"GBP": 500}}
    assert dict(_rows(facts)) == {"owed": "1,500 JPY", "currency": "JPY", "other currencies": "£5.00"}


HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def _import(tmp_path: Any, price: str) -> list[Any]:
    file = tmp_path / "invoices.csv"
    file.write_text(f"{HEADER}536365,FAN,Fan,2,12-01-2010 08:26,{price},17850,Japan\n")
    with InvoiceFile(file) as found:
        items = list(found)
    refused: list[Any] = [item for item in items if isinstance(item, Reject)]
    invoices = [item for item in items if isinstance(item, Invoice)]
    return [*refused, *place_invoices(invoices, payment_method="tok_visa", now=timezone.now())]


def test_an_import_reads_prices_in_the_shops_currency(shelves: None, settings: LazySettings, tmp_path: Any) -> None:
    settings.CURRENCY = "JPY"
    _import(tmp_path, "1500")
    order = Order.objects.get()
    assert (order.total_minor, order.currency) == (3000, "JPY")
    (refused,) = _import(tmp_path, "12.95")
    assert refused.reason == "UnitPrice 12.95: An amount such as 1295 is needed; JPY has no decimals."
    assert Order.objects.count() == 1


def test_an_import_does_not_take_a_price_for_one_in_another_currency(shelves: None, tmp_path: Any) -> None:
    orders.add_products([("FAN", "Fan", 1500)], currency="JPY")
    (refused,) = _import(tmp_path, "12.95")
    assert refused.reason == "invoice 536365: FAN is sold in JPY, not in GBP."
    assert (Order.objects.count(), refused.values[5]) == (0, "12.95")
