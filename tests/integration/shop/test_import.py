"""The import: what it takes, and why it refuses."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db.models import Sum
from django.utils import timezone

from inventory.models import Reservation
from orders.models import Order, OrderLine, Product
from payments.models import Payment
from sagas.log.relay import relay_events
from sagas.models import Run
from sagas.testing import drive
from shop.importing import placing, waiting
from shop.importing.reading import Invoice, InvoiceFile
from tests.asking import shelf
from tests.factories.products import ProductFactory
from tests.invoices import many, rejects, row, run, write

# What becomes of good lines --------------------------------------------------------------------------------------


def test_invoices_become_confirmed_orders_with_products_and_stock(transactional_db: None, tmp_path: Path) -> None:
    file = write(
        tmp_path / "orders.csv",
        row(StockCode="A", Description="Apple", Quantity="6", UnitPrice="2.55"),
        row(StockCode="B", Description="", Quantity="1", UnitPrice="0.01"),
        row(StockCode="A", Description="Apple again", Quantity="4", UnitPrice="2.55"),  # merged
        row(StockCode="A", Description="Apple", Quantity="1", UnitPrice="2.1"),  # another price: a line of its own
        row(InvoiceNo="536366", StockCode="A", Quantity="3", UnitPrice="1000", CustomerID=""),
    )
    said = run(file)
    drive()

    assert "5 lines read" in said
    assert "2 orders placed" in said
    assert rejects(file) == []
    products = {product.sku: (product.name, product.price_minor) for product in Product.objects.all()}
    assert products == {"A": ("Apple", 255), "B": ("B", 1)}
    first, guest = Order.objects.order_by("id")
    assert (first.customer_email, first.customer_name) == ("customer-17850@example.com", "Customer 17850")
    assert (guest.customer_email, guest.customer_name) == ("guest-536366@example.com", "Guest of invoice 536366")
    assert sorted(first.lines.values_list("sku", "quantity", "unit_price_minor")) == [
        ("A", 1, 210),
        ("A", 10, 255),
        ("B", 1, 1),
    ]
    assert (first.total_minor, guest.total_minor) == (2761, 300_000)
    assert (first.status, guest.status) == ("confirmed", "confirmed")
    captured = Payment.objects.filter(status="captured").aggregate(total=Sum("amount_minor"))["total"]
    assert captured == 302_761
    assert shelf() == {"A": (0, 0), "B": (0, 0)}
    assert sorted(Reservation.objects.values_list("sku", "quantity", "status")) == [
        ("A", 3, "shipped"),
        ("A", 11, "shipped"),
        ("B", 1, "shipped"),
    ]


def test_the_stock_that_was_there_before_stays_as_it_was(shelves: None, tmp_path: Path) -> None:
    run(write(tmp_path / "orders.csv", row(StockCode="MUG", Quantity="500")))
    drive()
    assert Order.objects.get().status == "confirmed"
    assert shelf()["MUG"] == (100, 0)
    assert Product.objects.get(sku="MUG").price_minor == 1000


def test_orders_are_paid_as_asked(transactional_db: None, tmp_path: Path) -> None:
    said = run(write(tmp_path / "orders.csv", row()), "--payment-method", "tok_chargeDeclined")
    assert "Orders: 1 pending." in said
    drive()
    assert Order.objects.get().status == "rejected"
    assert shelf() == {"85123A": (6, 0)}
    assert "Orders: 1 rejected." in run(tmp_path / "orders.csv", "--payment-method", "tok_chargeDeclined")


def test_a_batch_costs_as_many_statements_with_forty_invoices_as_with_one(
    transactional_db: None, tmp_path: Path, django_assert_num_queries: Any
) -> None:
    with InvoiceFile(many(tmp_path / "many.csv", 41)) as file:
        invoices = [found for found in file if isinstance(found, Invoice)]
    for batch in (invoices[:1], invoices[1:]):
        # BEGIN and COMMIT, a savepoint and its release, and: orders of these invoices, products known, products new,
        # products to order, orders, lines, events, stock.
        with django_assert_num_queries(12):
            placing.place(batch, payment_method="tok_visa", now=timezone.now())


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"InvoiceNo": "C536379"}, "invoice C536379 is a cancellation; those are not imported yet"),
        ({"InvoiceNo": "c536379"}, "invoice c536379 is a cancellation; those are not imported yet"),
        ({"InvoiceNo": " "}, "InvoiceNo is empty"),
        ({"InvoiceNo": "53 6365"}, "InvoiceNo '53 6365' is not an invoice number"),
        ({"StockCode": ""}, "StockCode is empty"),
        ({"StockCode": "A" * 41}, f"StockCode '{'A' * 41}' is not a SKU"),
        ({"StockCode": "-A"}, "StockCode '-A' is not a SKU"),
        ({"Quantity": "-1"}, "Quantity -1 is not positive; returns are not imported yet"),
        ({"Quantity": "0"}, "Quantity 0 is not positive; returns are not imported yet"),
        ({"Quantity": "six"}, "Quantity 'six' is not a whole number"),
        ({"Quantity": "6.0"}, "Quantity '6.0' is not a whole number"),
        ({"Quantity": "٦"}, "Quantity '٦' is not a whole number"),
        ({"Quantity": ""}, "Quantity '' is not a whole number"),
        ({"Quantity": "1000001"}, "Quantity 1000001 is more than 1000000"),
        ({"UnitPrice": "0"}, "UnitPrice 0 is not positive; free lines and discounts are not imported"),
        ({"UnitPrice": "-2.55"}, "UnitPrice -2.55 is not positive; free lines and discounts are not imported"),
        ({"UnitPrice": "2,55"}, "UnitPrice '2,55' has a comma; write it like 1234.50"),
        ({"UnitPrice": "NaN"}, "UnitPrice 'NaN' is not a number like 1234.50"),
        ({"UnitPrice": "1e3"}, "UnitPrice '1e3' is not a number like 1234.50"),
        ({"UnitPrice": ""}, "UnitPrice '' is not a number like 1234.50"),
        ({"UnitPrice": "0.001"}, "UnitPrice 0.001: An amount such as 12.95 is needed; GBP has 2 decimals."),
        ({"UnitPrice": "99999999999999"}, "UnitPrice 99999999999999: At most £10,000,000,000.00."),
        ({"UnitPrice": "9999999999"}, "invoice 536365: The total is too large."),
        ({"InvoiceDate": "2010-12-01"}, "InvoiceDate '2010-12-01' is not a date like 12-31-2010 08:26"),
        ({"InvoiceDate": "13-01-2010 08:26"}, "InvoiceDate '13-01-2010 08:26' is not a date like 12-31-2010 08:26"),
        ({"CustomerID": "ada@"}, "invoice 536365: This is not an e-mail address."),
        ({"Description": "Bell\x07"}, "Description 'Bell\\x07' has control characters"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason(
    transactional_db: None, tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    file = write(tmp_path / "orders.csv", row(**changes), row(InvoiceNo="536366"))
    assert "1 lines refused" in run(file)
    assert rejects(file) == [("2", reason)]
    assert [order.customer_email for order in Order.objects.all()] == ["customer-17850@example.com"]
    assert Order.objects.get().idempotency_key == "import:536366"
    assert shelf() == {"85123A": (6, 0)}


@pytest.mark.parametrize(
    "changes",
    [{"UnitPrice": "2.550"}, {"UnitPrice": " 2.55 "}, {"CustomerID": "17850.0"}, {"InvoiceDate": "12/1/2010 8:26"}],
)
def test_other_spellings_of_the_same_are_taken(transactional_db: None, tmp_path: Path, changes: dict[str, str]) -> None:
    run(write(tmp_path / "orders.csv", row(**changes)))
    order = Order.objects.get()
    assert (order.total_minor, order.customer_email) == (1530, "customer-17850@example.com")


@pytest.mark.parametrize(
    ("customer", "email"),
    [
        ("17850.0", "customer-17850@example.com"),
        ("AMZ-7Q", "customer-amz-7q@example.com"),
        ("kei@example.com", "kei@example.com"),
        ("Kei Tanaka", "customer-kei=20tanaka@example.com"),
        ("a/b.", "customer-a=2fb=2e@example.com"),
        ("圭", "customer-=e5=9c=ad@example.com"),
    ],
)
def test_a_customer_id_may_be_any_text(transactional_db: None, tmp_path: Path, customer: str, email: str) -> None:
    run(file := write(tmp_path / "orders.csv", row(CustomerID=customer)))
    order = Order.objects.get()
    assert (order.customer_email, order.customer_name) == (email, f"Customer {customer.removesuffix('.0')}")
    assert rejects(file) == []


def test_a_guest_is_told_by_any_invoice_number(transactional_db: None, tmp_path: Path) -> None:
    run(write(tmp_path / "orders.csv", row(InvoiceNo="2010/(17)", CustomerID="")))
    assert Order.objects.get().customer_email == "guest-2010=2f=2817=29@example.com"


@pytest.mark.parametrize(
    "name",
    [
        "WIDE\u3000SPACE",
        "ZERO\u200dWIDTH\u200cJOINERS",
        "NO\u00a0BREAK",
        "\u200fRIGHT TO LEFT\u200e",
        "TWO  SPACES",
    ],
)
def test_names_are_taken_as_typed(transactional_db: None, tmp_path: Path, name: str) -> None:
    run(write(tmp_path / "orders.csv", row(Description=f" {name}\t", CustomerID=f"<{name}>")))
    assert Product.objects.get().name == name
    assert Order.objects.get().customer_name == f"Customer <{name}>"


def test_a_blank_description_is_none(transactional_db: None, tmp_path: Path) -> None:
    run(write(tmp_path / "orders.csv", row(Description="\u3000\u00a0 ")))
    assert Product.objects.get().name == "85123A"


def test_the_good_lines_of_an_invoice_are_placed_without_its_bad_ones(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(StockCode="A"), row(StockCode="B", UnitPrice="0"), row(StockCode="C"))
    run(file)
    assert rejects(file) == [("3", "UnitPrice 0 is not positive; free lines and discounts are not imported")]
    assert sorted(OrderLine.objects.values_list("sku", flat=True)) == ["A", "C"]
    assert sorted(shelf()) == ["A", "C"]


def test_an_invoice_of_two_customers_keeps_the_lines_of_the_first(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(), row(StockCode="B", CustomerID="1"), row(StockCode="C", CustomerID=""))
    run(file)
    assert rejects(file) == [
        ("3", "CustomerID 1 is not 17850, that of the invoice"),
        ("4", "CustomerID none is not 17850, that of the invoice"),
    ]
    assert OrderLine.objects.get().sku == "85123A"


def test_a_line_far_from_its_invoice_is_refused(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(), row(InvoiceNo="536366"), row(StockCode="B"))
    run(file)
    assert rejects(file) == [("4", "invoice 536365 ended further up; its lines must stand together")]
    assert Order.objects.count() == OrderLine.objects.count() == 2


def test_a_refused_line_in_between_does_not_tear_an_invoice_apart(transactional_db: None, tmp_path: Path) -> None:
    run(write(tmp_path / "orders.csv", row(), row(InvoiceNo="C1"), row(StockCode="B")))
    assert Order.objects.get().lines.count() == 2


def test_a_refused_invoice_does_not_hold_back_its_batch(transactional_db: None, tmp_path: Path) -> None:
    file = write(
        tmp_path / "orders.csv",
        row(InvoiceNo="1", StockCode="A"),
        row(InvoiceNo="2", StockCode="GONE"),
        row(InvoiceNo="2", StockCode="B"),
        row(InvoiceNo="3", StockCode="C"),
    )
    ProductFactory.create(sku="GONE", active=False)
    run(file)
    assert rejects(file) == [("3", why := "invoice 2: There is no product 'GONE'."), ("4", why)]
    assert [order.idempotency_key for order in Order.objects.order_by("id")] == ["import:1", "import:3"]
    assert shelf() == {"A": (6, 0), "C": (6, 0)}


def test_a_line_with_too_few_or_too_many_columns_is_refused(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row())
    with file.open("a") as more:
        more.write("536366,A\n\n536367,A,B,1,12-01-2010 08:26,1.00,17850,UK,more\n")
    run(file)
    assert rejects(file) == [
        ("3", "the line has 2 columns, the header 8"),
        ("5", "the line has 9 columns, the header 8"),
    ]


def test_line_numbers_are_those_of_an_editor(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row(Description="two\nlines"), row(StockCode="B", Quantity="0"))
    run(file)
    assert [line for line, _ in rejects(file)] == ["4"]
    assert Product.objects.get().name == "two lines"


# Waiting ---------------------------------------------------------------------------------------------------------


def test_waiting_gives_up_when_nothing_moves(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "GIVE_UP_AFTER_SECONDS", 0.0)
    with pytest.raises(CommandError, match="gave up waiting: 1 orders are under way and nothing moved"):
        run(write(tmp_path / "orders.csv", row()), "--wait")
    assert Order.objects.get().status == "pending"


def test_nobody_waits_for_an_order_that_needs_a_person(transactional_db: None, tmp_path: Path) -> None:
    file = write(tmp_path / "orders.csv", row())
    run(file)
    relay_events(now=timezone.now(), limit=10)
    Run.objects.update(
        status="needs_attention",
        resumes_as="running",
        stopped_at=timezone.now(),
        attention={"step": "x", "kind": "y", "error": "z", "message": "m"},
    )
    said = run(file, "--wait")
    assert "Orders: 1 pending." in said
    assert "1 of them need a person: see the admin." in said
